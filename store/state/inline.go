package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// syncBodies makes the inline bodies of everything applied durable. The store calls it before it makes references to them so; it must not
// use the store.
func (m *Machine) syncBodies() error {
	index := m.appliedIndex()
	if err := m.cfg.Blobs.Sync(); err != nil {
		return fmt.Errorf("sync the bodies: %w", err)
	}
	for {
		old := m.synced.Load()
		if index <= old || m.synced.CompareAndSwap(old, index) {
			return nil
		}
	}
}

// appliedIndex is 0 while the store is being opened, when nothing is known to be applied.
func (m *Machine) appliedIndex() uint64 {
	m.posMu.Lock()
	defer m.posMu.Unlock()
	return m.pos.GetIndex()
}

// noteSynced keeps how far bodies are durable, so that a start need not look at those below.
func (b *batch) noteSynced() error {
	synced := b.m.synced.Load()
	if synced == b.m.noted {
		return nil
	}
	b.m.noted = synced
	return b.Set(keySynced, binary.BigEndian.AppendUint64(nil, synced))
}

// sureIndex reads up to which entry inline bodies are durable.
func sureIndex(r kv.Reader) (uint64, error) {
	raw, err := r.Get(keySynced)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil || len(raw) != 8 {
		return 0, fmt.Errorf("read how far bodies are durable, %d bytes: %w", len(raw), err)
	}
	return binary.BigEndian.Uint64(raw), nil
}

// Persist makes everything applied durable: bodies first, then what refers to them. Apply may go on meanwhile.
func (m *Machine) Persist() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	index := m.Position().Index
	if err := m.syncBodies(); err != nil {
		return err
	}
	b := m.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(prefixInline, inlineKey(index+1, nil)); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	if err := m.db.Flush(); err != nil {
		return fmt.Errorf("flush the state: %w", err)
	}
	return nil
}

// UnsureBody is an inline body that a crash took.
type UnsureBody struct {
	Index uint64 // of the log entry that brought it
	ID    store.BodyID
}

// UnsureInline lists the inline bodies that were not known to be durable when the process ended and that are gone. They must be put again,
// by PutInlineAgain with the command from the node's own log, before it serves.
//
// A look at the blob store's index is enough: its Open reads anew, checks and fsyncs whatever was not known to be durable, so that what
// it says it has, it has. (What rots later is found when it is read.)
func (m *Machine) UnsureInline() ([]UnsureBody, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	sure, err := sureIndex(m.db)
	if err != nil {
		return nil, err
	}
	it, err := m.db.Iter(inlineKey(sure+1, nil), after(prefixInline))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var out []UnsureBody
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()[len(prefixInline):]
		id, err := store.BodyIDFromBytes(k[8:])
		if err != nil {
			return nil, err
		}
		has, err := m.cfg.Blobs.Has(id)
		if err != nil {
			return nil, fmt.Errorf("look for the body of entry %d: %w", binary.BigEndian.Uint64(k), err)
		}
		if !has {
			out = append(out, UnsureBody{binary.BigEndian.Uint64(k), id})
		}
	}
	return out, it.Err()
}

// PutInlineAgain stores the inline body of a command, read from the log, that UnsureInline named.
func (m *Machine) PutInlineAgain(command []byte) error {
	c := &storepb.Command{}
	if err := proto.Unmarshal(command, c); err != nil {
		return fmt.Errorf("decode the command: %w", err)
	}
	ref := c.GetAddMessage().GetBody()
	id, err := store.BodyIDFromBytes(ref.GetId())
	if err != nil {
		return err
	}
	return m.cfg.Blobs.Put(context.TODO(), id, ref.Epoch, bytes.NewReader(ref.Inline), int64(len(ref.Inline)), false)
}
