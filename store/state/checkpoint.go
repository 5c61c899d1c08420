package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/storepb"
)

// checkpointMagic begins the stream of a checkpoint: the replicated keys in order, and behind them a digest.
const checkpointMagic = "quorumail state 1\n"

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
