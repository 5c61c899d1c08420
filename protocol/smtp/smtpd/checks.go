package smtpd

import (
	"context"
	"io"
	"net/netip"
	"strings"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

// Checks judge messages before they are taken.
type Checks interface {
	// NeedsContent tells whether Check reads the bytes of a message in this direction.
	NeedsContent(submitted bool) bool
	// Check judges; it ends when ctx does. A ctx error means: not judged in time.
	Check(ctx context.Context, m *CheckedMessage) (Verdict, error)
}

// CheckedMessage is what Checks see of a message.
type CheckedMessage struct {
	QueueID    string
	Client     netip.Addr // the zero address: not known
	Helo       string     // as the client said it: anything
	From       smtp.Address
	Recipients []smtp.Address // as the client named them
	Account    store.AccountID
	Submitted  bool // by a user who logged in, or a client of a trusted network; else it comes from a stranger
	// Open reads the message as it will be stored, without the fields that are put on top: its line ends are CRLF. It can be called again; each
	// reader is closed before Check returns. Nil where content is not needed.
	Open func() (io.ReadCloser, error)
}

// Action is what becomes of a message.
type Action int

const (
	Accept   Action = iota // it is taken
	Tag                    // it is taken, with the verdict's Headers
	Tempfail               // 451: the client is to try again later
	Hold                   // it is taken, and rests in the queue "in" until somebody decides
	Reject                 // 550
)

// Verdict is what Checks say.
type Verdict struct {
	Action  Action
	Headers []string // complete fields with their CRLF, put on top of the message
	Reply   string   // the text of a refusal; "": a general one
	Rules   []string // which rules led to it, for the trace
}

// word is what became of the message, in metrics and traces.
func (a Action) word() string {
	switch a {
	case Tag:
		return "tagged"
	case Tempfail:
		return "put off"
	case Hold:
		return "held"
	case Reject:
		return "refused"
	}
	return "accepted"
}

// said is the verdict in the message's trace.
func (v Verdict) said() string {
	if len(v.Rules) == 0 {
		if v.Action == Accept {
			return ""
		}
		return v.Action.word()
	}
	return v.Action.word() + " by rule " + strings.Join(v.Rules, ", ")
}

// judge asks the checks. Without an answer in time the message is to be judged later, from the queue "in". The end that comes back must be
// called when the message was read.
func (s *session) judge(m *incoming) (end func(), err error) {
	end = func() {}
	checks := s.srv.cfg.Checks
	if checks == nil {
		return end, nil
	}
	c := s.checked(m)
	if checks.NeedsContent(c.Submitted) {
		content, err := newSpool(s.srv.cfg.SpoolDir, s.spoolRoom(), m.writeContent)
		if err != nil {
			return end, err
		}
		end = content.close
		c.Open = content.open
		m.head = nil // it is in the spool
		if m.rest, err = content.open(); err != nil {
			return end, err
		}
	}
	ctx, cancel := context.WithTimeout(s.w.base, s.srv.cfg.Limits.Check)
	defer cancel()
	v, err := checks.Check(ctx, c)
	if err != nil {
		s.w.log.Warn("message not judged, it will be later", "msg", m.t.queueID, "err", err)
		s.srv.cfg.Metrics.Judged.WithLabelValues(s.srv.cfg.Mode.String(), "late").Inc()
		m.later, m.checks = true, "not judged in time"
		return end, nil
	}
	return end, s.obey(m, v)
}

func (s *session) spoolRoom() SpoolRoom {
	if s.srv.cfg.SpoolRoom == nil {
		return unbounded{}
	}
	return s.srv.cfg.SpoolRoom()
}

func (s *session) checked(m *incoming) *CheckedMessage {
	c := &CheckedMessage{QueueID: m.t.queueID, Client: s.w.remote, Helo: s.helo, From: m.t.from, Account: s.who.Account, Submitted: s.mayRelay()}
	for _, r := range m.t.recipients {
		c.Recipients = append(c.Recipients, r.address)
	}
	return c
}

// obey does what the verdict says; an error is the refusal.
func (s *session) obey(m *incoming, v Verdict) error {
	s.srv.cfg.Metrics.Judged.WithLabelValues(s.srv.cfg.Mode.String(), v.Action.word()).Inc()
	m.checks = v.said()
	if m.checks != "" {
		s.w.log.Info("message judged", "msg", m.t.queueID, "verdict", m.checks)
	}
	switch v.Action {
	case Reject:
		return reply(550, 5, 7, 1, oneLine(orText(v.Reply, "Refused by a rule of this site")))
	case Tempfail:
		return reply(451, 4, 7, 1, oneLine(orText(v.Reply, "Not accepted just now by a rule of this site, try again later")))
	case Hold:
		m.later, m.held = true, true
	}
	m.verdict = strings.Join(v.Headers, "")
	return nil
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
