package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/durable"
)

// endFile notes the last index that was acknowledged. It has two slots, written in turn and told apart by a rising number, so that a
// write that a crash tore leaves the one before. A slot is: number (8), index (8), kind (1), checksum (4).
type endFile struct {
	disk  durable.Disk
	path  string
	kind  byte
	made  bool     // it was there when it was opened
	one   turns    // guards what follows
	f     vfs.File // nil until it is made
	seq   uint64
	index uint64
}

const (
	slotBytes  = 21
	slotOffset = 512 // apart, as sectors are
)

func openEnd(disk durable.Disk, path, kind string) (*endFile, error) {
	e := &endFile{disk: disk, path: path, kind: kind[0], one: newTurns()}
	raw, err := disk.ReadFile(path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read where the log ends: %w", err)
	}
	e.made = true
	for _, off := range []int{0, slotOffset} {
		if len(raw) >= off+slotBytes {
			e.take(raw[off : off+slotBytes])
		}
	}
	if e.seq == 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrRot)
	}
	if e.kind != kind[0] {
		return nil, fmt.Errorf("the log of this node is not kept by %q: to change the store, replace the node under a new id", kind)
	}
	return e, e.open()
}

func (e *endFile) take(slot []byte) {
	seq := binary.BigEndian.Uint64(slot)
	if binary.BigEndian.Uint32(slot[17:]) != crc32.Checksum(slot[:17], castagnoli) || seq <= e.seq {
		return
	}
	e.seq, e.index, e.kind = seq, binary.BigEndian.Uint64(slot[8:]), slot[16]
}

func (e *endFile) open() error {
	f, err := e.fs().OpenReadWrite(e.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open the note of where the log ends: %w", err)
	}
	e.f = f
	return nil
}

func (e *endFile) fs() vfs.FS {
	if e.disk.FS != nil {
		return e.disk.FS
	}
	return vfs.Default
}

// slot is the next slot's bytes and place.
func (e *endFile) slot(index uint64) ([]byte, int64) {
	e.seq++
	e.index = index
	b := binary.BigEndian.AppendUint64(nil, e.seq)
	b = binary.BigEndian.AppendUint64(b, index)
	b = append(b, e.kind)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b, int64(e.seq%2) * slotOffset
}

// note writes the index; it reaches the disk when the kernel likes.
func (e *endFile) note(index uint64) error {
	defer e.one.take()()
	return e.writeSlot(index)
}

func (e *endFile) writeSlot(index uint64) error {
	b, at := e.slot(index)
	if _, err := e.f.WriteAt(b, at); err != nil && err != io.EOF {
		return fmt.Errorf("note where the log ends: %w", err)
	}
	return nil
}

// set writes the index durably, and makes the file if there is none.
func (e *endFile) set(index uint64) error {
	defer e.one.take()()
	if e.f == nil {
		b, _ := e.slot(index)
		first := make([]byte, 2*slotOffset)
		copy(first[int64(e.seq%2)*slotOffset:], b)
		if err := e.disk.WriteFile(e.path, first, 0o600); err != nil {
			return err
		}
		return e.open()
	}
	if err := e.writeSlot(index); err != nil {
		return err
	}
	return durable.SyncFile(e.f)
}

func (e *endFile) close() error {
	defer e.one.take()()
	if e.f == nil {
		return nil
	}
	return errors.Join(durable.SyncFile(e.f), e.f.Close())
}
