package imapd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
)

// Server answers IMAP clients. Make it with New.
type Server struct {
	cfg Config

	mu    sync.Mutex
	conns map[*conn]struct{}
	from  map[netip.Prefix]int // connections per client

	logins sasl.Logins[*conn, store.AccountID]

	recents recents
}

// New checks the configuration and makes a server.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.fill()
	return &Server{cfg: cfg, conns: map[*conn]struct{}{}, from: map[netip.Prefix]int{},
		recents: recents{first: map[recentKey]uint32{}}}, nil
}

// Serve accepts connections on l until ctx ends; then it closes l, lets commands in progress end (Limits.Drain), tells clients BYE between
// commands, and returns nil when each of its connections is closed. When accepting fails for good, it drains likewise and returns
// that error. It may be called for several listeners at once; the limits hold for all of them together.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// Sessions outlive ctx while they drain, and learn of its end from draining.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	draining, drain := context.WithCancel(ctx)
	defer drain()
	late, expire := context.WithCancel(base)
	defer expire()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()

	var sessions sync.WaitGroup
	err := s.accept(ctx, l, func(c *conn) {
		sessions.Go(func() {
			defer s.forget(c)
			c.serve(base, draining, late)
		})
	})
	_ = l.Close() // a second time where ctx ended
	drain()
	done := make(chan struct{})
	go func() { sessions.Wait(); close(done) }()
	// First whoever waits for a client in the middle of a command, then whoever waits for the store or cannot write.
	for _, end := range []func(){expire, cut} {
		if s.ended(done) {
			return err
		}
		s.cfg.Logger.Warn("closing sessions that did not end", "pkg", "imapd")
		end()
	}
	<-done
	return err
}

// ended waits for the end of all sessions, for Limits.Drain.
func (s *Server) ended(done <-chan struct{}) bool {
	deadline := time.NewTimer(s.cfg.Limits.Drain)
	defer deadline.Stop()
	select {
	case <-done:
		return true
	case <-deadline.C:
		return false
	}
}

// accept runs until ctx ends or the listener breaks.
func (s *Server) accept(ctx context.Context, l net.Listener, start func(*conn)) error {
	var pause time.Duration
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept on %v: %w", l.Addr(), err)
			}
			// Out of descriptors or the like: it passes.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accept", "pkg", "imapd", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		c := newConn(s, nc)
		if reason := s.admit(c); reason != "" {
			s.refuse(c, reason)
			continue
		}
		start(c)
	}
}

// admit counts the connection, or says which limit it meets.
func (s *Server) admit(c *conn) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := clientPrefix(c.remote)
	switch {
	case len(s.conns) >= s.cfg.Limits.Sessions:
		return "sessions"
	case !c.remote.IsLoopback() && s.from[key] >= s.cfg.Limits.SessionsPerAddress:
		return "address"
	}
	s.conns[c] = struct{}{}
	s.from[key]++
	s.cfg.Metrics.Sessions.Inc()
	return ""
}

func (s *Server) forget(c *conn) {
	s.logins.Forget(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	key := clientPrefix(c.remote)
	if s.from[key]--; s.from[key] == 0 {
		delete(s.from, key)
	}
	s.cfg.Metrics.Sessions.Dec()
}

// errRevoked is why a session ends whose account's credentials changed.
var errRevoked = errors.New("imapd: the login is no longer good")

// EndSessions ends the sessions of an account, each after the command that it is at, because its password was changed, or it was suspended
// or removed; account 0 stands for every one. It does not wait for them.
func (s *Server) EndSessions(account store.AccountID) {
	s.logins.Revoke(account, func(c *conn) { c.end(errRevoked) })
}

// refuse closes a connection that was not admitted. What it says fits any socket buffer, so that it does not hold up the accepting
// loop; a TLS client hears nothing.
func (s *Server) refuse(c *conn, reason string) {
	s.cfg.Metrics.Refused.WithLabelValues(reason).Inc()
	s.cfg.Logger.Info("connection refused", "pkg", "imapd", "remote", c.remote, "reason", reason)
	if !c.tls {
		w := imap.NewWriter(c)
		_ = c.net.SetWriteDeadline(time.Now().Add(time.Second))
		w.Status("", imap.StatusBYE, imap.CodeUnavailable, "Too many connections, try again later")
		_ = w.Flush()
	}
	_ = c.net.Close()
}

// clientPrefix is the client that an address stands for: an IPv6 client has a /64 of its own.
func clientPrefix(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // the zero address: clients without one count together
	}
	return p
}
