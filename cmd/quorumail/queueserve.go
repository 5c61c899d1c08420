package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// maxQueuePage bounds the entries of one answer.
	maxQueuePage = 1000
	// maxQueueAct bounds the entries of one command: all others wait while it is applied.
	maxQueueAct = 500
)

// scanned runs f on a scan of the state as the cluster has it now.
func (o *office) scanned(ctx context.Context, filter admin.QueueFilter, f func(*queueScan, names) error) error {
	return o.read(ctx, func(v *state.View) error {
		servers, err := serverNames(v)
		if err != nil {
			return err
		}
		s, err := newQueueScan(v, filter, servers, o.now())
		if err != nil {
			return err
		}
		return f(s, servers)
	})
}

// listQueue is a piece of the list of entries.
func (o *office) listQueue(ctx context.Context, r admin.QueueListRequest) (admin.QueueList, error) {
	out := admin.QueueList{Entries: []admin.QueueEntry{}}
	limit := r.Limit
	if limit <= 0 || limit > maxQueuePage {
		limit = maxQueuePage
	}
	err := o.scanned(ctx, r.Filter, func(s *queueScan, servers names) (err error) {
		if out.Queues, err = queueCounts(s.v); err != nil {
			return err
		}
		out.Next, err = s.each(r.From, maxQueueScan, func(e *storepb.QueueEntry, m *storepb.QueueMessage) (bool, error) {
			shown, err := queueEntry(s.v, e, m, servers)
			out.Entries = append(out.Entries, shown)
			return len(out.Entries) < limit, err
		})
		return err
	})
	return out, err
}

// queueCounts are the figures of all queues.
func queueCounts(v *state.View) (admin.QueueCounts, error) {
	cr, err := v.Cluster()
	if err != nil {
		return admin.QueueCounts{}, fmt.Errorf("read the cluster's record: %w", err)
	}
	q := cr.GetQueue()
	return admin.QueueCounts{In: q.GetIn(), Local: q.GetLocal(), Remote: q.GetRemote(), Held: q.GetHeld()}, nil
}

var noticeNames = map[store.Notice]string{store.NoticeFailed: "failed", store.NoticeDelayed: "delayed", store.NoticeDelivered: "delivered", store.NoticeRelayed: "relayed", store.NoticeExpanded: "expanded"}

func queueEntry(v *state.View, e *storepb.QueueEntry, m *storepb.QueueMessage, servers names) (admin.QueueEntry, error) {
	account, err := addressOf(v, e.Account)
	return admin.QueueEntry{QueueID: m.QueueId, Message: e.Message, Number: e.Number, Queue: store.Queue(e.Queue).String(), Sender: m.EnvelopeFrom, Recipient: e.Address,
		Original: e.Original, Bytes: m.RawBytes, Since: moment(e.SinceUnixMs), Attempts: e.Attempts, Trying: e.Attempting, Held: e.Held, Notice: noticeNames[store.Notice(e.Notice)],
		Warned: e.Warned, Next: moment(e.DueUnixMs), Owner: servers.of(e.Owner), OwnerID: e.Owner, Last: moment(e.LastUnixMs), Code: e.Code, Status: e.Status, Reason: e.Reason,
		Peer: e.Peer, Account: account}, err
}

// countQueue is a piece of the count of what an action would be about.
func (o *office) countQueue(ctx context.Context, r admin.QueueCountRequest) (out admin.QueueCount, err error) {
	err = o.scanned(ctx, r.Filter, func(s *queueScan, _ names) (err error) {
		out.Next, err = s.each(r.From, maxQueueScan, func(e *storepb.QueueEntry, _ *storepb.QueueMessage) (bool, error) {
			out.Entries++
			if out.First == 0 {
				out.First = e.Message
			}
			if out.Last != e.Message {
				out.Last = e.Message
				out.Messages++
			}
			return true, nil
		})
		return err
	})
	return out, err
}

// showQueue is all that is known of a queue id. store.ErrNotFound.
func (o *office) showQueue(ctx context.Context, r admin.QueueShowRequest) (out admin.QueueShow, err error) {
	out.Messages = []admin.QueueMessage{}
	err = o.scanned(ctx, admin.QueueFilter{IDs: []string{r.ID}}, func(s *queueScan, servers names) error {
		for _, id := range s.messages {
			m, err := queueMessage(s.v, id, servers)
			if err != nil {
				return err
			}
			out.Messages = append(out.Messages, m)
		}
		t, err := traceOf(s.v, r.ID, 0, servers)
		if err != nil {
			return err
		}
		if len(t.Events) > 0 {
			out.Trace = &t
		}
		if out.Trace == nil && len(out.Messages) == 0 {
			return fmt.Errorf("nothing is known of the queue id %q; \"quorumail queue list\" shows what waits, and \"quorumail trace\" finds messages by their addresses, too: %w", r.ID, store.ErrNotFound)
		}
		return nil
	})
	return out, err
}

// queueMessage is a message with its entries.
func queueMessage(v *state.View, id uint64, servers names) (admin.QueueMessage, error) {
	m, err := v.QueueMessage(id)
	if err != nil {
		return admin.QueueMessage{}, fmt.Errorf("read queued message %d: %w", id, err)
	}
	account, err := addressOf(v, m.Account)
	if err != nil {
		return admin.QueueMessage{}, err
	}
	env := m.GetEnvelope()
	out := admin.QueueMessage{QueueID: m.QueueId, MessageID: m.MessageId, Sender: m.EnvelopeFrom, Received: moment(m.ReceivedUnixMs), Bytes: m.RawBytes, Account: account,
		Client: m.Client, Helo: m.Helo, Ret: env.GetRet(), EnvID: env.GetEnvid(), UTF8: env.GetUtf8(), RequireTLS: env.GetRequireTls(), EightBit: env.GetEightBit(),
		Binary: env.GetBinary(), Entries: []admin.QueueEntry{}}
	var failed error
	err = v.QueueEntries(id, 0, func(e *storepb.QueueEntry) bool {
		if e.Message != id {
			return false
		}
		var shown admin.QueueEntry
		shown, failed = queueEntry(v, e, m, servers)
		out.Entries = append(out.Entries, shown)
		return failed == nil
	})
	return out, errors.Join(err, failed)
}

// queueAction is what an administrator does with entries, and for which of them it makes sense.
type queueAction struct {
	action store.QueueAction
	fits   func(*storepb.QueueEntry) bool
}

var queueActions = map[string]queueAction{
	"retry":   {store.ActionRetry, func(e *storepb.QueueEntry) bool { return !e.Held && !e.Attempting }},
	"hold":    {store.ActionHold, func(e *storepb.QueueEntry) bool { return !e.Held }},
	"release": {store.ActionRelease, func(e *storepb.QueueEntry) bool { return e.Held }},
	"bounce":  {store.ActionBounce, func(e *storepb.QueueEntry) bool { return !onlyNotice(e) }}, // what was delivered must not be reported as failed
	"delete":  {store.ActionDelete, func(*storepb.QueueEntry) bool { return true }},
}

// onlyNotice: the recipient is dealt with, and only the sender is to be told.
func onlyNotice(e *storepb.QueueEntry) bool {
	n := store.Notice(e.Notice)
	return n != store.NoticeNone && n != store.NoticeDelayed
}

// actOnQueue does a piece of an action, as one command.
func (o *office) actOnQueue(ctx context.Context, r admin.QueueActRequest) (out admin.QueueActed, err error) {
	act, ok := queueActions[r.Action]
	if !ok {
		return out, fmt.Errorf("%q is nothing that can be done with queue entries: %w", r.Action, store.ErrInvalid)
	}
	var refs []*storepb.QueueRef
	err = o.scanned(ctx, r.Filter, func(s *queueScan, _ names) (err error) {
		out.Next, err = s.each(r.From, maxQueueScan, func(e *storepb.QueueEntry, _ *storepb.QueueMessage) (bool, error) {
			switch {
			case r.UpTo != 0 && e.Message > r.UpTo:
				return false, nil
			case act.fits(e):
				refs = append(refs, &storepb.QueueRef{Message: e.Message, Number: e.Number, Epoch: e.Epoch})
			default:
				out.Skipped++
			}
			return len(refs) < maxQueueAct, nil
		})
		if out.Next != nil && r.UpTo != 0 && out.Next.Message > r.UpTo {
			out.Next = nil
		}
		return err
	})
	if err != nil || len(refs) == 0 {
		return out, err
	}
	return out, o.proposeAction(ctx, r, act.action, refs, &out)
}

func (o *office) proposeAction(ctx context.Context, r admin.QueueActRequest, action store.QueueAction, refs []*storepb.QueueRef, out *admin.QueueActed) error {
	res, err := o.store.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_QueueAdmin{QueueAdmin: &storepb.QueueAdmin{Refs: refs, Action: uint32(action), Who: r.Who, Reason: r.Reason}}
	})
	if err != nil {
		return fmt.Errorf("%s %d entries: %w", r.Action, len(refs), err)
	}
	for _, code := range res.Codes {
		if err := state.CodeError(code); errors.Is(err, store.ErrNotFound) {
			out.Gone++
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", r.Action, err)
		}
		out.Done++
	}
	return nil
}
