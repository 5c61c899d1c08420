package remote

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// target is one address of a host, and how it is to be spoken to.
type target struct {
	host   Host
	addr   netip.AddrPort
	key    poolKey
	policy TLSPolicy // never TLSDefault
	clear  bool      // the handshake has failed, and TLSMay allows to go on without
}

// session is a connection past EHLO, TLS and login. It belongs to one Deliver at a time, or to the pool.
type session struct {
	*wire
	c        *Client
	to       target
	ext      extensions
	tls      *tlsState // nil in clear
	mails    int       // MAIL commands sent
	domains  map[string]bool
	needRset bool // something may be left of an earlier transaction
	reused   bool // taken from the pool, and not yet proven alive
	unwatch  func() bool
}

// connect opens a session. Its errors are failures.
func (c *Client) connect(ctx context.Context, to target) (*session, error) {
	s, err := c.open(ctx, to)
	var bad *tlsFailure
	if errors.As(err, &bad) && to.policy == TLSMay && ctx.Err() == nil {
		// RFC 7435 §3: opportunistic means that a peer with broken TLS gets what one without TLS gets.
		to.clear = true
		s, err = c.open(ctx, to)
	}
	if err != nil {
		c.cfg.Metrics.Connections.WithLabelValues("failed").Inc()
		return nil, err
	}
	c.cfg.Metrics.Connections.WithLabelValues("opened").Inc()
	return s, nil
}

func (c *Client) open(ctx context.Context, to target) (*session, error) {
	dialing, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Connect)
	conn, err := c.cfg.Dial(dialing, c.cfg.localFor(to.addr.Addr()), to.addr)
	cancel()
	if err != nil {
		f := deferred(0, "4.4.1", fmt.Sprintf("connect: %v", err))
		f.noWay = errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
		return nil, f
	}
	s := &session{wire: newWire(conn, &c.cfg.Limits, c.cfg.Timeouts.DataBlock), c: c, to: to, domains: map[string]bool{}}
	s.unwatch = s.watch(ctx)
	if err := s.start(ctx); err != nil {
		s.part(err)
		return nil, err
	}
	return s, nil
}

// start brings a new connection to where MAIL may come.
func (s *session) start(ctx context.Context) error {
	if s.to.policy == TLSImplicit {
		if err := s.handshake(ctx); err != nil {
			return err
		}
	}
	if err := s.greeting(); err != nil {
		return err
	}
	if err := s.hello(); err != nil {
		return err
	}
	if err := s.startTLS(ctx); err != nil {
		return err
	}
	return s.login()
}

// greeting: RFC 5321 §3.1. 554, or 521 (RFC 7504 §3), says that no mail is taken here.
func (s *session) greeting() error {
	r, err := s.read(s.c.cfg.Timeouts.Greeting)
	if err != nil {
		return broken("greeting", err)
	}
	if r.code != 220 {
		return answered("the connection", r)
	}
	return nil
}

// hello says EHLO, and HELO to who does not know it (RFC 5321 §3.2).
func (s *session) hello() error {
	name, err := smtp.ASCIIDomain(s.c.hostname)
	if err != nil {
		return broken("EHLO", err)
	}
	s.ext = extensions{}
	r, err := s.command(s.c.cfg.Timeouts.Greeting, "EHLO "+name)
	if err == nil && r.code == 250 {
		s.ext = parseExtensions(r.lines)
		return nil
	}
	if err == nil && r.code/100 == 5 {
		r, err = s.command(s.c.cfg.Timeouts.Greeting, "HELO "+name)
	}
	switch {
	case err != nil:
		return broken("EHLO", err)
	case r.code != 250:
		return answered("EHLO", r)
	}
	return nil
}

// part leaves after an error: with QUIT where the server still listens.
func (s *session) part(err error) {
	var f *failure
	if errors.As(err, &f) && !f.local && f.code != 421 {
		s.quit()
		return
	}
	s.abandon()
}

// quit parts politely, within a short time: nothing depends on it any more (RFC 5321 §4.1.1.10).
func (s *session) quit() {
	s.block = s.c.cfg.Timeouts.Quit
	s.command(s.c.cfg.Timeouts.Quit, "QUIT")
	s.abandon()
}

// abandon closes without a word.
func (s *session) abandon() {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.conn.Close()
}

// spent tells that no further MAIL may be sent.
func (s *session) spent() bool {
	limit := s.c.cfg.Limits.Transactions
	if n := s.ext.limits.mails; n > 0 { // RFC 9422 §4.1
		limit = min(limit, n)
	}
	return s.mails >= limit
}
