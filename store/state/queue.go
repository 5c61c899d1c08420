package state

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// The queues: a QueueMessage for each message that waits, which counts as one that shows its email, and a QueueEntry for each recipient that
// it waits for. Each entry has an owner, the only server that works on it; a hand-over gives it another owner and a new epoch, by which
// what the former owner says later is told apart.

// newQueued puts a message into the queues for those who are not served at once.
func (b *batch) newQueued(cr *storepb.ClusterRecord, op *storepb.AddMessage, email uint64, entries []*storepb.QueueEntry) error {
	cr.NextQueued++
	m := &storepb.QueueMessage{Id: cr.NextQueued, QueueId: op.QueueId, Email: email, EnvelopeFrom: op.EnvelopeFrom, Envelope: op.Envelope,
		MessageId: op.GetOrigin().GetMessageId(), ReceivedUnixMs: b.cmd.TimeUnixMs, ReceivedTick: cr.TicksMs, RawBytes: op.Body.RawBytes,
		Account: op.GetOrigin().GetAccount(), Client: op.GetOrigin().GetClient(), Helo: op.GetOrigin().GetHelo()}
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
	return b.putEntry(cr, nil, e)
}

// putEntry replaces an entry, nil for none, by another, nil for none, with all that follows from it.
func (b *batch) putEntry(cr *storepb.ClusterRecord, old, e *storepb.QueueEntry) error {
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
		if err := b.Set(k, nil); err != nil {
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
}

func (b *batch) changeQueue() (*queueChange, error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	return &queueChange{b: b, cr: cr, messages: map[uint64]*storepb.QueueMessage{}}, nil
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
	return q.b.putEntry(q.cr, e, next)
}

// end takes an entry away. With the last one its message stops to wait.
func (q *queueChange) end(e *storepb.QueueEntry) error {
	m, err := q.message(e.Message)
	if err != nil {
		return err
	}
	m.Open--
	return q.b.putEntry(q.cr, e, nil)
}

// finish saves what changed.
func (q *queueChange) finish() error {
	for _, id := range sortedKeys(q.messages) {
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

// dueKey splits what follows the owner in the key of a due entry.
func dueKey(rest []byte) (due int64, message uint64, number uint32, ok bool) {
	if len(rest) != 20 {
		return 0, 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(rest)), binary.BigEndian.Uint64(rest[8:]), binary.BigEndian.Uint32(rest[16:]), true
}
