package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lines is a log that tests read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.buf.Write(p) }
func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// lab is a cluster's gossip.
type lab struct {
	t     *testing.T
	keys  Keys
	mu    sync.Mutex
	nodes []*node // guarded by mu
}

type node struct {
	*Gossip
	log     lines
	id      string
	applied atomic.Uint64
	crashed atomic.Bool
	mu      sync.Mutex
	news    []string // guarded by mu
	stop    func()
}

func (n *node) heard() []string { n.mu.Lock(); defer n.mu.Unlock(); return slices.Clone(n.news) }

// seeds are the addresses of all nodes that run.
func (l *lab) seeds(context.Context, map[string]bool) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.nodes {
		out = append(out, n.Address())
	}
	return out
}

func (l *lab) start(id string, change ...func(*Config)) *node {
	l.t.Helper()
	n := &node{id: id}
	cfg := Config{ID: id, Name: "name-" + id, Listen: "127.0.0.1:0", Keys: l.keys, Seeds: l.seeds,
		Logger: slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Self: func() Health {
			return Health{Version: "v1", ClientAddresses: "imap 127.0.0.1:143", Load: 0.5, Applied: n.applied.Load(), NotReady: "it is starting"}
		},
		Deliver: func(news []byte) { n.mu.Lock(); defer n.mu.Unlock(); n.news = append(n.news, string(news)) }}
	for _, f := range change {
		f(&cfg)
	}
	g, err := Start(l.t.Context(), cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	n.Gossip = g
	l.mu.Lock()
	l.nodes = append(l.nodes, n)
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		g.talk(ctx)
		if n.crashed.Load() {
			_ = g.list.Shutdown()
		} else if err := g.leave(); err != nil {
			l.t.Error(err)
		}
	}()
	n.stop = sync.OnceFunc(func() { l.forget(n); cancel(); done.Wait() })
	l.t.Cleanup(n.stop)
	return n
}

func (l *lab) forget(n *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = slices.DeleteFunc(l.nodes, func(x *node) bool { return x == n })
}

// crash ends a node without a goodbye; its address is free afterwards.
func (l *lab) crash(n *node) {
	n.crashed.Store(true)
	n.stop()
}

func (l *lab) until(what string, good func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !good() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(10 * time.Millisecond) // polls a condition
	}
}

func (l *lab) allSee(state State, id string) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range l.nodes {
			if n.Member(id).State != state {
				return false
			}
		}
		return true
	}
}

func newLab(t *testing.T, n int) *lab {
	t.Helper()
	l := &lab{t: t, keys: NewKeys()}
	for i := range n {
		l.start(fmt.Sprint("n", i))
	}
	for i := range n {
		l.until(fmt.Sprint("all see n", i), l.allSee(Alive, fmt.Sprint("n", i)))
	}
	return l
}

func TestNodesKnowHowTheOthersAre(t *testing.T) {
	l := newLab(t, 3)
	l.nodes[2].applied.Store(42)
	for _, n := range l.nodes {
		l.until("the beat is heard", func() bool { return n.Member("n2").Applied == 42 })
		if m := n.Member("n2"); m.Name != "name-n2" || m.Version != "v1" || m.ClientAddresses != "imap 127.0.0.1:143" || m.Ready || m.NotReady != "it is starting" || m.Load != 0.5 {
			t.Errorf("%s thinks of n2: %+v", n.id, m)
		}
		if got := len(n.Members()); got != 3 {
			t.Errorf("%s knows %d nodes", n.id, got)
		}
	}
	if m := l.nodes[0].Member("never"); m.State != Unknown {
		t.Errorf("a node that there is not: %+v", m)
	}
}

func TestCrashIsSuspectedAndThenDead(t *testing.T) {
	l := newLab(t, 3)
	a := l.nodes[0]
	l.crash(l.nodes[2])
	l.until("n2 is dead", l.allSee(Dead, "n2"))
	if l.until("somebody suspected it first", func() bool {
		return a.log.has("a node is suspected") || l.nodes[1].log.has("a node is suspected")
	}); !a.log.has("a node is held for dead") {
		t.Error("its death is not in the log")
	}
}

func TestGoodbyeIsNoCrash(t *testing.T) {
	for range 5 { // a busy machine may hold it for dead before its goodbye arrives, which then says nothing new
		l := newLab(t, 3)
		l.nodes[2].stop()
		left := l.allSee(Left, "n2")
		l.until("n2 is gone", func() bool {
			for _, n := range l.nodes[:2] {
				if s := n.Member("n2").State; s != Left && s != Dead {
					return false
				}
			}
			return true
		})
		if left() {
			return
		}
	}
	t.Error("goodbyes are never heard")
}

func TestNodeComesBackAtAnotherAddress(t *testing.T) {
	l := newLab(t, 3)
	old := l.nodes[2]
	address := old.Address()
	l.crash(old)
	again := l.start("n2") // before the others have noticed
	if again.Address() == address {
		t.Skip("the kernel gave the same port again")
	}
	again.applied.Store(7)
	l.until("all see it at its new address", func() bool {
		for _, n := range l.nodes {
			if m := n.Member("n2"); m.State != Alive || m.Applied != 7 {
				return false
			}
		}
		return true
	})
}

func TestNodeComesBackAtTheSameAddress(t *testing.T) {
	l := newLab(t, 3)
	old := l.nodes[2]
	address := old.Address()
	l.crash(old)
	l.until("n2 is dead", l.allSee(Dead, "n2"))
	again := l.start("n2", func(c *Config) { c.Listen = address })
	again.applied.Store(8)
	l.until("all see it", func() bool {
		for _, n := range l.nodes {
			if m := n.Member("n2"); m.State != Alive || m.Applied != 8 {
				return false
			}
		}
		return true
	})
	if !l.nodes[0].log.has("a node is back") {
		t.Error("its return is not in the log")
	}
}

func TestWrongKeyIsRefusedAndSaid(t *testing.T) {
	l := newLab(t, 2)
	stranger := l.start("n9", func(c *Config) { c.Keys = NewKeys() })
	l.until("the refusal is in a log", func() bool {
		return l.nodes[0].log.has("none of this cluster's keys opens") || l.nodes[1].log.has("none of this cluster's keys opens")
	})
	for _, n := range l.nodes[:2] {
		if m := n.Member("n9"); m.State != Unknown {
			t.Errorf("%s holds the stranger for %s", n.id, m.State)
		}
	}
	if m := stranger.Member("n0"); m.State != Unknown {
		t.Errorf("the stranger knows of n0: %+v", m)
	}
}

func TestRemovedNodeIsNotHeard(t *testing.T) {
	l := &lab{t: t, keys: NewKeys()}
	refuse := func(c *Config) {
		c.Refuse = func(id string) error {
			if id == "gone" {
				return fmt.Errorf("it was removed")
			}
			return nil
		}
	}
	a, b := l.start("a", refuse), l.start("b", refuse)
	l.start("gone")
	l.until("a and b see each other", func() bool { return a.Member("b").State == Alive && b.Member("a").State == Alive })
	l.until("the removed one has greeted both", func() bool { return l.nodes[2].Member("a").State == Alive && l.nodes[2].Member("b").State == Alive })
	if a.Member("gone").State != Unknown || b.Member("gone").State != Unknown {
		t.Error("the removed node counts")
	}
}

func TestTakenPortIsSaid(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := &lab{t: t, keys: NewKeys()}
	_, err = Start(t.Context(), Config{ID: "a", Listen: taken.Addr().String(), Keys: l.keys, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is another program there?") || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a taken port: %v", err)
	}
}

func TestAloneIsNoError(t *testing.T) {
	l := &lab{t: t, keys: NewKeys()}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	nobody.Close()
	asked := make(chan struct{}, 8)
	n := l.start("a", func(c *Config) {
		c.Seeds = func(context.Context, map[string]bool) []string {
			select {
			case asked <- struct{}{}:
			default:
			}
			return []string{address}
		}
	})
	<-asked
	<-asked // it goes on greeting
	if err := n.Tell([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestNewsReachEveryNodeOnce(t *testing.T) {
	l := newLab(t, 4)
	for i := range 20 {
		if err := l.nodes[i%4].Tell(fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for at, n := range l.nodes {
		l.until("the news of the others are here", func() bool { return len(n.heard()) >= 15 })
		got := n.heard()
		slices.Sort(got)
		if len(got) != 15 || len(slices.Compact(got)) != 15 {
			t.Errorf("node %d heard %q", at, got)
		}
	}
	if err := l.nodes[0].Tell(make([]byte, MaxNewsBytes+1)); err == nil {
		t.Error("news larger than a datagram were taken")
	}
	if err := l.nodes[0].Tell(bytes.Repeat([]byte("x"), MaxNewsBytes)); err != nil {
		t.Fatal(err)
	}
	l.until("the largest news arrive", func() bool {
		return slices.ContainsFunc(l.nodes[3].heard(), func(s string) bool { return len(s) == MaxNewsBytes })
	})
}

// The keys are rotated while the nodes talk, each node taking the steps at its own time, and everybody is understood.
func TestRotationDoesNotSplit(t *testing.T) {
	l := newLab(t, 3)
	k := l.keys
	for _, step := range []func(Keys) Keys{Keys.Install, Keys.Use, Keys.Drop} {
		k = step(k)
		for _, n := range l.nodes {
			if err := n.SetKeys(k); err != nil {
				t.Fatal(err)
			}
			// In between, nodes at different steps hear each other.
			want := l.nodes[0].applied.Add(1)
			l.until("a beat comes through", func() bool { return l.nodes[1].Member("n0").Applied == want && l.nodes[2].Member("n0").Applied == want })
		}
		for _, n := range l.nodes {
			l.until("all know the step", func() bool {
				return n.Member("n0").Keys == k.Generation && n.Member("n1").Keys == k.Generation && n.Member("n2").Keys == k.Generation
			})
		}
	}
	if k.Rotating() || bytes.Equal(k.Keys[0], l.keys.Keys[0]) || k.Generation != 4 {
		t.Errorf("after the rotation: generation %d, %d keys", k.Generation, len(k.Keys))
	}
	for _, n := range l.nodes {
		if n.log.has("keys opens") {
			t.Errorf("%s refused a message while the keys were rotated:\n%s", n.id, n.log.buf.String())
		}
	}
	// The old key opens nothing any more.
	l.start("n9", func(c *Config) { c.Keys = l.keys })
	l.until("the old key is refused", func() bool {
		return slices.ContainsFunc(l.nodes[:3], func(n *node) bool { return n.log.has("keys opens") })
	})
}

func TestBeatsThatComeLateChangeNothing(t *testing.T) {
	p, now := &peer{}, time.Now()
	b := func(run, seq, applied uint64) beat { return beat{Run: run, Seq: seq, Health: Health{Applied: applied}} }
	for _, c := range []struct {
		b   beat
		new bool
	}{{b(1, 1, 1), true}, {b(1, 1, 1), false}, {b(1, 3, 3), true}, {b(1, 2, 2), false}, {b(2, 1, 4), true}, {b(1, 4, 9), false}, {b(2, 2, 5), true}} {
		if p.newer(c.b, now) != c.new {
			t.Errorf("beat %d of run %d: new %v", c.b.Seq, c.b.Run, !c.new)
		}
	}
	if p.member.Applied != 5 {
		t.Errorf("the newest beat does not count: %d", p.member.Applied)
	}
}

func TestKeysAreChecked(t *testing.T) {
	raw, err := NewKeys().Install().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if k, err := ParseKeys(raw); err != nil || !k.Rotating() || k.Generation != 2 {
		t.Errorf("keys came back as %d of generation %d: %v", len(k.Keys), k.Generation, err)
	}
	for _, bad := range []string{"", "{}", `{"keys":["YQ=="]}`, `{"keys":[]}`} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%q was taken for keys", bad)
		}
	}
}
