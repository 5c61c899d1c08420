package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
)

// Server answers SMTP clients in one mode. Make it with New.
type Server struct {
	cfg Config

	mu     sync.Mutex
	wires  map[*wire]struct{}
	from   map[netip.Prefix]int // connections per client
	secure *feed                // of the Serve that runs
	plain  *feed

	logins sasl.Logins[*wire, store.AccountID]
}

// New checks the configuration and makes a server.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.fill()
	return &Server{cfg: cfg, wires: map[*wire]struct{}{}, from: map[netip.Prefix]int{}}, nil
}

// Serve accepts connections on l until ctx ends; then it closes l, lets open transactions end (Limits.Drain), tells clients 421 between
// commands, and returns nil when every connection is closed. It is called once. When accepting fails for good, it drains likewise and
// returns that error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base := context.WithoutCancel(ctx)
	plain := s.library(s.cfg.TLS, s.cfg.AllowPlainAuth)
	secure := s.library(nil, true)
	secure.EnableREQUIRETLS = true // RFC 8689 §2: only under TLS
	s.mu.Lock()
	if s.plain != nil {
		s.mu.Unlock()
		return fmt.Errorf("smtpd: Serve was called twice: %w", store.ErrInvalid)
	}
	s.plain, s.secure = newFeed(l.Addr()), newFeed(l.Addr())
	s.mu.Unlock()

	var libraries, greeters sync.WaitGroup
	libraries.Go(func() { _ = plain.Serve(s.plain) })   // ends with the feed, which has no other error
	libraries.Go(func() { _ = secure.Serve(s.secure) }) // likewise
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()

	err := s.accept(ctx, base, l, &greeters)
	_ = l.Close() // a second time where ctx ended
	s.drain(&greeters)
	grace, cancel := context.WithTimeout(base, s.cfg.Limits.Drain)
	defer cancel()
	err = errors.Join(err, plain.Shutdown(grace), secure.Shutdown(grace))
	libraries.Wait()
	return err
}

// library makes one of the two go-smtp servers. Deadlines, sizes of lines and numbers of recipients are kept by the wire and the session.
func (s *Server) library(offer *tls.Config, auth bool) *gosmtp.Server {
	srv := gosmtp.NewServer(gosmtp.BackendFunc(s.newSession))
	srv.Domain = s.cfg.Hostname
	srv.LMTP = s.cfg.Mode == LMTP
	srv.MaxLineLength = maxCommandBytes + 1
	srv.EnableSMTPUTF8 = true
	srv.EnableDSN = true
	srv.EnableBINARYMIME = true
	srv.TLSConfig = offer
	srv.AllowInsecureAuth = auth
	srv.ErrorLog = slog.NewLogLogger(s.cfg.Logger.With("pkg", "smtpd").Handler(), slog.LevelWarn)
	return srv
}

// accept runs until ctx ends or the listener breaks.
func (s *Server) accept(ctx, base context.Context, l net.Listener, greeters *sync.WaitGroup) error {
	var pause time.Duration
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept on %v: %w", l.Addr(), err)
			}
			// Out of descriptors or the like: it passes.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accept", "pkg", "smtpd", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		w := newWire(s, base, conn)
		if reason := s.admit(w); reason != "" {
			s.refuse(w, reason)
			continue
		}
		greeters.Go(func() { s.greet(w) })
	}
}

// admit counts the connection, or says which limit it meets.
func (s *Server) admit(w *wire) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := prefixOf(w.remote)
	switch {
	case len(s.wires) >= w.counts.Connections:
		return "connections"
	case !w.remote.IsLoopback() && s.from[key] >= w.counts.ConnectionsPerAddress:
		return "address"
	}
	s.wires[w] = struct{}{}
	s.from[key]++
	s.cfg.Metrics.Connections.WithLabelValues(s.cfg.Mode.String()).Inc()
	return ""
}

// forget is the end of an admitted connection.
func (s *Server) forget(w *wire) {
	s.logins.Forget(w)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.wires[w]; !ok {
		return
	}
	delete(s.wires, w)
	key := prefixOf(w.remote)
	if s.from[key]--; s.from[key] == 0 {
		delete(s.from, key)
	}
	s.cfg.Metrics.Connections.WithLabelValues(s.cfg.Mode.String()).Dec()
}

// refuse closes a connection that was not admitted. What it says fits any socket buffer, so that it does not block the accepting loop; a
// TLS client hears nothing.
func (s *Server) refuse(w *wire, reason string) {
	s.cfg.Metrics.Refused.WithLabelValues(s.cfg.Mode.String(), reason).Inc()
	w.log.Info("connection refused", "remote", w.remote, "reason", reason)
	if !s.implicitTLS(w.conn) {
		w.say("421 4.7.0 " + s.cfg.Hostname + " Too many connections, try again later")
	}
	_ = w.close()
}

func (s *Server) implicitTLS(conn net.Conn) bool {
	_, wrapped := conn.(*tls.Conn)
	return wrapped || s.cfg.Mode == Submissions && s.cfg.TLS != nil
}

// greet brings a connection to the library that shall serve it, or says why it is not served.
func (s *Server) greet(w *wire) {
	side := &side{wire: w}
	w.current = side
	w.trusted = s.trusts(w.remote)
	to := s.plain
	if s.implicitTLS(w.conn) {
		conn, ok := w.conn.(*tls.Conn)
		if !ok {
			conn = tls.Server(w.conn, s.cfg.TLS)
		}
		if err := w.handshake(conn); err != nil {
			w.log.Info("tls refused", "remote", w.remote, "err", err)
			w.abort()
			_ = w.close()
			return
		}
		to = s.secure
	}
	// A full disk is answered at MAIL: what the client asks besides can be answered.
	if err := s.cfg.Store.Ready(); err != nil && !errors.Is(err, store.ErrNoSpace) {
		s.cfg.Metrics.Refused.WithLabelValues(s.cfg.Mode.String(), "not ready").Inc()
		w.log.Info("connection refused", "remote", w.remote, "reason", "not ready", "err", err)
		w.say("421 4.3.2 " + s.cfg.Hostname + " Not accepting mail just now, try again later")
		_ = w.close()
		return
	}
	if s.early(w) {
		return
	}
	if !to.put(side) {
		w.say("421 4.3.2 " + s.cfg.Hostname + " Shutting down, try again")
		_ = w.close()
	}
}

// feedSecure hands a connection over after STARTTLS; false: the server ends.
func (s *Server) feedSecure(c net.Conn) bool { return s.secure.put(c) }

// drain ends every connection: between commands; when the time is over, also one whose client is in the middle of a command or a body, which
// is told 421 (RFC 5321 §3.8). Who waits for the store then, and not for the client, has the same time once more before the connection is cut.
func (s *Server) drain(greeters *sync.WaitGroup) {
	deadline := time.NewTimer(s.cfg.Limits.Drain)
	defer deadline.Stop()
	s.plain.stop() // s.secure stays: a connection may be on its way there
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for expired := 0; ; {
		open := s.open()
		if len(open) == 0 {
			break
		}
		for _, w := range open {
			w.end("421 4.3.2 " + s.cfg.Hostname + " Shutting down, try again")
			switch expired {
			case 1:
				w.expire()
			case 2:
				w.abort()
			}
		}
		select {
		case <-deadline.C:
			expired++
			deadline.Reset(s.cfg.Limits.Drain)
			s.cfg.Logger.Warn("closing connections that did not end", "pkg", "smtpd", "mode", s.cfg.Mode.String(), "connections", len(open), "cut", expired > 1)
		case <-tick.C:
		}
	}
	greeters.Wait()
	s.secure.stop()
}

func (s *Server) open() []*wire {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*wire, 0, len(s.wires))
	for w := range s.wires {
		list = append(list, w)
	}
	return list
}

// prefixOf is the client that an address stands for: an IPv6 client has a /64 of its own.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fails only for the zero address, which then stands for itself
	return p
}

// feed is a listener whose connections are put into it.
type feed struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newFeed(addr net.Addr) *feed {
	return &feed{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands a connection to whoever accepts; false: the feed is closed, and the caller keeps the connection.
func (f *feed) put(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

// stop closes the feed.
func (f *feed) stop() { f.once.Do(func() { close(f.done) }) }

// Accept implements net.Listener.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *feed) Close() error { f.stop(); return nil }

// Addr implements net.Listener.
func (f *feed) Addr() net.Addr { return f.addr }
