package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lab is a cluster's authority that makes ports.
type lab struct {
	t  *testing.T
	ca *CA
}

func newLab(t *testing.T) lab {
	t.Helper()
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	return lab{t, ca}
}

func (l lab) port(id string) *Port {
	l.t.Helper()
	key, req, err := NewKey()
	if err != nil {
		l.t.Fatal(err)
	}
	cert, err := l.ca.SignNode(req, id)
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := Open(Config{Listen: "127.0.0.1:0", CertPEM: cert, KeyPEM: key, CAPEM: l.ca.PEM(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.t.Fatal(err)
	}
	go p.Serve()
	l.t.Cleanup(p.Close)
	return p
}

func waitFor(t *testing.T, what string, good func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !good() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(2 * time.Millisecond) // polls a condition
	}
}

func dialCtx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, from, method string, req []byte) ([]byte, error) {
	if method == "refuse" {
		return nil, errors.New("no")
	}
	return append([]byte(from+" "+method+" "), req...), nil
}

// serveEcho answers calls at a port.
func serveEcho(t *testing.T, p *Port) {
	p.Handle(ProtoRPC, func(c Conn) { ServeCalls(t.Context(), c, echo) })
}

func caller(t *testing.T, from, to *Port, id string) *Caller {
	t.Helper()
	c := NewCaller(t.Context(), func(ctx context.Context) (net.Conn, error) {
		return from.Dial(ctx, ProtoRPC, id, to.Addr().String())
	})
	t.Cleanup(c.Close)
	return c
}

func TestCallsShareAConnection(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	serveEcho(t, b)
	c := caller(t, a, b, "b")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			res, sent, err := c.Call(dialCtx(t), "m", fmt.Append(nil, i))
			if err != nil || !sent || string(res) != fmt.Sprintf("a m %d", i) {
				t.Errorf("call %d: %q %v %v", i, res, sent, err)
			}
		}()
	}
	wg.Wait()
	_, sent, err := c.Call(dialCtx(t), "refuse", nil)
	var refused RemoteError
	if !sent || !errors.As(err, &refused) || refused.Text != "no" {
		t.Errorf("a refusal came as %v", err)
	}
}

func TestCallLargerThanAFrameIsNotSent(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	serveEcho(t, b)
	c := caller(t, a, b, "b")
	if _, sent, err := c.Call(dialCtx(t), "m", make([]byte, maxFrameBytes)); sent || !errors.Is(err, ErrTooLarge) {
		t.Errorf("a request larger than a frame: sent %v, %v", sent, err)
	}
	b.Handle(ProtoRPC, func(c Conn) {
		ServeCalls(t.Context(), c, func(context.Context, string, string, []byte) ([]byte, error) { return make([]byte, maxFrameBytes), nil })
	})
	d := caller(t, a, b, "b")
	var refused RemoteError
	if _, _, err := d.Call(dialCtx(t), "m", nil); !errors.As(err, &refused) {
		t.Errorf("an answer larger than a frame came as %v", err)
	}
}

func TestCallEndsWithItsContextAlsoWhileSomebodyElseConnects(t *testing.T) {
	release := make(chan struct{})
	c := NewCaller(t.Context(), func(ctx context.Context) (net.Conn, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, errors.New("no connection")
	})
	defer c.Close()
	first := make(chan error, 1)
	go func() { _, _, err := c.Call(t.Context(), "m", nil); first <- err }()
	waitFor(t, "somebody connects", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.dialing != nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, sent, err := c.Call(ctx, "m", nil); sent || !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context has ended: sent %v, %v", sent, err)
	}
	close(release)
	if err := <-first; err == nil {
		t.Error("the call without a connection succeeded")
	}
}

func TestLostConnectionEndsCallsAndIsMadeAnew(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	arrived := make(chan struct{}, 1)
	b.Handle(ProtoRPC, func(c Conn) {
		ServeCalls(t.Context(), c, func(ctx context.Context, _, method string, _ []byte) ([]byte, error) {
			if method == "hang" {
				arrived <- struct{}{}
				<-ctx.Done()
			}
			return nil, nil
		})
	})
	c := caller(t, a, b, "b")
	got := make(chan error, 1)
	go func() {
		_, sent, err := c.Call(dialCtx(t), "hang", nil)
		if !sent {
			err = errors.New("it counts as not sent")
		}
		got <- err
	}()
	<-arrived
	b.mu.Lock()
	for conn := range b.open {
		conn.NetConn().Close()
	}
	b.mu.Unlock()
	if err := <-got; !errors.Is(err, errLost) {
		t.Errorf("the call that was under way ended with %v", err)
	}
	waitFor(t, "calls go on", func() bool { _, _, err := c.Call(dialCtx(t), "m", nil); return err == nil })
}

func TestStrangersGetNothing(t *testing.T) {
	l := newLab(t)
	b := l.port("b")
	served := make(chan string, 8)
	for _, proto := range []string{ProtoRaft, ProtoRPC, ProtoBulk, ProtoJoin} {
		b.Handle(proto, func(c Conn) { served <- proto + " " + c.From; c.Close() })
	}
	other := newLab(t).port("a") // of another authority
	for _, proto := range []string{ProtoRaft, ProtoRPC, ProtoBulk} {
		for name, certs := range map[string][]tls.Certificate{"without a certificate": nil, "of another cluster": {other.cert}} {
			c, err := tls.Dial("tcp", b.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "b" + nameSuffix, NextProtos: []string{proto}, Certificates: certs})
			if err != nil {
				continue
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%s: somebody %s is served", proto, name)
			}
			c.Close()
		}
	}
	// Who offers the protocol of joining besides another one is asked for a certificate too.
	if c, err := tls.Dial("tcp", b.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ProtoJoin, ProtoRPC}}); err == nil {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a stranger with two protocols is served")
		}
		c.Close()
	}
	select {
	case s := <-served:
		t.Errorf("a stranger reached %s", s)
	default:
	}
	if _, err := other.Dial(dialCtx(t), ProtoRPC, "b", b.Addr().String()); err == nil {
		t.Error("a node takes a node of another cluster for its own")
	}
}

func TestProtocolsAreKeptApart(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	served := make(chan string, 8)
	for _, proto := range []string{ProtoRaft, ProtoBulk} {
		b.Handle(proto, func(c Conn) { served <- proto + " of " + c.From; c.Close() })
	}
	for _, proto := range []string{ProtoBulk, ProtoRaft} {
		c, err := a.Dial(dialCtx(t), proto, "b", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := <-served, proto+" of a"; got != want {
			t.Errorf("%s where %s was asked for", got, want)
		}
		c.Close()
	}
	if c, err := a.Dial(dialCtx(t), "qm-unheard-of/1", "b", b.Addr().String()); err == nil {
		c.Close()
		t.Error("a protocol that there is not was agreed on")
	}
	if c, err := a.Dial(dialCtx(t), ProtoRaft, "c", b.Addr().String()); err == nil {
		c.Close()
		t.Error("node b passes for node c")
	}
}

// The node that is dialed makes sure, too, that it is the one that is meant: for Raft nobody may leave that open.
func TestNodeServesOnlyWhatIsMeantForIt(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	for _, proto := range []string{ProtoRaft, ProtoBulk} {
		b.Handle(proto, func(c Conn) { _, _ = c.Write([]byte("x")); c.Close() })
	}
	for _, x := range []struct {
		proto, name string
		want        bool
	}{
		{ProtoRaft, "b" + nameSuffix, true}, {ProtoRaft, "c" + nameSuffix, false}, {ProtoRaft, "", false}, {ProtoRaft, "b", false},
		{ProtoBulk, "b" + nameSuffix, true}, {ProtoBulk, "c" + nameSuffix, false}, {ProtoBulk, "", true},
	} {
		c, err := tls.Dial("tcp", b.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: x.name, NextProtos: []string{x.proto}, Certificates: []tls.Certificate{a.cert}})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); (err == nil) != x.want {
			t.Errorf("%s for %q: %v", x.proto, x.name, err)
		}
		c.Close()
	}
}

func TestJoinNeedsThePin(t *testing.T) {
	l := newLab(t)
	b := l.port("b")
	b.Handle(ProtoJoin, func(c Conn) {
		ServeCalls(t.Context(), c, func(_ context.Context, from, _ string, req []byte) ([]byte, error) {
			return []byte(from + "welcome"), nil
		})
	})
	join := func(pin [32]byte, body []byte) ([]byte, error) {
		c := NewCaller(t.Context(), func(ctx context.Context) (net.Conn, error) { return DialJoin(ctx, b.Addr().String(), pin) })
		defer c.Close()
		res, _, err := c.Call(dialCtx(t), "join", body)
		return res, err
	}
	if res, err := join(l.ca.Pin(), nil); err != nil || string(res) != "welcome" {
		t.Errorf("the right pin: %q %v", res, err)
	}
	if _, err := join([32]byte{1}, nil); err == nil || !strings.Contains(err.Error(), "not the cluster that the invite names") {
		t.Errorf("a wrong pin: %v", err)
	}
	if _, err := join(l.ca.Pin(), make([]byte, maxJoinFrameBytes)); err == nil {
		t.Error("somebody without a certificate sent a large frame")
	}
}

func TestRemovedNodeIsRefused(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	serveEcho(t, b)
	c := caller(t, a, b, "b")
	if _, _, err := c.Call(dialCtx(t), "m", nil); err != nil {
		t.Fatal(err)
	}
	var removed atomic.Bool
	b.Admit(func(id string) error {
		if removed.Load() && id == "a" {
			return errors.New("a was removed")
		}
		return nil
	})
	b.DropRefused()
	if _, _, err := c.Call(dialCtx(t), "m", nil); err != nil {
		t.Errorf("an admitted node was cut off: %v", err)
	}
	removed.Store(true)
	b.DropRefused()
	waitFor(t, "the removed node hears why", func() bool {
		_, _, err := c.Call(dialCtx(t), "m", nil)
		return err != nil && strings.Contains(err.Error(), "a was removed")
	})
}

// A flood of connections that never say who they are must not keep the nodes from each other.
func TestHandshakeFlood(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	serveEcho(t, b)
	var flood []net.Conn
	for range 3 * maxHandshakes {
		c, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		flood = append(flood, c)
	}
	waitFor(t, "the port is full", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.shaking.Len() == maxHandshakes })
	if _, _, err := caller(t, a, b, "b").Call(dialCtx(t), "m", nil); err != nil {
		t.Errorf("a node does not come through: %v", err)
	}
	// The oldest ones were dropped, not those that came last.
	_ = flood[0].SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := flood[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("the oldest connection of the flood: %v", err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

func TestGateMakesCallsWait(t *testing.T) {
	g := newGate(2, 10)
	if !g.enter(t.Context(), 100) {
		t.Fatal("one that is larger than the room does not go alone")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if g.enter(ctx, 1) {
		t.Error("there was no room")
	}
	in := make(chan bool)
	go func() { in <- g.enter(t.Context(), 1) }()
	g.leave(100)
	if !<-in || !g.enter(t.Context(), 9) || g.enter(ctx, 0) {
		t.Error("the room is counted wrongly")
	}
}

func TestNoGoroutineStaysBehind(t *testing.T) {
	l := newLab(t)
	before := runtime.NumGoroutine()
	a, b := l.port("a"), l.port("b")
	ctx, cancel := context.WithCancel(t.Context())
	b.Handle(ProtoRPC, func(c Conn) {
		ServeCalls(ctx, c, func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
	})
	c := caller(t, a, b, "b")
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() { defer wg.Done(); _, _, _ = c.Call(dialCtx(t), "m", nil) }()
	}
	waitFor(t, "the calls are under way", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.link == nil {
			return false
		}
		c.link.mu.Lock()
		defer c.link.mu.Unlock()
		return len(c.link.wait) == 20
	})
	c.Close()
	wg.Wait()
	cancel()
	a.Close()
	b.Close()
	waitFor(t, "every goroutine has ended", func() bool { return runtime.NumGoroutine() <= before })
}

// A node that connects while the other one stops is asked about in a state that is still open.
func TestWaitCoversWhoIsBeingAdmitted(t *testing.T) {
	l := newLab(t)
	a, b := l.port("a"), l.port("b")
	asked, answer := make(chan struct{}), make(chan struct{})
	b.Admit(func(string) error {
		close(asked)
		<-answer
		return errors.New("no")
	})
	var dialing sync.WaitGroup
	defer dialing.Wait()
	dialing.Go(func() {
		if c, err := a.Dial(dialCtx(t), ProtoRPC, "b", b.Addr().String()); err == nil {
			c.Close()
		}
	})
	<-asked
	b.Close()
	waited := make(chan struct{})
	go func() { b.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("Wait came back while a node was being admitted")
	case <-time.After(50 * time.Millisecond): // a Wait that does not wait is back by then
	}
	close(answer)
	<-waited
}
