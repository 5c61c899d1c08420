package state

import (
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// queueAttempt notes that attempts begin. Whoever dies then is known to have had them under way.
func (b *batch) queueAttempt(op *storepb.QueueAttempt) (*storepb.Result, error) {
	if len(op.Refs) == 0 || len(op.Refs) > maxQueueRefs {
		return refuse(store.ErrInvalid, "attempts of no entry, or of over %d", maxQueueRefs), nil
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	codes := make([]uint32, len(op.Refs))
	for i, ref := range op.Refs {
		e, code, err := q.owned(ref)
		if err != nil {
			return nil, err
		}
		if code == 0 && (e.Held || e.Attempting || waitsForNotice(e) || store.Queue(e.Queue) != store.QueueRemote) {
			code = codeOf(store.ErrConflict)
		}
		if codes[i] = code; code != 0 {
			continue
		}
		if err := q.change(e, func(e *storepb.QueueEntry) {
			e.Attempting = true
			e.Attempts++
			e.LastUnixMs = b.cmd.TimeUnixMs
		}); err != nil {
			return nil, err
		}
	}
	return q.answer(codes)
}

// waitsForNotice: the recipient is dealt with, and only the sender is to be told.
func waitsForNotice(e *storepb.QueueEntry) bool {
	n := store.Notice(e.Notice)
	return n != store.NoticeNone && n != store.NoticeDelayed
}

// queueOutcomes notes how attempts ended. That a message was delivered is true whoever says it, also one who lost the entry meanwhile.
func (b *batch) queueOutcomes(op *storepb.QueueOutcomes) (*storepb.Result, error) {
	if len(op.Outcomes) == 0 || len(op.Outcomes) > maxQueueRefs {
		return refuse(store.ErrInvalid, "outcomes of no entry, or of over %d", maxQueueRefs), nil
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	codes := make([]uint32, len(op.Outcomes))
	for i, o := range op.Outcomes {
		if codes[i], err = q.outcome(o, i); err != nil {
			return nil, err
		}
	}
	return q.answer(codes)
}

func (q *queueChange) outcome(o *storepb.QueueOutcome, sub int) (uint32, error) {
	if !validOutcome(o) {
		return codeOf(store.ErrInvalid), nil
	}
	e, code, err := q.owned(o.Ref)
	if err != nil {
		return 0, err
	}
	if store.AttemptResult(o.Result) == store.AttemptDelivered && e == nil {
		e, err = q.entry(o.Ref)
		if err != nil {
			return 0, err
		}
		if e != nil {
			code = 0
		}
	}
	if code != 0 {
		return code, nil
	}
	switch result := store.AttemptResult(o.Result); {
	case waitsForNotice(e) && result == store.AttemptDeferred: // its sender cannot be told now
		return 0, q.change(e, func(e *storepb.QueueEntry) { e.DueUnixMs = max(o.DueUnixMs, q.b.cmd.TimeUnixMs) })
	case waitsForNotice(e) && result != store.AttemptDelivered:
		return codeOf(store.ErrConflict), nil
	case result == store.AttemptDeferred && !e.Attempting && e.Reason == o.Reason && e.LastUnixMs != 0:
		// It waits on, for the reason that its trace tells already: a destination that rests for days would fill the trace.
	default:
		if err := q.traceOutcome(e, o, sub); err != nil {
			return 0, err
		}
	}
	return 0, q.settle(e, o)
}

// settle ends an entry, or has it wait: for its next attempt, or for a notice.
func (q *queueChange) settle(e *storepb.QueueEntry, o *storepb.QueueOutcome) error {
	deferred := store.AttemptResult(o.Result) == store.AttemptDeferred
	if !deferred && store.Notice(o.Notice) == store.NoticeNone {
		return q.end(e)
	}
	return q.change(e, func(e *storepb.QueueEntry) {
		if deferred && store.Queue(e.Queue) != store.QueueRemote {
			e.Attempts++ // a remote one's are counted when they begin
		}
		e.Attempting = false
		e.Code, e.Status, e.Reason, e.Peer, e.LastUnixMs = o.Code, o.Status, o.Reason, o.Peer, q.b.cmd.TimeUnixMs
		if o.Notice != 0 && !(store.Notice(o.Notice) == store.NoticeDelayed && e.Warned) {
			e.Notice, e.Postmaster = o.Notice, o.Postmaster
		}
		e.DueUnixMs = q.b.cmd.TimeUnixMs
		if deferred {
			e.DueUnixMs = max(o.DueUnixMs, q.b.cmd.TimeUnixMs)
		}
	})
}

func validOutcome(o *storepb.QueueOutcome) bool {
	return o.Result >= uint32(store.AttemptDelivered) && o.Result <= uint32(store.AttemptDiscarded) && o.Notice <= uint32(store.NoticeExpanded) &&
		(store.Notice(o.Notice) != store.NoticeDelayed || store.AttemptResult(o.Result) == store.AttemptDeferred) &&
		len(o.Status) <= 20 && len(o.Reason) <= maxReasonBytes && len(o.Peer) <= maxTextBytes && len(o.Tls) <= maxTextBytes && o.Code <= 999
}

// awaited tells whether any of the entries that a notice is about waits for it, and whether each that is moved can be: who was taken out
// meanwhile must not come back as another entry. A message that ends nothing is always right.
func (q *queueChange) awaited(ends []*storepb.QueueEnd) (bool, error) {
	any := len(ends) == 0
	for _, x := range ends {
		e, err := q.awaits(x)
		if err != nil || e == nil && x.Moved {
			return false, err
		}
		any = any || e != nil
	}
	return any, nil
}

// awaits is the entry, if it waits for the notice.
func (q *queueChange) awaits(x *storepb.QueueEnd) (*storepb.QueueEntry, error) {
	e, code, err := q.owned(x.Ref)
	if err == nil && code == 0 && e.Held {
		return nil, nil
	}
	if err == nil && code == 0 && x.Moved {
		if store.Queue(e.Queue) != store.QueueIn || waitsForNotice(e) {
			e = nil
		}
		return e, nil
	}
	if err != nil || code != 0 || e.Notice == 0 || x.Warned != (store.Notice(e.Notice) == store.NoticeDelayed) {
		return nil, err
	}
	return e, nil
}

// ends ends the entries that a notice is about, or notes that their delay was told.
func (q *queueChange) ends(notice string, ends []*storepb.QueueEnd) error {
	for i, x := range ends {
		e, err := q.awaits(x)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if x.Moved { // its trace goes on with the message that takes its place
			if err := q.end(e); err != nil {
				return err
			}
			continue
		}
		m, err := q.message(e.Message)
		if err != nil {
			return err
		}
		if err := q.trace(m.QueueId, i, &storepb.TraceEvent{Kind: "noticed", Address: e.Address, Related: notice}); err != nil {
			return err
		}
		if x.Warned {
			err = q.change(e, func(e *storepb.QueueEntry) { e.Warned, e.Notice = true, 0 })
		} else {
			err = q.end(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
