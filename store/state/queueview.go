package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// QueueEntry finds one recipient that a message waits for. store.ErrNotFound.
func (v *View) QueueEntry(message uint64, number uint32) (*storepb.QueueEntry, error) {
	e := &storepb.QueueEntry{}
	return e, must(v, entryOf(message, number), e)
}

// QueueMessage finds a message that waits. store.ErrNotFound.
func (v *View) QueueMessage(id uint64) (*storepb.QueueMessage, error) {
	m := &storepb.QueueMessage{}
	return m, must(v, key(tabQueued, id), m)
}

// QueuedUnder lists the messages that wait under a queue id: more than one where a client sent a message again to further recipients.
func (v *View) QueuedUnder(queueID string) (ids []uint64, err error) {
	err = each(v, key(tabQueueID, queueID, []byte{0}), func(rest, _ []byte) (bool, error) {
		if len(rest) == 8 {
			ids = append(ids, binary.BigEndian.Uint64(rest))
		}
		return true, nil
	})
	return ids, err
}

// QueueEntries calls f for entries in the order of their messages, from one on, until f answers false.
func (v *View) QueueEntries(message uint64, number uint32, f func(*storepb.QueueEntry) bool) error {
	it, err := v.Iter(entryOf(message, number), after(key(tabQueueEntry)))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		e := &storepb.QueueEntry{}
		if err := unmarshal(it.Value(), e); err != nil {
			return err
		}
		if !f(e) {
			return nil
		}
	}
	return it.Err()
}

// DueEntry is the place of an entry in its owner's order of work.
type DueEntry struct {
	DueUnixMs int64
	Message   uint64
	Number    uint32
	Queue     store.Queue
	Sender    uint64 // SenderHash of its message's
}

// Compare tells which of two comes first in the order of work: below 0 is d.
func (d DueEntry) Compare(other DueEntry) int {
	return cmp.Or(cmp.Compare(d.DueUnixMs, other.DueUnixMs), cmp.Compare(d.Message, other.Message), cmp.Compare(d.Number, other.Number))
}

// Due calls f for the entries of an owner that wait for a moment at or before until, in that order, beginning behind after; until f answers false.
func (v *View) Due(owner store.ServerID, behind DueEntry, until int64, f func(DueEntry) bool) error {
	prefix := key(tabDue, string(owner), []byte{0})
	it, err := v.Iter(key(tabDue, string(owner), []byte{0}, uint64(behind.DueUnixMs), behind.Message, behind.Number+1), after(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		d, ok := dueEntry(it.Key()[len(prefix):], it.Value())
		if !ok {
			return fmt.Errorf("an owner's work at nothing: %w", store.ErrInvalid)
		}
		if d.DueUnixMs > until || !f(d) {
			return nil
		}
	}
	return it.Err()
}

// Attempting lists the entries of an owner that have an attempt under way.
func (v *View) Attempting(owner store.ServerID, limit int) (out []*storepb.QueueEntry, err error) {
	err = each(v, key(tabAttempting, string(owner), []byte{0}), func(rest, _ []byte) (bool, error) {
		if len(rest) != 12 {
			return false, fmt.Errorf("an attempt at nothing: %w", store.ErrInvalid)
		}
		e, err := v.QueueEntry(binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:]))
		out = append(out, e)
		return len(out) < limit, err
	})
	return out, err
}

// QueueOwners lists the servers that own entries which are not held.
func (v *View) QueueOwners() (owners []store.ServerID, err error) {
	seen := map[store.ServerID]bool{}
	for _, table := range []byte{tabDue, tabAttempting} {
		prefix := key(table)
		for from, end := prefix, after(prefix); ; {
			first, err := keysOf(v, from, end, 1)
			if err != nil {
				return nil, err
			}
			if len(first) == 0 {
				break
			}
			id, _, _ := bytes.Cut(first[0][len(prefix):], []byte{0})
			seen[store.ServerID(id)] = true
			from = key(table, id, []byte{1})
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

func unmarshal(raw []byte, v proto.Message) error {
	if err := proto.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode a %s: %w", v.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
