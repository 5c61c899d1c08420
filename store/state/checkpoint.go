package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// currentFile names the folder of the store in use.
const currentFile = "CURRENT"

// checkpointMagic begins the stream of a checkpoint: the replicated keys in order, and behind them a digest.
const checkpointMagic = "quorumail state 1\n"

// generation is the store between two restores. It is closed when the machine and all views have let go of it.
type generation struct {
	kv.Store
	name    string       // of its folder in Config.Dir; empty: in memory
	users   atomic.Int64 // the machine is one of them
	dropped func() error // removes the folder of a store that was replaced; set before the machine lets go
}

func newGeneration(db kv.Store, name string) *generation {
	g := &generation{Store: db, name: name}
	g.users.Store(1)
	return g
}

func (g *generation) release() error {
	if g.users.Add(-1) > 0 {
		return nil
	}
	err := g.Store.Close()
	if g.dropped != nil {
		err = errors.Join(err, g.dropped())
	}
	return err
}

func (m *Machine) openCurrent() error {
	if m.cfg.Dir == "" {
		m.db = newGeneration(kv.NewMemory(), "")
		return nil
	}
	if err := durable.MkdirAll(m.cfg.Dir, 0o700); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(m.cfg.Dir, currentFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		raw = []byte("kv-1")
		if err := durable.WriteFile(filepath.Join(m.cfg.Dir, currentFile), raw, 0o600); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("find the state: %w", err)
	}
	name := strings.TrimSpace(string(raw))
	if err := m.removeOthers(name); err != nil {
		return err
	}
	db, err := m.openStore(name)
	if err != nil {
		return err
	}
	m.db = newGeneration(db, name)
	return nil
}

// removeOthers drops what a restore left that was cut off.
func (m *Machine) removeOthers(current string) error {
	list, err := os.ReadDir(m.cfg.Dir)
	if err != nil {
		return fmt.Errorf("look for old states: %w", err)
	}
	for _, e := range list {
		if e.IsDir() && e.Name() != current {
			if err := os.RemoveAll(filepath.Join(m.cfg.Dir, e.Name())); err != nil {
				return fmt.Errorf("remove an old state: %w", err)
			}
		}
	}
	return nil
}

func (m *Machine) openStore(name string) (kv.Store, error) {
	dir := filepath.Join(m.cfg.Dir, name)
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return kv.OpenPebble(kv.PebbleConfig{Dir: dir, OnFlushBegin: m.cfg.Blobs.Sync, OnFatal: m.cfg.OnFatal, Logger: m.cfg.Logger})
}

// Checkpoint streams the replicated state of this moment, with its position and the stream's exact size.
func (m *Machine) Checkpoint() (*storepb.LogPosition, int64, io.ReadCloser, error) {
	v := m.View()
	pos, err := v.Position()
	if err != nil {
		v.Close()
		return nil, 0, nil, err
	}
	size := int64(len(checkpointMagic) + 8 + sha256.Size)
	err = eachReplicated(v, func(k, val []byte) error { size += int64(8 + len(k) + len(val)); return nil })
	if err == nil {
		var raw []byte
		raw, err = marshal.Marshal(pos)
		size += int64(len(keyPosition) + len(raw) + 8)
	}
	if err != nil {
		v.Close()
		return nil, 0, nil, fmt.Errorf("measure the state: %w", err)
	}
	r, w := io.Pipe()
	go func() {
		err := writeCheckpoint(w, v, pos)
		v.Close()
		w.CloseWithError(err)
	}()
	return pos, size, r, nil
}

func eachReplicated(r kv.Reader, f func(k, v []byte) error) error {
	return each(r, []byte{'R'}, func(rest, v []byte) (bool, error) {
		return true, f(append([]byte{'R'}, rest...), v)
	})
}

func writeCheckpoint(out io.Writer, v *View, pos *storepb.LogPosition) error {
	h := sha256.New()
	w := bufferedHash{out: out, h: h}
	w.write([]byte(checkpointMagic))
	raw, err := marshal.Marshal(pos)
	if err != nil {
		return err
	}
	w.pair(keyPosition, raw)
	if err := eachReplicated(v, func(k, val []byte) error { w.pair(k, val); return w.err }); err != nil {
		return err
	}
	w.write(make([]byte, 8)) // a pair without a key ends the pairs
	w.flush()
	if w.err != nil {
		return w.err
	}
	_, err = out.Write(h.Sum(nil))
	return err
}

// bufferedHash writes in large pieces and hashes what it writes.
type bufferedHash struct {
	out io.Writer
	h   hash.Hash
	buf []byte
	err error
}

func (w *bufferedHash) write(p []byte) {
	if w.buf = append(w.buf, p...); len(w.buf) > 256<<10 {
		w.flush()
	}
}

func (w *bufferedHash) flush() {
	if w.err == nil {
		w.h.Write(w.buf)
		_, w.err = w.out.Write(w.buf)
	}
	w.buf = w.buf[:0]
}

func (w *bufferedHash) pair(k, v []byte) {
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(k)))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(v)))
	w.buf = append(w.buf, k...)
	w.write(v)
}

// maxPairBytes bounds a key or value of a checkpoint.
const maxPairBytes = 64 << 20

// Restore replaces the state with a checkpoint, in a new folder that takes over in one step. Bodies do not come along: NeedsAllBodies
// says so until they are fetched.
func (m *Machine) Restore(r io.Reader) error {
	name := ""
	var db kv.Store
	if m.cfg.Dir == "" {
		db = kv.NewMemory()
	} else {
		var n int
		if _, err := fmt.Sscanf(m.db.name, "kv-%d", &n); err != nil {
			return fmt.Errorf("read the name of the state %q: %w", m.db.name, err)
		}
		name = fmt.Sprintf("kv-%d", n+1)
		if err := os.RemoveAll(filepath.Join(m.cfg.Dir, name)); err != nil {
			return fmt.Errorf("remove a state that was cut off: %w", err)
		}
		var err error
		if db, err = m.openStore(name); err != nil {
			return err
		}
	}
	if err := readCheckpoint(r, db); err != nil {
		db.Close()
		return fmt.Errorf("read a checkpoint: %w", err)
	}
	return m.swap(db, name)
}

func (m *Machine) swap(db kv.Store, name string) error {
	pos, err := readPosition(db)
	if err != nil {
		db.Close()
		return err
	}
	if m.cfg.Dir != "" {
		if err := durable.WriteFile(filepath.Join(m.cfg.Dir, currentFile), []byte(name), 0o600); err != nil {
			db.Close()
			return err
		}
	}
	m.mu.Lock()
	old := m.db
	m.db = newGeneration(db, name)
	m.mu.Unlock()
	m.posMu.Lock()
	m.pos = pos
	m.posMu.Unlock()
	m.needsAll.Store(true)
	if m.cfg.Dir != "" {
		old.dropped = func() error { return os.RemoveAll(filepath.Join(m.cfg.Dir, old.name)) }
	}
	if err := old.release(); err != nil {
		return fmt.Errorf("close the old state: %w", err)
	}
	m.tell(Applied{Index: pos.Index, Restored: true})
	return nil
}

func readCheckpoint(r io.Reader, db kv.Store) error {
	h := sha256.New()
	in := io.TeeReader(r, h)
	magic := make([]byte, len(checkpointMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return err
	}
	if string(magic) != checkpointMagic {
		return errors.New("this is no checkpoint that this program knows")
	}
	b := db.NewBatch()
	defer func() { b.Close() }()
	if err := b.Set(keyNeedsAll, nil); err != nil {
		return err
	}
	for {
		k, v, err := readPair(in)
		if err != nil {
			return err
		}
		if k == nil {
			break
		}
		if err := b.Set(k, v); err != nil {
			return err
		}
		if b.Len() > 4<<20 {
			if err := b.Commit(false); err != nil {
				return err
			}
			b.Close()
			b = db.NewBatch()
		}
	}
	want, got := h.Sum(nil), make([]byte, sha256.Size)
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if string(got) != string(want) {
		return errors.New("the digest does not match")
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	return db.Flush()
}

func readPair(r io.Reader) (k, v []byte, err error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, nil, err
	}
	nk, nv := binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:])
	if nk == 0 {
		return nil, nil, nil
	}
	if nk > maxPairBytes || nv > maxPairBytes {
		return nil, nil, errors.New("a key or value beyond all bounds")
	}
	buf := make([]byte, nk+nv)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, nil, err
	}
	if k = buf[:nk]; k[0] != 'R' && string(k) != string(keyPosition) {
		return nil, nil, errors.New("a key that is no part of a checkpoint")
	}
	return k, buf[nk:], nil
}

// NeedsAllBodies tells whether the state came as a checkpoint and its bodies are not all here yet.
func (m *Machine) NeedsAllBodies() bool { return m.needsAll.Load() }

// ClearNeedsAllBodies notes, durably, that every live body is here.
func (m *Machine) ClearNeedsAllBodies() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := m.db.NewBatch()
	defer b.Close()
	if err := b.Delete(keyNeedsAll); err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return err
	}
	m.needsAll.Store(false)
	return nil
}

// Hash is the digest of the replicated state, and the index that it is of. Nodes at one index must agree.
func (m *Machine) Hash() (uint64, string, error) {
	v := m.View()
	defer v.Close()
	pos, err := v.Position()
	if err != nil {
		return 0, "", err
	}
	w := bufferedHash{out: io.Discard, h: sha256.New()}
	if err := eachReplicated(v, func(k, val []byte) error { w.pair(k, val); return nil }); err != nil {
		return 0, "", err
	}
	w.flush()
	return pos.Index, hex.EncodeToString(w.h.Sum(nil)[:16]), nil
}
