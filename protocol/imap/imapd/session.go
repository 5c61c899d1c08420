package imapd

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/quorumail/quorumail/protocol/imap"
)

// session is one client's dialogue. It belongs to one goroutine.
type session struct {
	cfg    *Config
	conn   *conn
	r      *imap.Reader
	w      *imap.Writer
	log    *slog.Logger
	remote netip.Addr
	began  time.Time

	recents *recents // the server's

	draining context.Context // ends when the server stops
	user     *Identity       // nil: not authenticated
	sel      *selected       // nil: no mailbox is selected
	enabled  enabled
	failed   int // logins
	errors   int // BAD answers in a row
	over     bool
}

func newSession(c *conn) *session {
	cfg := &c.srv.cfg
	s := &session{cfg: cfg, conn: c, remote: c.remote, began: time.Now(), recents: &c.srv.recents}
	s.log = cfg.Logger.With("pkg", "imapd", "remote", c.remote)
	c.mustLogIn(s.began.Add(cfg.Limits.NotAuthenticated))
	s.attach()
	return s
}

// What a client can make the server hold before it has logged in. RFC 2971 §3.3 lets ID be longer; no client's is.
const (
	strangerLineBytes    = 16 << 10
	strangerLiteralBytes = 8 << 10
)

// attach makes a new reader and writer of the connection: at its begin and after STARTTLS, when nothing that was read or written
// before may count any more.
func (s *session) attach() {
	s.w = imap.NewWriter(s.conn)
	s.r = imap.NewReader(s.conn, imap.ReaderConfig{Limits: s.readerLimits(), Continue: s.continueLiteral})
	s.conn.beforeRead = s.w.Flush
}

// readerLimits are what a command may be long, by what is known of the client.
func (s *session) readerLimits() imap.Limits {
	l := s.cfg.Limits
	if s.user == nil {
		return imap.Limits{LineBytes: min(l.LineBytes, strangerLineBytes), LiteralBytes: min(l.LiteralBytes, strangerLiteralBytes), AppendBytes: strangerLiteralBytes}
	}
	return imap.Limits{LineBytes: l.LineBytes, LiteralBytes: l.LiteralBytes, AppendBytes: l.MessageBytes}
}

func (s *session) continueLiteral() error {
	s.w.Continue("Ready for literal data")
	return s.w.Flush()
}

// run answers commands until the client or the server ends the session.
func (s *session) run(ctx, draining context.Context) {
	s.draining = draining
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Metrics.Panics.Inc()
			s.log.Error("session ended in a panic", "err", p, "stack", string(debug.Stack()))
		}
	}()
	s.w.Status("", imap.StatusOK, imap.CodeCapability(s.capabilities()), s.cfg.Hostname+" Quorumail IMAP ready")
	for !s.over && s.w.Err() == nil {
		if draining.Err() != nil {
			s.bye(s.farewell())
			break
		}
		s.conn.await(s.commandDeadline())
		cmd, err := s.r.ReadCommand()
		if err != nil {
			s.readError(err)
			continue
		}
		s.conn.begun()
		s.execute(ctx, cmd)
	}
	if err := s.w.Flush(); err != nil {
		s.log.Debug("session ended", "err", err)
	}
}

func (s *session) commandDeadline() time.Time {
	if s.user == nil {
		return s.began.Add(s.cfg.Limits.NotAuthenticated)
	}
	return time.Now().Add(s.cfg.Limits.Idle)
}

// farewell is what a client hears whose session the server ends.
func (s *session) farewell() (imap.Code, string) {
	if errors.Is(context.Cause(s.draining), errRevoked) {
		return "", "Your password or account was changed, log in again"
	}
	return imap.CodeUnavailable, "Server is shutting down"
}

// bye tells the client that the session ends, and ends it.
func (s *session) bye(code imap.Code, text string) {
	s.w.Status("", imap.StatusBYE, code, text)
	s.over = true
}

// readError answers what the client sent instead of a command.
func (s *session) readError(err error) {
	var syntax *imap.SyntaxError
	var refused *imap.RefusedError
	var fatal *imap.FatalError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &syntax):
		s.bad(syntax.Tag, syntax.Code, syntax.Text)
	case errors.As(err, &refused):
		s.w.Status(refused.Tag, imap.StatusNO, refused.Code, refused.Text)
	case errors.As(err, &fatal):
		s.bye("", upperFirst(fatal.Text))
	case errors.Is(err, errDraining):
		s.bye(s.farewell())
	case errors.As(err, &timeout) && timeout.Timeout():
		s.bye("", "Idle for too long") // RFC 9051 §5.4
	default:
		s.over = true // the client is gone
	}
}

// bad answers BAD, and ends a session that sends nothing else.
func (s *session) bad(tag string, code imap.Code, text string) {
	s.w.Status(tag, imap.StatusBAD, code, text)
	if s.errors++; s.errors >= s.cfg.Limits.Errors {
		s.bye("", "Too many bad commands")
	}
}

func upperFirst(s string) string {
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
