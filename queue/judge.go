package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// judge does for messages of the queue "in" what was not done when they were taken: the checks, unless somebody overruled them, and the
// routing.
func (m *Manager) judge(ctx, writing context.Context, items []*item) error {
	msg, err := m.message(items[0].entry.Message)
	if err != nil {
		return err
	}
	verdict := Verdict{}
	if !items[0].entry.Judged && m.cfg.Judge != nil {
		var entries []*storepb.QueueEntry
		for _, it := range items {
			entries = append(entries, it.entry)
		}
		if verdict, err = m.cfg.Judge.Judge(ctx, msg, entries); err != nil {
			m.cfg.Logger.Warn("a message cannot be checked yet", "msg", msg.QueueId, "err", err)
			verdict = Verdict{Tempfail: true, Reason: "the checks could not be made: " + err.Error()}
		}
	}
	switch {
	case verdict.Reject:
		return m.writeAll(writing, m.decideAll(items, func(*item) Outcome {
			return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.7.1", Reason: verdict.Reason}
		}))
	case verdict.Tempfail:
		return m.putBack(writing, items, verdict.Reason)
	case len(verdict.Headers) > 0 && !verdict.Hold:
		return m.rewrite(ctx, msg, items, verdict)
	}
	var failed error
	for _, it := range items {
		if err := m.route(ctx, writing, it, verdict); err != nil {
			failed = err // the others need not wait for it
		}
	}
	return failed
}

func (m *Manager) putBack(writing context.Context, items []*item, reason string) error {
	return m.writeAll(writing, m.decideAll(items, func(*item) Outcome {
		return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: reason}
	}))
}

// route finds out where a recipient of the queue "in" goes.
func (m *Manager) route(ctx, writing context.Context, it *item, v Verdict) error {
	op := &storepb.QueueRoute{Ref: refOf(it.entry), Checks: clip(v.Reason, 900), Hold: v.Hold}
	if !v.Hold {
		targets, entries, err := m.destinations(ctx, it.entry.Address)
		switch {
		case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid):
			return m.writeAll(writing, m.decideAll([]*item{it}, func(*item) Outcome {
				return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.1.1", Reason: "there is no such address here"}
			}))
		case err != nil:
			return m.putBack(writing, []*item{it}, "the address cannot be looked up: "+err.Error())
		}
		for _, t := range targets {
			t.EnforceQuota = true // what has no room waits in the queue "local"
		}
		op.Targets, op.Entries = targets, entries
	}
	_, err := m.cfg.Store.Propose(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_QueueRoute{QueueRoute: op} })
	if err != nil {
		return fmt.Errorf("route a message: %w", err)
	}
	return nil
}

// destinations are the mailboxes and queue entries that an address stands for.
func (m *Manager) destinations(ctx context.Context, address string) ([]*storepb.Target, []*storepb.QueueEntry, error) {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return nil, nil, fmt.Errorf("read the address: %w: %w", store.ErrInvalid, err)
	}
	boxes, local, err := m.cfg.Resolver.Resolve(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	if !local {
		return nil, []*storepb.QueueEntry{{Queue: uint32(store.QueueRemote), Address: address}}, nil
	}
	if len(boxes) == 0 {
		return nil, nil, fmt.Errorf("the address leads to nobody: %w", store.ErrNotFound)
	}
	targets, entries := m.split(boxes)
	for _, e := range entries {
		if named := a.Canonical(); e.Address != named {
			e.Original = named // so that what comes back by it is seen to go round
		}
	}
	return targets, entries, nil
}

// split sorts recipients into those that are served at once and those that wait.
func (m *Manager) split(boxes []state.Recipient) (targets []*storepb.Target, entries []*storepb.QueueEntry) {
	now := m.cfg.Now()
	_, offset := now.Zone()
	for _, b := range boxes {
		switch {
		case b.Remote:
			entries = append(entries, &storepb.QueueEntry{Queue: uint32(store.QueueRemote), Address: b.Address})
		case b.Suspended:
			entries = append(entries, &storepb.QueueEntry{Queue: uint32(store.QueueLocal), Address: b.Address, Account: uint64(b.Account), Mailbox: uint64(b.Mailbox)})
		default:
			targets = append(targets, &storepb.Target{Account: uint64(b.Account), Mailbox: uint64(b.Mailbox), InternalDateUnix: now.Unix(),
				InternalDateZone: int32(offset / 60)})
		}
	}
	return targets, entries
}
