package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// notify tells a sender of what became of recipients of one message, each kind of news in a message of its own.
func (m *Manager) notify(ctx, writing context.Context, items []*item) error {
	msg, err := m.message(items[0].entry.Message)
	if err != nil {
		return err
	}
	type kind struct {
		notice     store.Notice
		postmaster bool
	}
	byKind := map[kind][]*item{}
	for _, it := range items {
		k := kind{store.Notice(it.entry.Notice), it.entry.Postmaster}
		byKind[k] = append(byKind[k], it)
	}
	var failed error
	for k, list := range byKind {
		n := Notice{Kind: k.notice, Postmaster: k.postmaster, To: msg.EnvelopeFrom, Message: msg, Recipients: entriesOf(list), Now: m.cfg.Now()}
		if err := m.tell(ctx, n); err != nil && !errors.Is(err, store.ErrConflict) {
			failed = errors.Join(err, m.tellLater(writing, list, err))
		}
	}
	return failed
}

func entriesOf(items []*item) (entries []*storepb.QueueEntry) {
	for _, it := range items {
		entries = append(entries, it.entry)
	}
	return entries
}

// noticeAgain is how long it takes until what could not be told is tried again, if there is no reason to hope that it passes in a second: half as
// long as it has waited already. What nobody can be told of for days is a matter for people, who see it in the queue.
func noticeAgain(waited time.Duration) time.Duration {
	return min(max(waited/2, 5*time.Minute), 4*time.Hour)
}

// errNobody: there is no postmaster who could be told what a sender cannot.
var errNobody = fmt.Errorf("find a postmaster: there is none: %w", store.ErrNotFound)

// Untold says whether there was something in the last hours that nobody could be told of.
func (m *Manager) Untold() bool {
	return m.cfg.Now().Sub(time.UnixMilli(m.untold.Load())) < 5*time.Hour // it is tried again before
}

// tellLater puts a notice off. A warning that a message is late waits for the next attempt anyhow.
func (m *Manager) tellLater(writing context.Context, items []*item, why error) error {
	if passing(why) || store.Notice(items[0].entry.Notice) == store.NoticeDelayed {
		return nil
	}
	now := m.cfg.Now()
	var out []*storepb.QueueOutcome
	for _, it := range items {
		again := noticeAgain(now.Sub(time.UnixMilli(max(it.entry.LastUnixMs, it.entry.SinceUnixMs))))
		out = append(out, &storepb.QueueOutcome{Ref: refOf(it.entry), Result: uint32(store.AttemptDeferred), DueUnixMs: now.Add(again).UnixMilli()})
	}
	if errors.Is(why, errNobody) {
		m.untold.Store(now.UnixMilli())
		m.cfg.Logger.Warn("nobody can be told that mail was not delivered", "count", len(items), "err", why)
	}
	_, err := m.outcomes.write(writing, out)
	return err
}

// tell sends one notice, which ends the entries that it is about in the same step.
func (m *Manager) tell(ctx context.Context, n Notice) error {
	op := &storepb.AddMessage{QueueId: smtp.NewQueueID(n.Now), Origin: &storepb.Origin{Listener: "notice"}}
	if err := m.address(ctx, &n, op); err != nil {
		return err
	}
	if n.Message.GetEnvelope().GetRequireTls() {
		op.Envelope = &storepb.Envelope{RequireTls: true} // RFC 8689 §5
	}
	n.ID = op.QueueId
	n.RetryUntil = n.Now.Add(m.cfg.Policy().filled().MaxAge - m.now().age(n.Recipients[0]))
	for _, e := range n.Recipients {
		op.Ends = append(op.Ends, &storepb.QueueEnd{Ref: refOf(e), Warned: n.Kind == store.NoticeDelayed})
	}
	op.Origin.Recipients = []string{n.To}
	_, err := m.cfg.Store.AddMessage(ctx, op, func(w io.Writer) error {
		if _, err := io.WriteString(w, "Return-Path: <>\r\n"); err != nil {
			return err
		}
		return m.cfg.Notices.Write(ctx, w, n)
	})
	if err != nil {
		return fmt.Errorf("tell the sender of %s: %w", n.Message.QueueId, err)
	}
	m.cfg.Metrics.Notices.WithLabelValues(noticeName(n.Kind)).Inc()
	m.cfg.Logger.Info("a sender is told", "msg", n.Message.QueueId, "kind", noticeName(n.Kind), "notice", op.QueueId, "recipients", len(n.Recipients))
	return nil
}

func noticeName(n store.Notice) string {
	switch n {
	case store.NoticeFailed:
		return "failed"
	case store.NoticeDelayed:
		return "delayed"
	case store.NoticeDelivered:
		return "delivered"
	case store.NoticeRelayed:
		return "relayed"
	}
	return "expanded"
}

// address finds who gets a notice. What its sender's own site does not know goes to a postmaster, if it is bad news.
func (m *Manager) address(ctx context.Context, n *Notice, op *storepb.AddMessage) error {
	if !n.Postmaster {
		targets, entries, err := m.destinations(ctx, n.To)
		switch {
		case err == nil:
			op.Targets, op.Queued = targets, entries
			return nil
		case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrInvalid):
			return fmt.Errorf("find the sender %s: %w", n.To, err)
		}
		n.Postmaster = true
	}
	boxes, err := m.cfg.Resolver.Postmaster(ctx)
	if err != nil {
		return fmt.Errorf("find a postmaster: %w", err)
	}
	if len(boxes) == 0 {
		return errNobody
	}
	m.untold.Store(0)
	op.Targets, op.Queued = m.split(boxes)
	for _, e := range op.Queued {
		e.Notify = uint32(store.NotifyNever) // or a postmaster who cannot be reached would be told of that, and of that
	}
	n.To = boxes[0].Address
	return nil
}
