package state

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// The queues: a QueueMessage for each message that waits, which counts as one that shows its email, and a QueueEntry for each recipient that
// it waits for. Each entry has an owner, the only server that works on it; a hand-over gives it another owner and a new epoch, by which
// what the former owner says later is told apart.

// newQueued puts a message into the queues for those who are not served at once.
func (q *queueChange) newQueued(op *storepb.AddMessage, email uint64, entries []*storepb.QueueEntry) error {
	b, cr := q.b, q.cr
	cr.NextQueued++
	m := &storepb.QueueMessage{Id: cr.NextQueued, QueueId: op.QueueId, Email: email, EnvelopeFrom: op.EnvelopeFrom, Envelope: op.Envelope,
		MessageId: op.GetOrigin().GetMessageId(), ReceivedUnixMs: b.cmd.TimeUnixMs, ReceivedTick: cr.TicksMs, RawBytes: op.Body.RawBytes,
		Account: op.GetOrigin().GetAccount(), Client: op.GetOrigin().GetClient(), Helo: op.GetOrigin().GetHelo()}
	if len(op.Ends) > 0 && op.Ends[0].Moved { // it is that message, with what the checks added: it has waited as long
		before, err := q.message(op.Ends[0].GetRef().GetMessage())
		if err != nil {
			return err
		}
		m.ReceivedUnixMs, m.ReceivedTick = before.ReceivedUnixMs, before.ReceivedTick
	}
	if err := b.Set(queueIDKey(m.QueueId, m.Id), nil); err != nil {
		return err
	}
	for _, e := range entries {
		if err := b.addEntry(cr, m, e); err != nil {
			return err
		}
	}
	return b.save(key(tabQueued, m.Id), m)
}

// addEntry gives a message one more recipient to wait for. The caller saves cr and m.
func (b *batch) addEntry(cr *storepb.ClusterRecord, m *storepb.QueueMessage, given *storepb.QueueEntry) error {
	e := proto.CloneOf(given)
	m.LastNumber++
	m.Open++
	e.Message, e.Number, e.Owner, e.Epoch = m.Id, m.LastNumber, b.cmd.Server, 1
	e.SinceTick, e.SinceUnixMs = m.ReceivedTick, m.ReceivedUnixMs
	e.DueUnixMs = max(e.DueUnixMs, b.cmd.TimeUnixMs)
	e.Attempts, e.Attempting = 0, false
	return b.putEntry(cr, m, nil, e)
}

// putEntry replaces an entry, nil for none, by another, nil for none, with all that follows from it. m is its message; it may be nil where the
// new entry has no place in its owner's order of work.
func (b *batch) putEntry(cr *storepb.ClusterRecord, m *storepb.QueueMessage, old, e *storepb.QueueEntry) error {
	if old != nil {
		countEntry(cr, old, -1)
		if k := placeOf(old); k != nil {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
	}
	if e == nil {
		return b.Delete(entryOf(old.Message, old.Number))
	}
	countEntry(cr, e, 1)
	if k := placeOf(e); k != nil {
		if err := b.Set(k, noteOf(m, e)); err != nil {
			return err
		}
		if e.Owner == string(b.m.cfg.Self) && !e.Attempting {
			b.applied.Queued = append(b.applied.Queued, e)
		}
	}
	return b.save(entryOf(e.Message, e.Number), e)
}

// placeOf is the key by which an entry's owner finds it; nil for one that is held.
func placeOf(e *storepb.QueueEntry) []byte {
	switch {
	case e.Attempting:
		return key(tabAttempting, e.Owner, []byte{0}, e.Message, e.Number)
	case e.Held:
		return nil
	}
	return key(tabDue, e.Owner, []byte{0}, uint64(max(0, e.DueUnixMs)), e.Message, e.Number)
}

// noteOf is what stands at an entry's place in its owner's order of work: its queue, and whose message it is. So a long queue is looked
// through for those whose turn it is without a read for each entry. An attempt under way needs no note.
func noteOf(m *storepb.QueueMessage, e *storepb.QueueEntry) []byte {
	if e.Attempting {
		return nil
	}
	return binary.BigEndian.AppendUint64([]byte{byte(e.Queue)}, SenderHash(m.GetEnvelopeFrom()))
}

// SenderHash stands for a sender in DueEntry. It is no secret, and two senders may have the same.
func SenderHash(envelopeFrom string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(envelopeFrom))
	return h.Sum64()
}

func entryOf(message uint64, number uint32) []byte { return key(tabQueueEntry, message, number) }

func queueIDKey(queueID string, message uint64) []byte {
	return key(tabQueueID, queueID, []byte{0}, message)
}

func countEntry(cr *storepb.ClusterRecord, e *storepb.QueueEntry, by int) {
	if cr.Queue == nil {
		cr.Queue = &storepb.QueueCounts{}
	}
	add := func(n *uint64) { *n = uint64(int64(*n) + int64(by)) }
	switch store.Queue(e.Queue) {
	case store.QueueIn:
		add(&cr.Queue.In)
	case store.QueueLocal:
		add(&cr.Queue.Local)
	case store.QueueRemote:
		add(&cr.Queue.Remote)
	}
	if e.Held {
		add(&cr.Queue.Held)
	}
}

// queueChange is a change of entries by one command: what it reads of them it reads once, and what it changed it saves at its end.
type queueChange struct {
	b        *batch
	cr       *storepb.ClusterRecord
	messages map[uint64]*storepb.QueueMessage
	changed  map[uint64]bool // of these
}

func (b *batch) changeQueue() (*queueChange, error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	return &queueChange{b: b, cr: cr, messages: map[uint64]*storepb.QueueMessage{}, changed: map[uint64]bool{}}, nil
}

// message is the one of an entry, which must be there.
func (q *queueChange) message(id uint64) (*storepb.QueueMessage, error) {
	if m := q.messages[id]; m != nil {
		return m, nil
	}
	m := &storepb.QueueMessage{}
	if err := must(q.b, key(tabQueued, id), m); err != nil {
		return nil, fmt.Errorf("read queued message %d: %w", id, err)
	}
	q.messages[id] = m
	return m, nil
}

// entry is nil when there is no such entry.
func (q *queueChange) entry(ref *storepb.QueueRef) (*storepb.QueueEntry, error) {
	e := &storepb.QueueEntry{}
	found, err := load(q.b, entryOf(ref.GetMessage(), ref.GetNumber()), e)
	if err != nil || !found {
		return nil, err
	}
	return e, nil
}

// owned is an entry of the server that proposed the command, under the epoch that it knows.
func (q *queueChange) owned(ref *storepb.QueueRef) (*storepb.QueueEntry, uint32, error) {
	e, err := q.entry(ref)
	switch {
	case err != nil:
		return nil, 0, err
	case e == nil:
		return nil, codeOf(store.ErrNotFound), nil
	case e.Owner != q.b.cmd.Server || e.Epoch != ref.Epoch:
		return nil, codeOf(store.ErrConflict), nil
	}
	return e, 0, nil
}

// change replaces an entry by what f makes of it.
func (q *queueChange) change(e *storepb.QueueEntry, f func(*storepb.QueueEntry)) error {
	next := proto.CloneOf(e)
	f(next)
	if next.Attempting || next.Held {
		return q.b.putEntry(q.cr, nil, e, next)
	}
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	return q.b.putEntry(q.cr, m, e, next)
}

// add gives a message one more recipient to wait for.
func (q *queueChange) add(m *storepb.QueueMessage, e *storepb.QueueEntry) error {
	q.changed[m.Id] = true
	return q.b.addEntry(q.cr, m, e)
}

// end takes an entry away. With the last one its message stops to wait.
func (q *queueChange) end(e *storepb.QueueEntry) error {
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	m.Open--
	q.changed[m.Id] = true
	return q.b.putEntry(q.cr, m, e, nil)
}

// finish saves what changed.
func (q *queueChange) finish() error {
	for _, id := range sortedKeys(q.changed) {
		m := q.messages[id]
		if m.Open > 0 {
			if err := q.b.save(key(tabQueued, id), m); err != nil {
				return err
			}
			continue
		}
		if err := q.b.Delete(key(tabQueued, id)); err != nil {
			return err
		}
		if err := q.b.Delete(queueIDKey(m.QueueId, id)); err != nil {
			return err
		}
		if err := q.b.reference(m.Email, -1, q.cr.TicksMs); err != nil {
			return err
		}
	}
	return q.b.saveCluster(q.cr)
}

// answer is the result of a command about entries.
func (q *queueChange) answer(codes []uint32) (*storepb.Result, error) {
	return &storepb.Result{Codes: codes}, q.finish()
}

// noteBytes is the length of what noteOf makes.
const noteBytes = 9

// dueEntry reads a place in an owner's order of work: what follows the owner in its key, and what stands there.
func dueEntry(rest, note []byte) (DueEntry, bool) {
	if len(rest) != 20 || len(note) != noteBytes {
		return DueEntry{}, false
	}
	return DueEntry{DueUnixMs: int64(binary.BigEndian.Uint64(rest)), Message: binary.BigEndian.Uint64(rest[8:]), Number: binary.BigEndian.Uint32(rest[16:]),
		Queue: store.Queue(note[0]), Sender: binary.BigEndian.Uint64(note[1:])}, true
}
