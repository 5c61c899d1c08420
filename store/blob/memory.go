package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/quorumail/quorumail/store"
)

// Memory is a Store for tests. It keeps containers in a map; its Sync only counts.
type Memory struct {
	mu     sync.RWMutex
	bodies map[store.BodyID]*memoryBody
	stats  Stats
}

// memoryBody is immutable but for corrupt, which the store's lock guards.
type memoryBody struct {
	epoch   uint64
	encoded []byte
	corrupt bool
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store in memory.
func NewMemory() *Memory { return &Memory{bodies: map[store.BodyID]*memoryBody{}} }

// Put implements Store.
func (m *Memory) Put(ctx context.Context, id store.BodyID, epoch uint64, encoded io.Reader, sizeBytes int64, sync bool) error {
	if sizeBytes < 0 || sizeBytes > maxEncodedBytes {
		return fmt.Errorf("put body of %d bytes: %w", sizeBytes, store.ErrTooLarge)
	}
	if present, _ := m.Has(id); !present {
		b, err := readChecked(id, encoded, sizeBytes)
		if err != nil {
			return fmt.Errorf("put body %v: %w", id, err)
		}
		m.add(id, &memoryBody{epoch: epoch, encoded: b})
	}
	if err := ctx.Err(); err != nil || !sync {
		return err
	}
	return m.Sync()
}

func (m *Memory) add(id store.BodyID, b *memoryBody) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.bodies[id]; old != nil && !old.corrupt {
		return
	}
	m.bodies[id] = b
	m.stats.Appended++
	m.stats.Puts++
	m.stats.PutBytes += int64(len(b.encoded))
}

// readChecked reads a container and verifies it.
func readChecked(id store.BodyID, encoded io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	c := newChecker(id.Digest(), size)
	if _, err := io.Copy(io.MultiWriter(c, &b), io.LimitReader(encoded, size)); err != nil {
		return nil, err
	}
	return b.Bytes(), c.finish()
}

// Sync implements Store.
func (m *Memory) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stats.Synced != m.stats.Appended {
		m.stats.Synced = m.stats.Appended
		m.stats.Fsyncs++
	}
	return nil
}

// AppendedPos implements Store.
func (m *Memory) AppendedPos() Pos { return m.Stats().Appended }

// SyncedPos implements Store.
func (m *Memory) SyncedPos() Pos { return m.Stats().Synced }

// find returns a body that is not known to be corrupt.
func (m *Memory) find(id store.BodyID) (*memoryBody, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := m.bodies[id]
	switch {
	case b == nil:
		return nil, fmt.Errorf("open body %v: %w", id, ErrNotFound)
	case b.corrupt:
		return nil, fmt.Errorf("open body %v: %w", id, ErrCorrupt)
	}
	return b, nil
}

// Open implements Store.
func (m *Memory) Open(id store.BodyID) (Reader, error) {
	b, err := m.find(id)
	if err != nil {
		return nil, err
	}
	return NewReader(bytes.NewReader(b.encoded), int64(len(b.encoded)))
}

// OpenEncoded implements Store.
func (m *Memory) OpenEncoded(id store.BodyID) (io.ReadCloser, int64, error) {
	b, err := m.find(id)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(bytes.NewReader(b.encoded)), int64(len(b.encoded)), nil
}

// Has implements Store.
func (m *Memory) Has(id store.BodyID) (bool, error) {
	_, err := m.find(id)
	return err == nil, nil
}

// Verify implements Store.
func (m *Memory) Verify(id store.BodyID) error {
	r, err := m.Open(id)
	if err != nil {
		return err
	}
	_, err = r.WriteTo(io.Discard)
	return errors.Join(err, r.Close())
}

// Delete implements Store.
func (m *Memory) Delete(id store.BodyID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bodies[id] != nil {
		delete(m.bodies, id)
		m.stats.Appended++
		m.stats.Deletes++
	}
	return nil
}

// Damage makes a body corrupt, as if its disk had rotted: for tests of repair.
func (m *Memory) Damage(id store.BodyID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.bodies[id]
	if b == nil {
		return ErrNotFound
	}
	b.corrupt = true
	return nil
}

// ids lists all bodies in order.
func (m *Memory) ids() []store.BodyID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]store.BodyID, 0, len(m.bodies))
	for id := range m.bodies {
		list = append(list, id)
	}
	slices.SortFunc(list, func(a, b store.BodyID) int { return bytes.Compare(a[:], b[:]) })
	return list
}

// Each implements Store.
func (m *Memory) Each(f func(id store.BodyID, epoch uint64, bytes int64) error) error {
	for _, id := range m.ids() {
		if b, err := m.find(id); err == nil {
			if err := f(id, b.epoch, int64(len(b.encoded))); err != nil {
				return err
			}
		}
	}
	return nil
}

// Compact implements Store.
func (m *Memory) Compact(ctx context.Context) error { return ctx.Err() }

// Scrub implements Store, at any rate.
func (m *Memory) Scrub(ctx context.Context, _ int64, onBad func(id store.BodyID, err error)) error {
	for _, id := range m.ids() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.Verify(id); errors.Is(err, ErrCorrupt) {
			onBad(id, err)
		}
	}
	return nil
}

// Stats implements Store.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.stats
	s.Bodies = int64(len(m.bodies))
	for _, b := range m.bodies {
		s.LiveBytes += int64(len(b.encoded))
		if b.corrupt {
			s.CorruptKnown++
		}
	}
	s.TotalBytes = s.LiveBytes
	return s
}

// Close implements Store.
func (m *Memory) Close() error { return nil }
