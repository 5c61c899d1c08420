package state

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// queueRoute puts what became of an entry of the queue "in" into its place: mailboxes, entries of the other queues, or a hold.
func (b *batch) queueRoute(op *storepb.QueueRoute) (*storepb.Result, error) {
	if len(op.Targets)+len(op.Entries) > MaxTargets || len(op.Checks) > maxTextBytes || !validEntries(op.Entries) {
		return refuse(store.ErrInvalid, "no proper routing of a message"), nil
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	e, code, err := q.owned(op.Ref)
	switch {
	case err != nil:
		return nil, err
	case code != 0:
		return &storepb.Result{Code: code}, nil
	case store.Queue(e.Queue) != store.QueueIn || waitsForNotice(e) || e.Held:
		return refuse(store.ErrConflict, "the message is routed already, or held"), nil
	}
	res := &storepb.Result{}
	if op.Hold {
		err = q.change(e, func(e *storepb.QueueEntry) { e.Held, e.Reason = true, op.Checks })
	} else {
		err = q.route(e, op, res)
	}
	if err != nil {
		return nil, err
	}
	if err := q.traceRoute(e, op, res); err != nil {
		return nil, err
	}
	return res, q.finish()
}

func (q *queueChange) route(e *storepb.QueueEntry, op *storepb.QueueRoute, res *storepb.Result) error {
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	inherit := func(next *storepb.QueueEntry) *storepb.QueueEntry {
		next.Original, next.Orcpt, next.Notify, next.Judged = e.Address, e.Orcpt, e.Notify, true
		return next
	}
	for _, t := range op.Targets {
		p, err := q.b.placeQueued(m, t)
		if err != nil {
			return err
		}
		res.Placed = append(res.Placed, p)
		if p.Code != 0 { // it is full, or gone: the queue "local" finds out, and tells the sender
			next := inherit(&storepb.QueueEntry{Queue: uint32(store.QueueLocal), Address: e.Address, Account: t.Account, Mailbox: t.Mailbox})
			if err := q.add(m, next); err != nil {
				return err
			}
		}
	}
	for _, next := range op.Entries {
		if err := q.add(m, inherit(next)); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(res.Placed, func(p *storepb.PlacedMessage) bool { return p.Code == 0 }) {
		return q.end(e)
	}
	return q.delivered(m, e)
}

// delivered ends an entry whose message is in its mailbox, unless its sender wants to hear of that (RFC 3461 §4.1, NOTIFY=SUCCESS).
func (q *queueChange) delivered(m *storepb.QueueMessage, e *storepb.QueueEntry) error {
	if store.Notify(e.Notify)&store.NotifySuccess == 0 || m.EnvelopeFrom == "" {
		return q.end(e)
	}
	return q.change(e, func(e *storepb.QueueEntry) {
		e.Notice, e.DueUnixMs, e.LastUnixMs = uint32(store.NoticeDelivered), q.b.cmd.TimeUnixMs, q.b.cmd.TimeUnixMs
		e.Status, e.Code, e.Reason, e.Peer = "2.1.5", 250, "", ""
	})
}

// placeQueued puts a queued message into a mailbox.
func (b *batch) placeQueued(m *storepb.QueueMessage, t *storepb.Target) (*storepb.PlacedMessage, error) {
	p, err := b.place(t, m.Email, m.RawBytes)
	if err != nil || p.Code != 0 {
		return p, err
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	return p, b.reference(m.Email, 1, cr.TicksMs)
}

// queuePlace puts messages into the mailboxes that could not take them before.
func (b *batch) queuePlace(op *storepb.QueuePlace) (*storepb.Result, error) {
	if len(op.Refs) == 0 || len(op.Refs) > maxQueueRefs {
		return refuse(store.ErrInvalid, "a placing of no entry, or of over %d", maxQueueRefs), nil
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	codes := make([]uint32, len(op.Refs))
	for i, ref := range op.Refs {
		if codes[i], err = q.placeOne(ref, op.EnforceQuota, i); err != nil {
			return nil, err
		}
	}
	return q.answer(codes)
}

func (q *queueChange) placeOne(ref *storepb.QueueRef, enforce bool, sub int) (uint32, error) {
	e, code, err := q.owned(ref)
	if err != nil || code != 0 {
		return code, err
	}
	if store.Queue(e.Queue) != store.QueueLocal || e.Held || waitsForNotice(e) {
		return codeOf(store.ErrConflict), nil
	}
	a := &storepb.Account{}
	if found, err := load(q.b, key(tabAccount, e.Account), a); err != nil || found && a.Suspended {
		return codeOf(store.ErrUnavailable), err
	}
	m, err := q.message(e.Message)
	if err != nil {
		return 0, err
	}
	p, err := q.b.placeQueued(m, &storepb.Target{Account: e.Account, Mailbox: e.Mailbox, InternalDateUnix: q.b.cmd.TimeUnixMs / 1000, EnforceQuota: enforce})
	if err != nil || p.Code != 0 {
		return p.GetCode(), err
	}
	if err := q.trace(m.QueueId, sub, &storepb.TraceEvent{Kind: "delivered", Address: e.Address, Placed: []*storepb.PlacedMessage{p}}); err != nil {
		return 0, err
	}
	return 0, q.delivered(m, e)
}

// queueHandOver gives entries of a server that is gone, or goes, to others. It begins with those that had an attempt under way.
func (b *batch) queueHandOver(op *storepb.QueueHandOver) (*storepb.Result, error) {
	if !validServerID(op.From) || len(op.To) == 0 || len(op.To) > maxTargetVoters || op.Limit == 0 || op.Limit > maxQueueRefs {
		return refuse(store.ErrInvalid, "no proper hand-over"), nil
	}
	for _, id := range op.To {
		if !validServerID(id) || id == op.From {
			return refuse(store.ErrInvalid, "a hand-over to no other server"), nil
		}
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	refs, err := b.entriesOf(op.From, int(op.Limit), op.Idle)
	if err != nil {
		return nil, err
	}
	res := &storepb.Result{}
	for i, ref := range refs {
		e, err := q.entry(ref)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue // Check would say so
		}
		if err := q.handOver(e, op.To[i%len(op.To)], i); err != nil {
			return nil, err
		}
		res.Count++
	}
	return res, q.finish()
}

func (q *queueChange) handOver(e *storepb.QueueEntry, to string, sub int) error {
	if e.Attempting {
		m, err := q.message(e.Message)
		if err != nil {
			return err
		}
		if err := q.trace(m.QueueId, sub, &storepb.TraceEvent{Kind: "handed", Address: e.Address, Text: "an attempt was under way when its node was lost; how it ended is not known"}); err != nil {
			return err
		}
	}
	return q.change(e, func(e *storepb.QueueEntry) {
		if e.Attempting {
			e.DueUnixMs = q.b.cmd.TimeUnixMs
		}
		e.Owner, e.Attempting = to, false
		e.Epoch++
	})
}

// entriesOf lists entries of an owner, those with an attempt under way first.
func (b *batch) entriesOf(owner string, limit int, idle bool) ([]*storepb.QueueRef, error) {
	var refs []*storepb.QueueRef
	tables := []byte{tabAttempting, tabDue}
	if idle {
		tables = tables[1:]
	}
	for _, table := range tables {
		prefix := key(table, owner, []byte{0})
		keys, err := keysOf(b, prefix, after(prefix), limit-len(refs))
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			rest := bytes.TrimPrefix(k, prefix)
			rest = rest[len(rest)-12:]
			refs = append(refs, &storepb.QueueRef{Message: binary.BigEndian.Uint64(rest), Number: binary.BigEndian.Uint32(rest[8:])})
		}
		if len(refs) >= limit {
			break
		}
	}
	return refs, nil
}
