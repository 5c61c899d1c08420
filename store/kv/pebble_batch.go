package kv

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleBatch is a Batch of a pebbleStore.
type pebbleBatch struct {
	store *pebbleStore
	b     *pebble.Batch
}

func (b *pebbleBatch) Get(key []byte) ([]byte, error) { return pebbleGet(b.b, key) }
func (b *pebbleBatch) Has(key []byte) (bool, error)   { return pebbleHas(b.b, key) }
func (b *pebbleBatch) Iter(lower, upper []byte) (Iterator, error) {
	return pebbleIter(b.b, lower, upper)
}
func (b *pebbleBatch) Len() int     { return b.b.Len() }
func (b *pebbleBatch) Close() error { return b.b.Close() }

func (b *pebbleBatch) Set(key, value []byte) error {
	if err := checkSet(key, value, b.b.Len()); err != nil {
		return err
	}
	return b.b.Set(key, value, nil)
}

func (b *pebbleBatch) Delete(key []byte) error {
	if err := checkSet(key, nil, b.b.Len()); err != nil {
		return err
	}
	return b.b.Delete(key, nil)
}

func (b *pebbleBatch) DeleteRange(lower, upper []byte) error {
	if err := checkRange(lower, upper); err != nil {
		return err
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	return b.b.DeleteRange(lower, upper, nil)
}

func (b *pebbleBatch) Commit(sync bool) error {
	if b.store.readOnly {
		return ErrReadOnly
	}
	if err := b.store.fs.Err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	options := pebble.NoSync
	if sync {
		options = pebble.Sync
	}
	if err := b.b.Commit(options); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	// Pebble reports a failed commit to its logger only, and returns nil.
	return b.store.fs.Err()
}

// pebbleIterator is an Iterator of Pebble.
type pebbleIterator struct{ it *pebble.Iterator }

func pebbleIter(r pebble.Reader, lower, upper []byte) (Iterator, error) {
	if lower != nil && upper != nil && bytes.Compare(lower, upper) > 0 {
		upper = lower // Pebble expects ordered bounds; these hold nothing either
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("iterate: %w", err)
	}
	return pebbleIterator{it}, nil
}

func (i pebbleIterator) First() bool            { return i.it.First() }
func (i pebbleIterator) Last() bool             { return i.it.Last() }
func (i pebbleIterator) SeekGE(key []byte) bool { return i.it.SeekGE(key) }
func (i pebbleIterator) SeekLT(key []byte) bool { return i.it.SeekLT(key) }
func (i pebbleIterator) Next() bool             { return i.it.Next() }
func (i pebbleIterator) Prev() bool             { return i.it.Prev() }
func (i pebbleIterator) Valid() bool            { return i.it.Valid() }
func (i pebbleIterator) Key() []byte            { return i.it.Key() }
func (i pebbleIterator) Value() []byte          { return i.it.Value() }
func (i pebbleIterator) Err() error             { return i.it.Error() }
func (i pebbleIterator) Close() error           { return i.it.Close() }
