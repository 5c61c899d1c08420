package smtpd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

// session is what a client has said since its greeting. go-smtp calls it from one goroutine at a time.
type session struct {
	srv    *Server
	w      *wire
	conn   *gosmtp.Conn
	helo   string // as the last EHLO or HELO has it
	failed int    // logins that were denied
	who    Identity
	authed bool

	mail *transaction // nil: none under way
}

func (s *Server) newSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	side, ok := c.Conn().(*side)
	if !ok {
		return nil, fmt.Errorf("smtpd: a connection of type %T", c.Conn())
	}
	side.session = &session{srv: s, w: side.wire, conn: c, helo: c.Hostname()}
	return side.session, nil
}

// Reset implements go-smtp's Session: RSET, the end of a transaction, or a further EHLO, which may have another name.
func (s *session) Reset() { s.mail, s.w.binaryMail, s.helo = nil, false, s.conn.Hostname() }

// Logout implements go-smtp's Session.
func (s *session) Logout() error { s.mail = nil; return nil }

// lookup is the context of a question to Auth or Resolver.
func (s *session) lookup() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.w.base, s.srv.cfg.Limits.Lookup)
}

// ready refuses when the node takes no mail: at once and for good, so that the client turns to another node (RFC 5321 §3.8).
func (s *session) ready() error {
	err := s.srv.cfg.Store.Ready()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNoSpace):
		return replyTo(err)
	}
	s.w.endAfterReply()
	return reply(421, 4, 3, 2, s.srv.cfg.Hostname+" Not accepting mail just now, closing connection")
}

// Mail implements go-smtp's Session: MAIL. The sender is what the wire read, not what the library made of it.
func (s *session) Mail(_ string, opts *gosmtp.MailOptions) error {
	s.w.counts = s.srv.cfg.counts()
	t := newTransaction(newQueueID(s.srv.cfg.Now()), opts)
	t.binary = s.w.binary
	if err := s.sender(t, s.w.path); err != nil {
		return replyTo(err)
	}
	s.mail, s.w.binaryMail = t, t.binary
	s.w.instead("250 2.1.0 Sender ok")
	return nil
}

func (s *session) sender(t *transaction, path smtp.Address) error {
	switch {
	case s.mail != nil:
		return reply(503, 5, 5, 1, "A message is under way already") // RFC 5321 §4.1.1.2
	case s.srv.cfg.Mode.submits() && !s.authed:
		return reply(530, 5, 7, 0, "Authentication required") // RFC 4954 §6
	}
	if t.size > s.w.counts.MessageBytes {
		return store.ErrTooLarge // RFC 1870 §6.1
	}
	if len(t.envid) > maxEnvidBytes {
		return reply(501, 5, 5, 4, "ENVID is too long")
	}
	if err := s.ready(); err != nil {
		return err
	}
	if rate := s.srv.cfg.AddressRate; rate != nil && s.stranger() && !rate.Room(s.client(), 1) {
		return errRate
	}
	if path.IsNull() {
		return nil
	}
	if err := s.plain(t.utf8); err != nil {
		return err
	}
	if path.Domain == "" {
		return reply(501, 5, 1, 7, "A sender needs a domain")
	}
	t.from = path
	if s.authed {
		return s.owns(t.from, "envelope sender")
	}
	return nil
}

// stranger is whether nobody vouches for this client.
func (s *session) stranger() bool { return s.srv.cfg.Mode == MX && !s.w.trusted }

// client is what a stranger's messages are counted by.
func (s *session) client() string { return prefixOf(s.w.remote).String() }

// account is what a user's recipients are counted by.
func (s *session) account() string { return strconv.FormatUint(uint64(s.who.Account), 10) }

// charge counts the message, or refuses it: its sender has sent too much lately.
func (s *session) charge(t *transaction) error {
	cfg := &s.srv.cfg
	switch {
	case s.authed && cfg.AccountRate != nil && !cfg.AccountRate.Take(s.account(), len(t.recipients)):
		return errRate
	case s.stranger() && cfg.AddressRate != nil && !cfg.AddressRate.Take(s.client(), 1):
		return errRate
	}
	return nil
}

// plain refuses a path that was written in UTF-8 without SMTPUTF8 (RFC 6531 §3.5).
func (s *session) plain(utf8 bool) error {
	if !utf8 && !s.w.pathASCII {
		return reply(553, 5, 6, 7, "An address that is not ASCII needs SMTPUTF8")
	}
	return nil
}

// owns refuses a sender that is not the user's own.
func (s *session) owns(a smtp.Address, what string) error {
	ctx, cancel := s.lookup()
	defer cancel()
	switch ok, err := s.srv.cfg.Auth.MaySendAs(ctx, s.who.Account, a); {
	case err != nil:
		return replyTo(err)
	case !ok:
		return reply(553, 5, 7, 1, "The "+what+" is not an address of "+asciiPath(s.who.Address))
	}
	return nil
}

func (s *session) queueID() string {
	if t := s.mail; t != nil {
		return t.queueID
	}
	return ""
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// maxReplyText leaves room in a reply of 512 bytes (RFC 5321 §4.5.3.1.5) for what stands around it.
const maxReplyText = 450

// oneLine makes text fit for a reply.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxReplyText)]
}
