package smtpd

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
)

// Rcpt implements go-smtp's Session: RCPT.
func (s *session) Rcpt(name string, opts *gosmtp.RcptOptions) error {
	err := s.recipient(name, s.w.path, opts)
	s.srv.cfg.Metrics.Recipients.WithLabelValues(s.srv.cfg.Mode.String(), result(err)).Inc()
	if err != nil {
		s.w.log.Info("recipient refused", "msg", s.queueID(), "recipient", s.w.path, "err", err)
		return replyTo(err)
	}
	s.w.instead("250 2.1.5 Recipient ok")
	return nil
}

func (s *session) recipient(name string, path smtp.Address, opts *gosmtp.RcptOptions) error {
	t := s.mail
	if t == nil {
		return reply(503, 5, 5, 1, "MAIL comes first")
	}
	if len(t.recipients) >= s.w.counts.Recipients {
		return errNoMore
	}
	if rate := s.srv.cfg.AccountRate; rate != nil && s.authed && !rate.Room(s.account(), len(t.recipients)+1) {
		return errRate
	}
	if err := s.ready(); err != nil {
		return err
	}
	boxes, err := s.resolve(path, t.utf8)
	if err != nil {
		return err
	}
	if len(boxes) == 0 {
		return store.ErrNotFound
	}
	r := recipient{name: name, address: path, boxes: boxes, notify: notifyBits(opts.Notify), orcpt: originalRecipient(opts)}
	most := r
	most.full = s.grace() // it can turn out so when the message is here
	carried := most.carried()
	switch {
	case len(r.orcpt) > maxORCPTBytes || !utf8.ValidString(r.orcpt) || strings.ContainsFunc(r.orcpt, unicode.IsControl):
		return reply(501, 5, 5, 4, "ORCPT is too long, or no readable text") // it goes on, into notices and onto screens
	case r.count() > state.MaxTargets || carried > maxCarriedBytes:
		return errGroupSize
	case t.boxes+r.count() > state.MaxTargets || t.carried+carried > maxCarriedBytes:
		return errNoMore
	}
	if err := s.room(boxes, t.size); err != nil {
		if !errors.Is(err, store.ErrOverQuota) {
			return err
		}
		if !s.grace() {
			return err
		}
		r.full = true
	}
	t.boxes += r.count()
	t.carried += carried
	t.recipients = append(t.recipients, r)
	return nil
}

func (s *session) resolve(path smtp.Address, utf8 bool) ([]state.Recipient, error) {
	if err := s.plain(utf8); err != nil {
		return nil, err
	}
	ctx, cancel := s.lookup()
	defer cancel()
	switch {
	case path.IsNull():
		return nil, reply(501, 5, 1, 3, "A recipient is needed")
	case path.Domain == "":
		return s.srv.cfg.Resolver.Postmaster(ctx)
	}
	boxes, err := s.srv.cfg.Resolver.Resolve(ctx, path)
	switch {
	case errors.Is(err, ErrNotLocal) && s.mayRelay():
		boxes, err = []state.Recipient{{Address: path.Canonical(), Remote: true}}, nil
	case errors.Is(err, store.ErrTooLarge):
		return nil, errGroupSize
	}
	if err == nil && len(boxes) == 1 && boxes[0].Remote {
		err = s.elsewhere(ctx, boxes[0].Address)
	}
	return boxes, err
}

// mayRelay is whether this client's mail may go to other sites without an alias that says so.
func (s *session) mayRelay() bool { return s.authed || s.w.trusted }

// elsewhere asks whether mail may go to an address of another site. One of many behind an alias is not asked for: the others get the message, and
// the sender hears of that one from the queue.
func (s *session) elsewhere(ctx context.Context, address string) error {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return reply(550, 5, 1, 3, "The address that this one leads to cannot be read")
	}
	err = s.srv.cfg.Resolver.Elsewhere(ctx, a)
	switch {
	case err == nil, errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	}
	return reply(550, 5, 7, 1, oneLine(err.Error()))
}

// grace is whether mail for a full mailbox is taken, and waits.
func (s *session) grace() bool { return s.srv.cfg.QuotaGrace != nil && s.srv.cfg.QuotaGrace() > 0 }

// findFull looks at the quota again once the size of the message is known: SIZE need not be said, and need not be true.
func (s *session) findFull(m *incoming) {
	if !s.grace() {
		return // it binds when the message is placed, where that can be told
	}
	for i := range m.t.recipients {
		r := &m.t.recipients[i]
		r.full = r.full || errors.Is(s.room(r.boxes, int64(m.size)), store.ErrOverQuota)
	}
}

// room is nil when any of the recipient's accounts has room, else store.ErrOverQuota: a full member of a group does not stop the others' mail.
func (s *session) room(boxes []state.Recipient, size int64) error {
	ctx, cancel := s.lookup()
	defer cancel()
	var full error
	for _, b := range boxes {
		if b.Remote || b.Suspended {
			return nil // its mail waits elsewhere than in a mailbox
		}
		err := s.srv.cfg.Resolver.Room(ctx, b.Account, size)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrOverQuota):
			return err
		}
		full = err
	}
	return full
}
