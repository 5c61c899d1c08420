package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/quorumail/quorumail/store/durable"
)

// tail settles the newest segment before raft-wal opens it. Version 0.4.2 leaves two things undone after a crash, and then refuses
// every further entry ("segment is sealed"), also after the next start:
//
// A crash came between the batch that filled the segment and the list in which it is sealed: raft-wal reads the segment as one that
// can take no more, but begins no new one. Here the list is brought up to date.
//
// A crash tore the last batch: raft-wal goes back to the batch before, but what was torn stays behind it in the file, and the next
// time its pieces may pass for the segment's index. Here it is overwritten by zeros.
type tail struct {
	files types.VFS
	dir   string
	end   uint64 // the last entry that was acknowledged
}

// A frame in a segment is type (1), zeros (3), length (4), content, zeros up to a multiple of eight; a commit has a checksum for the
// length, and no content.
const frameHeadBytes = 8

// settle looks at the newest segment of the list and tells whether the list changed.
func (t tail) settle(list *types.PersistentState) (changed bool, err error) {
	n := len(list.Segments)
	if n == 0 || !list.Segments[n-1].SealTime.IsZero() {
		return false, nil
	}
	info := &list.Segments[n-1]
	w, err := segment.NewFiler(t.dir, t.files).RecoverTail(*info)
	if errors.Is(err, fs.ErrNotExist) {
		return false, t.check(info.BaseIndex - 1)
	}
	if err != nil {
		return false, fmt.Errorf("read the newest segment: %w", err)
	}
	defer w.Close()
	last := w.LastIndex()
	if last == 0 {
		if err := t.check(info.BaseIndex - 1); err != nil {
			return false, err
		}
		return false, t.clear(*info, 0)
	}
	if err := t.check(last); err != nil {
		return false, err
	}
	after, kind, err := t.afterEntry(*info, w, last)
	if err != nil {
		return false, err
	}
	switch kind {
	case segment.FrameIndex:
		seal(list, last, uint64(after+frameHeadBytes))
		return true, nil
	case segment.FrameCommit:
		return false, t.clear(*info, after+frameHeadBytes)
	}
	return false, fmt.Errorf("entry %d is followed by neither index nor commit: %w", last, ErrRot)
}

// check comes before every change, so that damage stays as it was found.
func (t tail) check(last uint64) error {
	if last < t.end {
		return fmt.Errorf("the log ends at entry %d, it was written up to %d: %w", last, t.end, ErrRot)
	}
	return nil
}

// afterEntry finds what follows the last entry that counts: where, and of which type.
func (t tail) afterEntry(info types.SegmentInfo, w types.SegmentWriter, last uint64) (at int64, kind byte, err error) {
	offsets, ok := w.(interface {
		OffsetForFrame(index uint64) (uint32, error)
	})
	if !ok {
		return 0, 0, errors.New("raft-wal no longer tells where an entry stands")
	}
	off, err := offsets.OffsetForFrame(last)
	if err != nil {
		return 0, 0, fmt.Errorf("find entry %d: %w", last, err)
	}
	f, err := t.files.OpenReader(t.dir, segment.FileName(info))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var head [frameHeadBytes]byte
	if _, err := f.ReadAt(head[:], int64(off)); err != nil {
		return 0, 0, fmt.Errorf("read entry %d: %w", last, err)
	}
	content := int64(binary.LittleEndian.Uint32(head[4:]))
	at = int64(off) + frameHeadBytes + (content+7)/8*8
	if n, err := f.ReadAt(head[:], at); err != nil && (err != io.EOF || n < len(head)) {
		return 0, 0, fmt.Errorf("read what follows entry %d: %w", last, err)
	}
	return at, head[0], nil
}

// seal notes that the newest segment is full, and begins another, as raft-wal does.
func seal(list *types.PersistentState, last, indexStart uint64) {
	full := &list.Segments[len(list.Segments)-1]
	full.MaxIndex, full.IndexStart, full.SealTime = last, indexStart, time.Now()
	list.Segments = append(list.Segments, types.SegmentInfo{ID: list.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1,
		Codec: full.Codec, SizeLimit: full.SizeLimit, CreateTime: time.Now()})
	list.NextSegmentID++
}

// clear overwrites what stands in a segment from a place on.
func (t tail) clear(info types.SegmentInfo, from int64) error {
	f, err := t.files.OpenWriter(t.dir, segment.FileName(info))
	if err != nil {
		return fmt.Errorf("open the newest segment: %w", err)
	}
	changed, err := clearFrom(f, from)
	if err == nil && changed {
		err = durable.SyncFile(f)
	}
	return errors.Join(err, f.Close())
}

func clearFrom(f types.WritableFile, at int64) (changed bool, err error) {
	buf, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		n, err := f.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			changed = true
			if _, err := f.WriteAt(zeros[:n], at); err != nil {
				return changed, fmt.Errorf("clear the torn end of the log: %w", err)
			}
		}
		if err == io.EOF {
			return changed, nil
		}
		if err != nil {
			return changed, fmt.Errorf("read the torn end of the log: %w", err)
		}
		at += int64(n)
	}
}
