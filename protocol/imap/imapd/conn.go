package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// errDraining is the end of a wait for the client because the server stops.
var errDraining = errors.New("imapd: the server stops")

// conn is a client's connection with the deadlines that Limits name. It is an io.ReadWriter of one session.
type conn struct {
	srv    *Server
	net    net.Conn // what is read and written: raw, or TLS over it
	raw    net.Conn
	remote netip.Addr
	tls    bool

	// beforeRead, when set, runs before each read from the network, so that answers leave in groups when a client sends commands in
	// groups. It belongs to the goroutine that reads.
	beforeRead func() error

	mu       sync.Mutex
	waiting  bool      // for the first byte of a command: this may be interrupted
	until    time.Time // deadline of that wait
	login    time.Time // until then the client must have logged in, whatever it sends; zero once it has
	draining bool
	stopped  bool

	end context.CancelCauseFunc // ends the session as draining does; set before it runs
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, net: nc, raw: nc}
	if _, ok := nc.(*tls.Conn); ok {
		c.tls = true
	}
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.remote = ap.Addr().Unmap()
	}
	return c
}

// await says that the next byte begins something new, which the client may take until then to send. Draining ends the wait.
func (c *conn) await(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.until = true, until
}

// mustLogIn bounds the time of a client that has not logged in; the zero time lifts the bound.
func (c *conn) mustLogIn(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.login = until
}

// drain ends a wait for the client, now or when it begins.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.waiting {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
	}
}

// begun says that what the client began must now be completed within Limits.Literal.
func (c *conn) begun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
}

// interrupt ends a read that another goroutine is in, and all later ones.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	_ = c.net.SetReadDeadline(time.Unix(1, 0))
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) {
	if c.beforeRead != nil {
		if err := c.beforeRead(); err != nil {
			return 0, err
		}
	}
	if err := c.arm(); err != nil {
		return 0, err
	}
	n, err := c.net.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.waiting = false
	}
	var timeout net.Error
	if n == 0 && (c.stopped || c.waiting && c.draining) && errors.As(err, &timeout) && timeout.Timeout() {
		err = errDraining
	}
	return n, err
}

func (c *conn) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.waiting && c.draining {
		return errDraining
	}
	deadline := c.until
	if !c.waiting {
		deadline = time.Now().Add(c.srv.cfg.Limits.Literal)
	}
	if !c.login.IsZero() && c.login.Before(deadline) {
		deadline = c.login // a stranger that sends a byte now and then holds a connection no longer than one that is silent
	}
	return c.net.SetReadDeadline(deadline)
}

// Write implements io.Writer. A reader that is too slow loses the connection.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.net.SetWriteDeadline(time.Now().Add(c.srv.cfg.Limits.Write)); err != nil {
		return 0, err
	}
	return c.net.Write(p)
}

// handshake begins TLS on the connection, or completes it where the listener has begun it.
func (c *conn) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.srv.cfg.Limits.Handshake)
	defer cancel()
	t, ok := c.net.(*tls.Conn)
	if !ok {
		t = tls.Server(c.raw, c.srv.cfg.TLS)
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.net, c.tls = t, true
	return nil
}

// serve runs the session and returns when it has ended. The end of base closes the connection, that of draining ends the session
// between two commands, and that of late also where it waits for the client in the middle of one.
func (c *conn) serve(base, draining, late context.Context) {
	ctx, cancel := context.WithCancel(base)
	defer cancel()
	closed := make(chan struct{})
	cut := context.AfterFunc(ctx, func() { _ = c.raw.Close(); close(closed) })
	draining, c.end = context.WithCancelCause(draining)
	defer c.end(nil)
	stop := context.AfterFunc(draining, c.drain)
	defer stop()
	stopLate := context.AfterFunc(late, c.interrupt)
	defer stopLate()
	if c.tls {
		if err := c.handshake(ctx); err != nil {
			c.srv.cfg.Logger.Debug("tls refused", "pkg", "imapd", "remote", c.remote, "err", err)
			cancel()
			<-closed
			return
		}
	}
	s := newSession(c)
	s.run(ctx, draining)
	if cut() {
		_ = c.net.Close() // with TLS's farewell; bounded by its own write deadline
		return
	}
	<-closed
}
