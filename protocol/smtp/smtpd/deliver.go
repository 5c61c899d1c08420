package smtpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Data implements go-smtp's Session: DATA, which also stands for BDAT. The body comes from the wire, not through the library. The error is the
// reply, also in the good case.
func (s *session) Data(_ io.Reader) error {
	t := s.mail
	placed, err := s.receive(t)
	if err == nil {
		err = placed.whole()
	}
	s.note(t, err)
	if err != nil {
		return replyTo(err)
	}
	return reply(250, 2, 6, 0, t.queueID+" delivered")
}

// LMTPData implements go-smtp's LMTPSession: Data with a reply for each recipient (RFC 2033 §4.2).
func (s *session) LMTPData(_ io.Reader, status gosmtp.StatusCollector) error {
	t := s.mail
	placed, err := s.receive(t)
	s.note(t, err)
	if err != nil {
		return replyTo(err) // for every recipient
	}
	for _, rcpt := range t.recipients {
		answer := reply(250, 2, 6, 0, t.queueID+" delivered")
		if err := placed.of(rcpt); err != nil {
			answer = replyTo(err)
		}
		status.SetStatus(rcpt.name, answer)
	}
	return nil
}

// note logs and counts what became of a message.
func (s *session) note(t *transaction, err error) {
	s.srv.cfg.Metrics.Messages.WithLabelValues(s.srv.cfg.Mode.String(), result(err)).Inc()
	switch {
	case t == nil:
	case err != nil:
		s.w.log.Info("message not taken", "msg", t.queueID, "remote", s.w.remote, "err", err)
	default:
		s.w.log.Info("message taken", "msg", t.queueID, "remote", s.w.remote, "recipients", len(t.recipients))
	}
}

// receive reads the body and has it stored. Whatever happens, the connection is left where the next command begins, or closes.
func (s *session) receive(t *transaction) (*placement, error) {
	body := s.w.body()
	placed, err := s.accept(t, body)
	body.finish(s.srv.cfg.Limits.MessageBytes)
	return placed, err
}

// accept stores the message that body holds for every recipient, in one command.
func (s *session) accept(t *transaction, body io.Reader) (*placement, error) {
	if err := s.srv.cfg.Store.Ready(); err != nil {
		return nil, err
	}
	up, err := s.srv.cfg.Store.NewBody()
	if err != nil {
		return nil, err
	}
	defer up.Abort() // does nothing after AddMessage
	summary := s.srv.cfg.NewSummarizer()
	err = s.copyMessage(t, io.MultiWriter(up, summary), body)
	if err != nil {
		return nil, err
	}
	sum, err := summary.Finish()
	if err != nil {
		return nil, fmt.Errorf("summarise the message: %w", err)
	}
	return s.place(t, up, sum)
}

// copyMessage writes our trace and the client's message.
func (s *session) copyMessage(t *transaction, w io.Writer, body io.Reader) error {
	cfg := s.srv.cfg
	// Strangers get no repairs: a message whose lines we read otherwise than the next server does is how mail is smuggled.
	sized := &sizeLimit{r: body, left: cfg.Limits.MessageBytes}
	r := bufio.NewReaderSize(newLineEnds(sized, cfg.Mode != MX), 16<<10)
	h, err := readHead(r, cfg.Limits.HeaderBytes)
	long := errors.Is(err, errHeaderSize)
	if err != nil && !(long && !cfg.Mode.submits()) {
		return err // an overlong header is the sender's affair, but that of a submission must be read whole
	}
	if h.count("received") > cfg.Limits.Hops {
		return errLoop
	}
	now := cfg.Now()
	top := s.trace(t, now).header()
	if cfg.Mode.submits() {
		added, err := s.submit(h, t, now)
		if err != nil {
			return err
		}
		top += added
	}
	if _, err := io.WriteString(w, top); err != nil {
		return err
	}
	if err := h.writeTo(w); err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}

// place proposes the message.
func (s *session) place(t *transaction, up Body, summary []byte) (*placement, error) {
	p, targets := s.targets(t)
	ctx, cancel := context.WithTimeout(s.w.base, s.srv.cfg.Limits.Accept)
	defer cancel()
	msg := &storepb.AddMessage{Summary: summary, Targets: targets, QueueId: t.queueID, EnvelopeFrom: t.from.String()}
	res, err := s.srv.cfg.Store.AddMessage(ctx, up, msg)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, store.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
		}
		return nil, err
	}
	p.placed = res.GetPlaced()
	return p, nil
}

// targets lists the accounts that get the message, each once, in the mailbox that the first of its addresses names.
func (s *session) targets(t *transaction) (*placement, []*storepb.Target) {
	p := &placement{index: map[store.AccountID]int{}}
	now := s.srv.cfg.Now()
	_, offset := now.Zone()
	var targets []*storepb.Target
	for _, rcpt := range t.recipients {
		for _, box := range rcpt.boxes {
			if _, ok := p.index[box.Account]; ok {
				continue
			}
			p.index[box.Account] = len(targets)
			targets = append(targets, &storepb.Target{Account: uint64(box.Account), Mailbox: uint64(box.Mailbox),
				InternalDateUnix: now.Unix(), InternalDateZone: int32(offset / 60)})
		}
	}
	// One reply must speak for all recipients unless this is LMTP, and none may miss the message after a 250. So the quota binds where a
	// refusal can be told; for several recipients it was looked at with each RCPT, and what arrives meanwhile goes over it by that much.
	for _, target := range targets {
		target.EnforceQuota = s.srv.cfg.Mode == LMTP || len(targets) == 1
	}
	return p, targets
}

// sizeLimit ends a body that is too large.
type sizeLimit struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (l *sizeLimit) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, store.ErrTooLarge
	}
	return n, err
}
