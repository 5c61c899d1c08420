package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Traces tell what became of a message. They stand under the day of replicated time in which things happened, and go as a whole day; so do
// the terms by which a message is found: its addresses and its Message-ID, as hashes.

const dayMs = 24 * hourMs

// trace notes an event of a message. sub tells apart the events of one command of one message and kind of place; it only orders them.
func (q *queueChange) trace(queueID string, sub int, e *storepb.TraceEvent) error {
	e.UnixMs, e.Server = q.b.cmd.TimeUnixMs, q.b.cmd.Server
	return q.b.save(traceKey(day(q.cr), queueID, q.b.pos.Index, uint32(sub)), e)
}

func day(cr *storepb.ClusterRecord) uint32 { return uint32(cr.TicksMs / dayMs) }

func traceKey(day uint32, queueID string, index uint64, sub uint32) []byte {
	return key(tabTrace, day, queueID, []byte{0}, index, sub)
}

// term is what an address or a Message-ID is found by.
func term(s string) uint64 {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Trim(s, "<> "))))
	return binary.BigEndian.Uint64(sum[:])
}

func (q *queueChange) index(queueID string, words ...string) error {
	slices.Sort(words)
	for _, w := range slices.Compact(words) {
		if w == "" {
			continue
		}
		if err := q.b.Set(key(tabTraceTerm, day(q.cr), term(w), queueID), nil); err != nil {
			return err
		}
	}
	return nil
}

// traceAccepted begins a message's trace.
func (q *queueChange) traceAccepted(op *storepb.AddMessage, placed []*storepb.PlacedMessage, queued []*storepb.QueueEntry) error {
	if op.Origin == nil {
		return nil // APPEND, or a program of the time before traces
	}
	e := &storepb.TraceEvent{Kind: "accepted", Origin: op.Origin, EnvelopeFrom: op.EnvelopeFrom, RawBytes: op.Body.RawBytes, Placed: placed}
	words := append([]string{op.Origin.MessageId, op.EnvelopeFrom}, op.Origin.Recipients...)
	for _, x := range queued {
		e.Queued = append(e.Queued, store.Queue(x.Queue).String()+": "+x.Address)
		words = append(words, x.Address)
	}
	if err := q.index(op.QueueId, words...); err != nil {
		return err
	}
	return q.trace(op.QueueId, 0, e)
}

var outcomeKinds = map[store.AttemptResult]string{store.AttemptDelivered: "delivered", store.AttemptDeferred: "deferred", store.AttemptFailed: "failed", store.AttemptDiscarded: "discarded"}

func (q *queueChange) traceOutcome(e *storepb.QueueEntry, o *storepb.QueueOutcome, sub int) error {
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	text := o.Reason
	if o.Tls != "" {
		text = fmt.Sprintf("%s (%s)", text, o.Tls)
	}
	return q.trace(m.QueueId, sub, &storepb.TraceEvent{Kind: outcomeKinds[store.AttemptResult(o.Result)], Address: e.Address, Peer: o.Peer, Code: o.Code, Text: text, Attempt: e.Attempts})
}

func (q *queueChange) traceRoute(e *storepb.QueueEntry, op *storepb.QueueRoute, res *storepb.Result) error {
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	event := &storepb.TraceEvent{Kind: "routed", Address: e.Address, Text: op.Checks, Placed: res.Placed}
	if op.Hold {
		event.Kind = "held"
	}
	for _, x := range op.Entries {
		event.Queued = append(event.Queued, store.Queue(x.Queue).String()+": "+x.Address)
		if err := q.index(m.QueueId, x.Address); err != nil {
			return err
		}
	}
	return q.trace(m.QueueId, 0, event)
}

// forgetTraces drops the days that are over the time for which traces are kept, when a day of replicated time has begun.
func (b *batch) forgetTraces(before, now uint64) error {
	if before/dayMs == now/dayMs {
		return nil
	}
	l, err := b.limits()
	if err != nil {
		return err
	}
	today := now / dayMs
	if today <= l.traceDays {
		return nil
	}
	first := uint32(today - l.traceDays)
	for _, table := range []byte{tabTrace, tabTraceTerm} {
		if err := b.DeleteRange(key(table), key(table, first)); err != nil {
			return err
		}
	}
	return nil
}

// TraceOf calls f for the events of a message, in order, until f answers false.
func (v *View) TraceOf(queueID string, f func(*storepb.TraceEvent) bool) error {
	return v.eachDay(tabTrace, func(day uint32) (more bool, err error) {
		more = true
		err = each(v, key(tabTrace, day, queueID, []byte{0}), func(_, raw []byte) (bool, error) {
			e := &storepb.TraceEvent{}
			if err := unmarshal(raw, e); err != nil {
				return false, err
			}
			more = f(e)
			return more, nil
		})
		return more, err
	})
}

// TracesAbout lists queue ids of messages that an address or a Message-ID has to do with, the oldest first, at most limit of the newest.
func (v *View) TracesAbout(what string, limit int) ([]string, error) {
	var ids []string
	err := v.eachDay(tabTraceTerm, func(day uint32) (bool, error) {
		err := each(v, key(tabTraceTerm, day, term(what)), func(rest, _ []byte) (bool, error) {
			if id := string(rest); !slices.Contains(ids[max(0, len(ids)-limit):], id) {
				ids = append(ids, id)
			}
			return true, nil
		})
		ids = ids[max(0, len(ids)-limit):]
		return true, err
	})
	return ids, err
}

// eachDay calls f for each day of which a table has something.
func (v *View) eachDay(table byte, f func(day uint32) (bool, error)) error {
	prefix := key(table)
	for from := prefix; ; {
		first, err := keysOf(v, from, after(prefix), 1)
		if err != nil || len(first) == 0 {
			return err
		}
		d := binary.BigEndian.Uint32(first[0][len(prefix):])
		if more, err := f(d); err != nil || !more || d == 1<<32-1 {
			return err
		}
		from = key(table, d+1)
	}
}
