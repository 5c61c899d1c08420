package state

import (
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// queueAdmin does what an administrator wants with entries, whoever owns them. The new epoch keeps what is under way from undoing it.
func (b *batch) queueAdmin(op *storepb.QueueAdmin) (*storepb.Result, error) {
	if len(op.Refs) == 0 || len(op.Refs) > maxQueueRefs || !validText(op.Who, maxTextBytes) || !validText(op.Reason, maxTextBytes) {
		return refuse(store.ErrInvalid, "an action on no entry, or on over %d", maxQueueRefs), nil
	}
	act := adminActions[store.QueueAction(op.Action)]
	if act.do == nil {
		return refuse(store.ErrInvalid, "an unknown action on queue entries"), nil
	}
	if !validServerID(b.cmd.Server) {
		return refuse(store.ErrInvalid, "an action on entries by no server"), nil
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	codes := make([]uint32, len(op.Refs))
	for i, ref := range op.Refs {
		e, err := q.entry(ref)
		if err != nil {
			return nil, err
		}
		if e == nil {
			codes[i] = codeOf(store.ErrNotFound)
			continue
		}
		if err := q.admin(e, op, act, i); err != nil {
			return nil, err
		}
	}
	return q.answer(codes)
}

// adminAction is one of them: its name in the trace, and what it makes of an entry.
type adminAction struct {
	kind string
	do   func(b *batch, op *storepb.QueueAdmin, e *storepb.QueueEntry)
}

var adminActions = map[store.QueueAction]adminAction{
	store.ActionRetry: {"retried", func(b *batch, _ *storepb.QueueAdmin, e *storepb.QueueEntry) { e.DueUnixMs = b.cmd.TimeUnixMs }},
	store.ActionHold: {"held", func(_ *batch, op *storepb.QueueAdmin, e *storepb.QueueEntry) {
		if e.Held = true; !waitsForNotice(e) { // why it failed is still to be told
			e.Reason = op.Reason
		}
	}},
	store.ActionRelease: {"released", func(b *batch, _ *storepb.QueueAdmin, e *storepb.QueueEntry) {
		// It may have been held for so long that its owner is gone.
		if e.Held, e.Judged, e.DueUnixMs = false, true, b.cmd.TimeUnixMs; !waitsForNotice(e) {
			e.Reason = ""
		}
		if e.Owner != b.cmd.Server && !e.Attempting {
			e.Owner = b.cmd.Server
			e.Epoch++
		}
	}},
	store.ActionBounce: {"bounced", func(b *batch, op *storepb.QueueAdmin, e *storepb.QueueEntry) {
		e.Held, e.Notice, e.DueUnixMs, e.LastUnixMs = false, uint32(store.NoticeFailed), b.cmd.TimeUnixMs, b.cmd.TimeUnixMs
		e.Code, e.Status, e.Peer, e.Reason = 554, "5.7.0", "", "returned by the administrator"
		if op.Reason != "" {
			e.Reason += ": " + op.Reason
		}
		// A failure that is reported by an attempt under way comes too late; a delivery does not.
		e.Owner, e.Attempting = b.cmd.Server, false
		e.Epoch++
	}},
	store.ActionDelete: {"deleted", func(*batch, *storepb.QueueAdmin, *storepb.QueueEntry) {}},
}

func (q *queueChange) admin(e *storepb.QueueEntry, op *storepb.QueueAdmin, act adminAction, sub int) error {
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	event := &storepb.TraceEvent{Kind: act.kind, Address: e.Address, Text: op.Reason}
	if op.Who != "" {
		event.Text = strings.TrimSuffix(op.Who+": "+op.Reason, ": ")
	}
	if err := q.trace(m.QueueId, sub, event); err != nil {
		return err
	}
	switch store.QueueAction(op.Action) {
	case store.ActionDelete:
		return q.end(e)
	case store.ActionBounce: // RFC 3461 §4.1: who asked for no notice of failures gets none
		if asked := store.Notify(e.Notify); asked != 0 && asked&store.NotifyFailure == 0 {
			return q.end(e)
		}
	}
	return q.change(e, func(e *storepb.QueueEntry) { act.do(q.b, op, e) })
}
