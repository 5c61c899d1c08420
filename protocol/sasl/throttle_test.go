package sasl

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func newThrottle(t *testing.T, c *clock, entries int) *Throttle {
	t.Helper()
	th, err := NewThrottle(ThrottleConfig{Now: c.now, Entries: entries, Free: func() int { return 3 }, MaxDelay: func() time.Duration { return time.Minute }})
	if err != nil {
		t.Fatal(err)
	}
	return th
}

var (
	home = netip.MustParseAddr("192.0.2.1")
	away = netip.MustParseAddr("198.51.100.7")
)

// fail makes n failed tries with different passwords; it fails the test if one of them is delayed.
func fail(t *testing.T, th *Throttle, from netip.Addr, account string, n int) {
	t.Helper()
	for i := range n {
		a, wait := th.Try(from, account)
		if wait != 0 {
			t.Fatalf("try %d delayed by %v", i, wait)
		}
		a.Failed(fmt.Sprintf("%s %d %v", account, i, th.now()))
	}
}

func wait(th *Throttle, from netip.Addr, account string) time.Duration {
	a, wait := th.Try(from, account)
	if a != nil {
		a.Cancelled()
	}
	return wait
}

func TestThrottleDelaysDouble(t *testing.T) {
	clk := newClock()
	th := newThrottle(t, clk, 0)
	fail(t, th, home, "an", 3)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		want *= time.Second
		if got := wait(th, home, "an"); got != want {
			t.Fatalf("delay %v, want %v", got, want)
		}
		clk.pass(want - time.Millisecond)
		if got := wait(th, home, "an"); got != time.Millisecond {
			t.Fatalf("a millisecond before: %v", got)
		}
		clk.pass(time.Millisecond)
		fail(t, th, home, "an", 1)
	}
	if got := wait(th, away, "an"); got != 0 {
		t.Errorf("another address is delayed by %v: a stranger locks the owner out", got)
	}
	if got := wait(th, home, "bình"); got != 0 {
		t.Errorf("another account is delayed by %v", got)
	}
}

func TestThrottleFades(t *testing.T) {
	clk := newClock()
	th := newThrottle(t, clk, 0)
	fail(t, th, home, "an", 3)
	clk.pass(halfLife)
	fail(t, th, home, "an", 1) // 1.5 + 1
	if got := wait(th, home, "an"); got != time.Second {
		t.Errorf("2.5 of 3 failures: %v", got)
	}
	clk.pass(10 * halfLife)
	fail(t, th, home, "an", 3)
}

func TestThrottleSuccessForgetsThePair(t *testing.T) {
	th := newThrottle(t, newClock(), 0)
	fail(t, th, home, "an", 2)
	a, _ := th.Try(home, "an")
	a.Succeeded()
	fail(t, th, home, "an", 3)
}

func TestThrottleCountsAPrefixOverAllAccounts(t *testing.T) {
	clk := newClock()
	th := newThrottle(t, clk, 0)
	for i := range 3 * prefixFactor {
		fail(t, th, home, fmt.Sprintf("user%d", i), 1)
	}
	if got := wait(th, home, "somebody"); got != time.Second {
		t.Errorf("after one try for each of many accounts: %v", got)
	}
	clk.pass(time.Second)
	// A success does not clear the prefix: a guesser may have an account of his own.
	a, _ := th.Try(home, "own")
	a.Succeeded()
	fail(t, th, home, "yet another", 1)
	if got := wait(th, home, "somebody"); got == 0 {
		t.Error("the prefix was cleared")
	}
	if got := wait(th, away, "somebody"); got != 0 {
		t.Errorf("another address: %v", got)
	}
	// What comes through a program on this machine are many people.
	loopback := netip.MustParseAddr("127.0.0.1")
	for i := range 3 * prefixFactor {
		fail(t, th, loopback, fmt.Sprintf("user%d", i), 1)
	}
	if got := wait(th, loopback, "somebody"); got != 0 {
		t.Errorf("loopback: %v", got)
	}
}

func TestThrottlePrefixes(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		if got := prefixOf(netip.MustParseAddr(tc.a)) == prefixOf(netip.MustParseAddr(tc.b)); got != tc.same {
			t.Errorf("%s and %s: same %v", tc.a, tc.b, got)
		}
	}
	if prefixOf(netip.Addr{}).IsValid() {
		t.Error("no address has a prefix")
	}
}

// A device with an old password tries it again and again; that must not lock out the others at the same address.
func TestThrottleRepeatedPasswordWeighsLittle(t *testing.T) {
	clk := newClock()
	th := newThrottle(t, clk, 0)
	for range 15 {
		a, wait := th.Try(home, "an")
		if wait != 0 {
			t.Fatalf("delayed by %v", wait)
		}
		a.Failed("the old one")
	}
	if got := wait(th, home, "an"); got != 0 {
		t.Errorf("delayed by %v", got)
	}
	for range 10 {
		if a, _ := th.Try(home, "an"); a != nil {
			a.Failed("the old one")
		}
	}
	if got := wait(th, home, "an"); got == 0 {
		t.Error("never delayed: each try costs us a slow hash")
	}
}

func TestThrottleBoundsTriesAtOnce(t *testing.T) {
	th := newThrottle(t, newClock(), 0)
	var running []*Attempt
	for range maxInFlight {
		a, wait := th.Try(home, "an")
		if wait != 0 {
			t.Fatalf("try %d at once delayed by %v: a client may open many connections", len(running), wait)
		}
		running = append(running, a)
	}
	if wait(th, home, "an") == 0 {
		t.Error("no bound")
	}
	running[0].Failed("x")
	running[0].Failed("x again, which must not count")
	for _, a := range running[1 : len(running)-fewInFlight] {
		a.Cancelled()
	}
	if wait(th, home, "an") == 0 {
		t.Error("one failed, and many more may try before it is known that they fail too")
	}
	running[len(running)-1].Cancelled()
	if got := wait(th, home, "an"); got != 0 {
		t.Errorf("few at once: %v", got)
	}
}

func TestThrottleForgetsSuccessfulLogins(t *testing.T) {
	th := newThrottle(t, newClock(), 0)
	for i := range 100 {
		a, _ := th.Try(home, fmt.Sprint(i))
		a.Succeeded()
	}
	if th.Len() != 0 {
		t.Errorf("%d counters", th.Len())
	}
}

// A flood from many addresses stays within the limit, and the one who guesses most is not the first to be forgotten.
func TestThrottleIsBounded(t *testing.T) {
	clk := newClock()
	th := newThrottle(t, clk, 200)
	fail(t, th, home, "an", 3)
	for i := range 5000 {
		from := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		if a, _ := th.Try(from, "an"); a != nil {
			a.Failed(fmt.Sprint(i))
		}
		if th.Len() > 200 {
			t.Fatalf("%d counters", th.Len())
		}
	}
	if len(th.dirty) > 200 {
		t.Errorf("%d to tell", len(th.dirty))
	}
	if wait(th, home, "an") == 0 {
		t.Error("the flood pushed the guesser out")
	}
}

func share(t *testing.T, from, to *Throttle) int {
	t.Helper()
	n := 0
	for b := from.Export(100); b != nil; b = from.Export(100) {
		if len(b) > 100 {
			t.Fatalf("a batch of %d bytes", len(b))
		}
		for range 2 { // gossip may bring it twice
			if err := to.Import(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := from.Import(b); err != nil { // and back to its sender
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestThrottleCountsClusterWide(t *testing.T) {
	clk := newClock()
	one, two := newThrottle(t, clk, 0), newThrottle(t, clk, 0)
	fail(t, one, home, "an", 2)
	fail(t, two, home, "an", 1)
	if share(t, one, two) == 0 || share(t, two, one) == 0 {
		t.Fatal("nothing to tell")
	}
	for i, th := range []*Throttle{one, two} {
		if got := wait(th, home, "an"); got != time.Second {
			t.Errorf("node %d: delay %v after three failures at two nodes", i+1, got)
		}
		if b := th.Export(1000); b != nil {
			t.Errorf("node %d passes on what it was told", i+1)
		}
	}
	clk.pass(time.Second)
	a, _ := one.Try(home, "an")
	a.Succeeded()
	share(t, one, two)
	fail(t, two, home, "an", 3)
}

func TestThrottleExportsInParts(t *testing.T) {
	one, two := newThrottle(t, newClock(), 0), newThrottle(t, newClock(), 0)
	for i := range 14 {
		fail(t, one, home, fmt.Sprint(i), 2)
	}
	if one.Export(17) != nil {
		t.Error("a batch without room")
	}
	if n := share(t, one, two); n != 4 { // 14 pairs and a prefix, four to a batch
		t.Errorf("%d batches", n)
	}
	if one.Len() != two.Len() {
		t.Errorf("%d counters here, %d there", one.Len(), two.Len())
	}
}

func TestThrottleImportRefusesRubbish(t *testing.T) {
	th := newThrottle(t, newClock(), 0)
	good := newThrottle(t, newClock(), 0)
	fail(t, good, home, "an", 1)
	b := good.Export(1000)
	for _, in := range [][]byte{nil, {}, {1}, b[:len(b)-1], append([]byte{2}, b[1:]...), make([]byte, 64<<10+batchEntryBytes)} {
		if err := th.Import(in); !errors.Is(err, ErrBatch) {
			t.Errorf("%d bytes: %v", len(in), err)
		}
	}
	if th.Len() != 0 {
		t.Errorf("%d counters", th.Len())
	}
}

func TestThrottleConcurrently(t *testing.T) {
	clk := newClock()
	one, two := newThrottle(t, clk, 40), newThrottle(t, clk, 40)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				if a, _ := one.Try(netip.AddrFrom4([4]byte{10, 0, byte(g), byte(i % 30)}), "an"); a != nil {
					switch i % 3 {
					case 0:
						a.Failed(fmt.Sprint(i))
					case 1:
						a.Succeeded()
					default:
						a.Cancelled()
					}
				}
				if b := one.Export(200); b != nil {
					if err := two.Import(b); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, th := range []*Throttle{one, two} {
		if th.Len() > 40 {
			t.Errorf("%d counters", th.Len())
		}
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	for k := range one.dirty {
		if one.entries[k] == nil {
			t.Error("something to tell of a counter that is gone")
		}
	}
	for _, c := range one.entries {
		if c.inFlight < 0 {
			t.Errorf("%d in flight", c.inFlight)
		}
	}
}
