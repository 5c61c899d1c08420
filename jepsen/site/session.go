package site

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// workload is what the operations of a site are recorded under: it does not know whose messages they are.
const workload = "sites"

var (
	refused = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user here"}
	busy    = &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 2}, Message: "not now"}
	mangled = &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 6, 0}, Message: "this is none of the test's messages"}
)

// NewSession implements go-smtp's Backend.
func (s *Site) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	ip, _, err := net.SplitHostPort(c.Conn().RemoteAddr().String())
	if err != nil {
		return nil, fmt.Errorf("who connects: %w", err)
	}
	x := &session{s: s, from: s.cfg.From(ip)}
	if watched, ok := c.Conn().(*conn); ok {
		x.conn = watched
	}
	return x, nil
}

// session is one connection; the library calls one method after the other.
type session struct {
	s     *Site
	conn  *conn
	from  string
	began time.Duration // the transaction
	to    []string
}

// Reset implements go-smtp's Session.
func (x *session) Reset() { x.to = nil }

// Logout implements go-smtp's Session.
func (x *session) Logout() error { return nil }

// Mail implements go-smtp's Session.
func (x *session) Mail(string, *gosmtp.MailOptions) error {
	x.began = x.s.cfg.History.Now()
	return nil
}

// Rcpt implements go-smtp's Session.
func (x *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	switch f, _ := x.s.now(); {
	case strings.HasPrefix(strings.ToLower(to), Refused):
		return refused
	case f.Busy:
		return busy
	}
	x.to = append(x.to, to)
	return nil
}

// errMute ends a connection whose message was kept.
var errMute = errors.New("the connection ends without an answer")

// Data implements go-smtp's Session. RFC 5321 §4.2.5: with the 250 the message is this server's; and here also when it does not come to that.
func (x *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err // it did not arrive whole, and nobody has it
	}
	id, wrong := client.Check(raw)
	if id == "" {
		return mangled
	}
	f, mute := x.s.now()
	x.s.pause(f.Delay)
	if mute {
		x.record(id, raw, wrong, history.Unknown, errMute)
		_ = x.conn.Close() // that is the answer
		return errMute
	}
	then := func() { x.s.taken(x.from) }
	x.conn.then.Store(&then)
	x.record(id, raw, wrong, history.OK, nil)
	return nil
}

// record notes what became of a message for each of its recipients, and that its bytes are not those which were sent.
func (x *session) record(id string, raw []byte, wrong error, outcome history.Outcome, why error) {
	h := x.s.cfg.History
	messageID, queueID := client.Trace(raw)
	op := history.Op{Workload: workload, Node: x.from, Kind: history.Sink, Invoke: x.began, Return: h.Now(), Outcome: outcome, ID: id, Value: queueID}
	if why != nil {
		op.Error = why.Error()
	}
	for _, to := range x.to {
		op.Dest = to
		h.Op(op)
	}
	if wrong == nil && messageID != client.MessageID(id) {
		wrong = fmt.Errorf("message %q has the Message-ID %q", id, messageID)
	}
	if wrong != nil {
		h.Note(history.Note{At: h.Now(), Node: x.from, Kind: "corrupt", Text: fmt.Sprintf("what came to %s: %v", x.s.cfg.Name, wrong)})
	}
}

// pause lets a time pass, unless the site is closed meanwhile.
func (s *Site) pause(d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.stop:
	}
}
