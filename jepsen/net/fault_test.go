package net_test

import (
	"bytes"
	"errors"
	"io"
	stdnet "net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/net"
)

// say sends something over a connection to an echo, and waits for it to come back.
func say(c stdnet.Conn, what string, wait time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(what)); err != nil {
		return err
	}
	back := make([]byte, len(what))
	_, err := io.ReadFull(c, back)
	if err == nil && string(back) != what {
		err = errors.New("other bytes came back")
	}
	return err
}

// connected is a connection from a to an echo on b that works.
func (b *bed) connected(t *testing.T, from, to int, port uint16) stdnet.Conn {
	t.Helper()
	c, err := b.dial(from, to, port, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := say(c, "hello", patience); err != nil {
		t.Fatal(err)
	}
	return c
}

func silent(t *testing.T, what string, err error) {
	t.Helper()
	if !os.IsTimeout(err) {
		t.Errorf("%s: %v, want silence", what, err)
	}
}

func set(t *testing.T, b *bed, p net.Plan) {
	t.Helper()
	if err := b.Apply(p); err != nil {
		t.Fatal(err)
	}
}

var ab = net.Link{From: "a", To: "b"}

// A partition is silent for connections old and new, leaves others alone, and what was sent meanwhile comes when it is healed.
func TestPartition(t *testing.T) {
	b := newBed(t, 3)
	b.echo(t, 1, 7400)
	b.echo(t, 2, 7400)
	ab, ac := b.connected(t, 0, 1, 7400), b.connected(t, 0, 2, 7400)

	set(t, b, net.Split([]string{"a", "c"}, []string{"b"}))
	silent(t, "an open connection", say(ab, "one", silence))
	_, err := b.dial(0, 1, 7400, silence)
	silent(t, "a new connection", err)
	_, err = b.dial(2, 1, 7400, silence)
	silent(t, "a new connection of one that never asked for the address", err)
	if err := say(ac, "beside", patience); err != nil {
		t.Errorf("another link: %v", err)
	}

	b.Heal()
	_ = ab.SetDeadline(time.Now().Add(patience))
	got := make([]byte, 3)
	if _, err := io.ReadFull(ab, got); err != nil || string(got) != "one" {
		t.Errorf("after healing: %q, %v", got, err)
	}
	b.connected(t, 2, 1, 7400)
	if c := b.Counters(); c[net.Link{From: "a", To: "b"}].Dropped == 0 || c[net.Link{From: "a", To: "c"}].Dropped != 0 {
		t.Errorf("counted %+v", c)
	}
}

// One way cut: what goes the other way arrives all the same.
func TestOneWay(t *testing.T) {
	b := newBed(t, 2)
	to, from := b.datagrams(t, 1, 9000), b.datagrams(t, 0, 9000)
	set(t, b, net.OneWay([]string{"b"}, []string{"a"}))
	send(t, from, 1, "there")
	receive(t, to, "there")
	send(t, to, 0, "back")
	_ = from.SetReadDeadline(time.Now().Add(silence))
	_, _, err := from.ReadFrom(make([]byte, 10))
	silent(t, "back", err)
}

// A grey failure: the port that raft would use is dead, the one that gossip would use lives.
func TestPortRule(t *testing.T) {
	b := newBed(t, 2)
	b.echo(t, 1, 7400)
	b.echo(t, 1, 7401)
	dead, lives := b.connected(t, 0, 1, 7400), b.connected(t, 0, 1, 7401)
	set(t, b, net.Split([]string{"a"}, []string{"b"}).On(7400))
	silent(t, "port 7400", say(dead, "x", silence))
	if err := say(lives, "y", patience); err != nil {
		t.Errorf("port 7401: %v", err)
	}
	b.connected(t, 0, 1, 7401)
}

// Delay holds in its direction.
func TestDelay(t *testing.T) {
	b := newBed(t, 2)
	b.echo(t, 1, 7000)
	c := b.connected(t, 0, 1, 7000)
	const delay = 200 * time.Millisecond
	set(t, b, net.Plan{ab: {{Delay: delay}}})
	start := time.Now()
	if err := say(c, "slowly", patience); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < delay {
		t.Errorf("there and back in %v", d)
	}
	if n := b.Counters(); n[ab].Delayed == 0 || n[net.Link{From: "b", To: "a"}].Delayed != 0 {
		t.Errorf("counted %+v", n)
	}
}

// What waits is dropped when its link is cut by the time it would arrive.
func TestCutHitsWhatWaits(t *testing.T) {
	b := newBed(t, 2)
	from := b.datagrams(t, 0, 9000)
	set(t, b, net.Plan{ab: {{Delay: 2 * time.Second}}})
	send(t, from, 1, "late")
	until(t, "the datagram waits", func() bool { return b.Counters()[ab].Delayed > 0 })
	set(t, b, net.Plan{ab: {{Cut: true}}})
	until(t, "the datagram is dropped", func() bool { return b.Counters()[ab].Dropped > 0 })
	if n := b.Counters()[ab]; n.Forwarded != 0 {
		t.Errorf("counted %+v", n)
	}
}

// TCP gets its bytes through a network that loses, doubles, spoils and reorders; and a rate holds.
func TestBadNetworkCarriesTCP(t *testing.T) {
	for name, rule := range map[string]net.Rule{
		"loss":      {Loss: 0.05},
		"duplicate": {Duplicate: 0.5},
		"corrupt":   {Corrupt: 0.05},
		"reorder":   {Jitter: 5 * time.Millisecond, Reorder: true},
		"rate":      {BytesPerSecond: 8 << 20},
		"all":       {Loss: 0.01, Duplicate: 0.1, Corrupt: 0.01, Delay: time.Millisecond, Jitter: time.Millisecond, BytesPerSecond: 8 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, 2)
			b.echo(t, 1, 7000)
			c := b.connected(t, 0, 1, 7000)
			set(t, b, net.Plan{ab: {rule}})
			const size = 2 << 20
			start := time.Now()
			if err := exchange(c, size); err != nil {
				t.Fatal(err)
			}
			if least := size * time.Second / time.Duration(max(1, rule.BytesPerSecond)); rule.BytesPerSecond > 0 && time.Since(start) < least/2 {
				t.Errorf("%d bytes in %v, less than half of %v", size, time.Since(start), least)
			}
			n := b.Counters()[ab]
			for what, missing := range map[string]bool{
				"dropped":    rule.Loss > 0 && n.Dropped == 0,
				"duplicated": rule.Duplicate > 0 && n.Duplicated == 0,
				"corrupted":  rule.Corrupt > 0 && n.Corrupted == 0,
				"delayed":    rule.Jitter > 0 && n.Delayed == 0,
			} {
				if missing {
					t.Errorf("no frame was %s: %+v", what, n)
				}
			}
		})
	}
}

// exchange sends bytes to an echo and compares what comes back.
func exchange(c stdnet.Conn, size int) error {
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	out := make([]byte, size)
	for i := range out {
		out[i] = byte(i * 31 >> 5)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(out)
		sent <- err
	}()
	back := make([]byte, size)
	_, err := io.ReadFull(c, back)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(out, back) {
		return errors.New("other bytes came back")
	}
	return nil
}

// Every datagram arrives twice when told so, and none is doubled otherwise.
func TestDuplicate(t *testing.T) {
	b := newBed(t, 2)
	to, from := b.datagrams(t, 1, 9000), b.datagrams(t, 0, 9000)
	set(t, b, net.Plan{ab: {{Duplicate: 1}}})
	send(t, from, 1, "two")
	receive(t, to, "two")
	receive(t, to, "two")
	b.Heal()
	send(t, from, 1, "one")
	send(t, from, 1, "more")
	receive(t, to, "one")
	receive(t, to, "more")
}

// A plan that is wrong in one place changes nothing.
func TestWrongPlanChangesNothing(t *testing.T) {
	b := newBed(t, 2)
	to, from := b.datagrams(t, 1, 9000), b.datagrams(t, 0, 9000)
	for _, p := range []net.Plan{
		net.Merge(net.OneWay([]string{"a"}, []string{"b"}), net.OneWay([]string{"b"}, []string{"nobody"})),
		net.Merge(net.OneWay([]string{"a"}, []string{"b"}), net.Plan{ab: {{Loss: 2}}}),
		{{From: "a", To: "a"}: {{Cut: true}}},
	} {
		if b.Apply(p) == nil {
			t.Errorf("%v is fine", p)
		}
	}
	send(t, from, 1, "through")
	receive(t, to, "through")
}

// Replace heals what its plan does not name.
func TestReplace(t *testing.T) {
	b := newBed(t, 3)
	b.echo(t, 1, 7000)
	b.echo(t, 2, 7000)
	set(t, b, net.Isolate("b", []string{"a"}, net.Both))
	if err := b.Replace(net.Isolate("c", []string{"a"}, net.Both)); err != nil {
		t.Fatal(err)
	}
	b.connected(t, 0, 1, 7000)
	_, err := b.dial(0, 2, 7000, silence)
	silent(t, "the new partition", err)
}

// A closed switch leaves no device behind.
func TestClose(t *testing.T) {
	b := newBed(t, 1)
	device := func() bool {
		found := false
		if err := net.Inside(b.paths[0], func() error {
			list, err := stdnet.Interfaces()
			for _, i := range list {
				found = found || i.Name != "lo" && i.Flags&stdnet.FlagUp != 0
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if !device() {
		t.Error("there is no device")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	until(t, "the device is gone", func() bool { return !device() })
	if err := b.Attach("z", b.paths[0], netip.PrefixFrom(address(9), 24)); err == nil {
		t.Error("attached to a closed switch")
	}
}

// datagrams is a UDP socket at an end.
func (b *bed) datagrams(t *testing.T, end int, port uint16) stdnet.PacketConn {
	t.Helper()
	var c stdnet.PacketConn
	if err := net.Inside(b.paths[end], func() (err error) {
		c, err = stdnet.ListenUDP("udp4", stdnet.UDPAddrFromAddrPort(addrPort(end, port)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// send sends a datagram to port 9000 of an end.
func send(t *testing.T, c stdnet.PacketConn, to int, what string) {
	t.Helper()
	if _, err := c.WriteTo([]byte(what), stdnet.UDPAddrFromAddrPort(addrPort(to, 9000))); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c stdnet.PacketConn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	n, _, err := c.ReadFrom(b)
	if err != nil || string(b[:n]) != want {
		t.Errorf("received %q, %v, want %q", b[:n], err, want)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond) // the condition is polled
	}
}
