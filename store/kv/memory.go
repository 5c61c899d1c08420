package kv

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

// memory is the Store twin for tests. A state is the root of an immutable tree: a snapshot is a pointer.
type memory struct {
	mu   sync.RWMutex
	root *node
}

// NewMemory makes an empty store in memory. Its Checkpoint is refused.
func NewMemory() Store { return &memory{} }

func (m *memory) state() *node {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.root
}

func (m *memory) Get(key []byte) ([]byte, error) { return memorySnapshot{m.state()}.Get(key) }
func (m *memory) Has(key []byte) (bool, error)   { return memorySnapshot{m.state()}.Has(key) }
func (m *memory) Iter(lower, upper []byte) (Iterator, error) {
	return memorySnapshot{m.state()}.Iter(lower, upper)
}
func (m *memory) NewBatch() Batch    { return &memoryBatch{store: m} }
func (m *memory) Snapshot() Snapshot { return memorySnapshot{m.state()} }
func (m *memory) Flush() error       { return nil }
func (m *memory) Close() error       { return nil }

func (m *memory) Checkpoint(dir string) error {
	return fmt.Errorf("checkpoint of a memory store to %s: %w", dir, os.ErrInvalid)
}

func (m *memory) Metrics() Metrics {
	var total uint64
	for it := (memoryIterator{root: m.state()}); ; {
		if !it.Next() {
			return Metrics{DiskBytes: total}
		}
		total += uint64(len(it.Key()) + len(it.Value()))
	}
}

// memorySnapshot reads one tree.
type memorySnapshot struct{ root *node }

func (s memorySnapshot) Get(key []byte) ([]byte, error) {
	n := find(s.root, key)
	if n == nil {
		return nil, ErrNotFound
	}
	return append([]byte{}, n.value...), nil
}

func (s memorySnapshot) Has(key []byte) (bool, error) { return find(s.root, key) != nil, nil }

func (s memorySnapshot) Iter(lower, upper []byte) (Iterator, error) {
	return &memoryIterator{root: s.root, lower: lower, upper: upper}, nil
}

func (s memorySnapshot) Close() error { return nil }

// memoryBatch keeps its changes as functions of a tree, and for its reads a tree to which they were applied.
type memoryBatch struct {
	store   *memory
	changes []func(*node) *node
	bytes   int
	done    bool

	base, view *node // view is base with the first applied changes
	applied    int
}

func (b *memoryBatch) add(bytes int, change func(*node) *node) {
	b.changes = append(b.changes, change)
	b.bytes += bytes
}

func (b *memoryBatch) Set(key, value []byte) error {
	if err := checkSet(key, value, b.bytes); err != nil {
		return err
	}
	key, value = bytes.Clone(key), bytes.Clone(value)
	b.add(len(key)+len(value), func(n *node) *node { return insert(n, key, value) })
	return nil
}

func (b *memoryBatch) Delete(key []byte) error {
	if err := checkSet(key, nil, b.bytes); err != nil {
		return err
	}
	key = bytes.Clone(key)
	b.add(len(key), func(n *node) *node { return remove(n, key) })
	return nil
}

func (b *memoryBatch) DeleteRange(lower, upper []byte) error {
	if err := checkRange(lower, upper); err != nil {
		return err
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	lower, upper = bytes.Clone(lower), bytes.Clone(upper)
	b.add(len(lower)+len(upper), func(n *node) *node { return removeRange(n, lower, upper) })
	return nil
}

// state applies the changes to the store's newest tree; only new ones if that tree is still the one of the last read.
func (b *memoryBatch) state() memorySnapshot {
	if root := b.store.state(); root != b.base || b.applied == 0 {
		b.base, b.view, b.applied = root, root, 0
	}
	for ; b.applied < len(b.changes); b.applied++ {
		b.view = b.changes[b.applied](b.view)
	}
	return memorySnapshot{b.view}
}

func (b *memoryBatch) Get(key []byte) ([]byte, error) { return b.state().Get(key) }
func (b *memoryBatch) Has(key []byte) (bool, error)   { return b.state().Has(key) }
func (b *memoryBatch) Iter(lower, upper []byte) (Iterator, error) {
	return b.state().Iter(lower, upper)
}
func (b *memoryBatch) Len() int     { return b.bytes }
func (b *memoryBatch) Close() error { b.changes = nil; return nil }

func (b *memoryBatch) Commit(bool) error {
	if b.done {
		return fmt.Errorf("batch committed twice: %w", ErrInvalid)
	}
	b.done = true
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for _, change := range b.changes {
		b.store.root = change(b.store.root)
	}
	return nil
}

// memoryIterator finds each key anew from the root: slow, and simple to believe.
type memoryIterator struct {
	root         *node
	lower, upper []byte
	at           *node // nil at the ends, and before the first move
	atEnd        bool  // with at == nil: beyond the last key, else before the first
}

// land takes a node as the new position if it lies within the bounds.
func (i *memoryIterator) land(n *node, atEnd bool) bool {
	if n != nil && (i.upper != nil && bytes.Compare(n.key, i.upper) >= 0 || bytes.Compare(n.key, i.lower) < 0) {
		n = nil
	}
	i.at, i.atEnd = n, atEnd
	return n != nil
}

func (i *memoryIterator) First() bool { return i.land(ceiling(i.root, i.lower, false), true) }
func (i *memoryIterator) Last() bool  { return i.land(lower(i.root, i.upper), false) }

func (i *memoryIterator) SeekGE(key []byte) bool {
	if bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	return i.land(ceiling(i.root, key, false), true)
}

func (i *memoryIterator) SeekLT(key []byte) bool {
	if i.upper != nil && bytes.Compare(key, i.upper) > 0 {
		key = i.upper
	}
	return i.land(lower(i.root, append([]byte{}, key...)), false)
}

func (i *memoryIterator) Next() bool {
	switch {
	case i.at != nil:
		return i.land(ceiling(i.root, i.at.key, true), true)
	case i.atEnd:
		return false
	}
	return i.First()
}

func (i *memoryIterator) Prev() bool {
	switch {
	case i.at != nil:
		return i.land(lower(i.root, i.at.key), false)
	case i.atEnd:
		return i.Last()
	}
	return false
}

func (i *memoryIterator) Valid() bool { return i.at != nil }
func (i *memoryIterator) Err() error  { return nil }

func (i *memoryIterator) Close() error {
	i.at, i.root = nil, nil
	return nil
}

func (i *memoryIterator) Key() []byte {
	if i.at == nil {
		return nil
	}
	return i.at.key
}

func (i *memoryIterator) Value() []byte {
	if i.at == nil {
		return nil
	}
	return i.at.value
}
