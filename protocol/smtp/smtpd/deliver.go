package smtpd

import (
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
	s.note(t, placed, err)
	if err != nil {
		return replyTo(err)
	}
	return reply(250, 2, 6, 0, placed.said(t.recipients...))
}

// LMTPData implements go-smtp's LMTPSession: Data with a reply for each recipient (RFC 2033 §4.2).
func (s *session) LMTPData(_ io.Reader, status gosmtp.StatusCollector) error {
	t := s.mail
	placed, err := s.receive(t)
	s.note(t, placed, err)
	if err != nil {
		return replyTo(err) // for every recipient
	}
	for _, rcpt := range t.recipients {
		answer := reply(250, 2, 6, 0, placed.said(rcpt))
		if err := placed.of(rcpt); err != nil {
			answer = replyTo(err)
		}
		status.SetStatus(rcpt.name, answer)
	}
	return nil
}

// note logs and counts what became of a message.
func (s *session) note(t *transaction, p *placement, err error) {
	s.srv.cfg.Metrics.Messages.WithLabelValues(s.srv.cfg.Mode.String(), result(err)).Inc()
	switch {
	case t == nil:
	case err != nil:
		s.w.log.Info("message not taken", "msg", t.queueID, "remote", s.w.remote, "err", err)
	case p.again:
		s.w.log.Info("message sent again", "msg", p.queueID, "remote", s.w.remote, "recipients", len(t.recipients))
	default:
		s.w.log.Info("message taken", "msg", t.queueID, "remote", s.w.remote, "recipients", len(t.recipients), "queued", len(p.queued))
	}
}

// receive reads the body and has it stored. Whatever happens, the connection is left where the next command begins, or closes.
func (s *session) receive(t *transaction) (*placement, error) {
	body := s.w.body()
	placed, err := s.accept(t, body)
	if err == nil {
		s.w.wellBehaved()
	}
	body.finish(s.w.counts.MessageBytes)
	if c, ok := body.(*chunks); ok && !c.last && err != nil && !errors.Is(err, errBody) && s.srv.cfg.Mode == LMTP {
		s.refuseChunk(replyTo(err))
	}
	return placed, err
}

// refuseChunk answers a chunk that is not the last, by which the message is refused already: it has one reply, where the library would give one for
// each recipient (RFC 2033 §4.2 has those for the end of a message).
func (s *session) refuseChunk(a *gosmtp.SMTPError) {
	s.w.mute(true)
	s.w.say(fmt.Sprintf("%d %d.%d.%d %s", a.Code, a.EnhancedCode[0], a.EnhancedCode[1], a.EnhancedCode[2], a.Message))
}

// accept stores the message that body holds for every recipient, in one command.
func (s *session) accept(t *transaction, body io.Reader) (*placement, error) {
	if err := s.srv.cfg.Store.Ready(); err != nil {
		return nil, err
	}
	if err := s.charge(t); err != nil {
		return nil, err
	}
	m, err := s.open(t, body)
	if err != nil {
		return nil, err
	}
	end, err := s.judge(m)
	defer end()
	if err != nil {
		return nil, err
	}
	// RFC 5321 §4.4: Return-Path is the first line.
	trace := s.trace(m)
	m.top = trace.returnPath() + m.verdict + trace.received() + m.top
	return s.store(m)
}

// store has the message kept, and proposes it.
func (s *session) store(m *incoming) (*placement, error) {
	up, err := s.srv.cfg.Store.NewBody()
	if err != nil {
		return nil, err
	}
	defer up.Abort() // does nothing after AddMessage
	summary := s.srv.cfg.NewSummarizer()
	if err := m.writeTo(io.MultiWriter(up, summary)); err != nil {
		return nil, err
	}
	sum, err := summary.Finish()
	if err != nil {
		return nil, fmt.Errorf("summarise the message: %w", err)
	}
	return s.place(m, up, sum)
}

// place proposes the message.
func (s *session) place(m *incoming, up Body, summary []byte) (*placement, error) {
	msg := &storepb.AddMessage{Summary: summary, QueueId: m.t.queueID, EnvelopeFrom: m.t.from.String(), Envelope: m.envelope(), ResendKey: m.resendKey(), Origin: s.origin(m)}
	p := &placement{queueID: m.t.queueID, later: m.later}
	if m.later {
		msg.Queued = m.t.unjudged(m.held, noted(m.checks))
	} else {
		s.findFull(m)
		sorted := s.sort(m)
		msg.Targets, msg.Queued = sorted.targets, sorted.queued
		p.sorter = *sorted
	}
	ctx, cancel := context.WithTimeout(s.w.base, s.srv.cfg.Limits.Accept)
	defer cancel()
	res, err := s.srv.cfg.Store.AddMessage(ctx, up, msg)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, store.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
		}
		return nil, err
	}
	p.placed = res.GetPlaced()
	if id := res.GetQueueId(); id != "" {
		p.queueID, p.again = id, true
	}
	return p, nil
}
