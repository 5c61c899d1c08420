package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
)

// copyBytes is how much of a large body is in memory while it passes.
const copyBytes = 128 << 10

// Put implements Store.
func (d *Disk) Put(ctx context.Context, id store.BodyID, epoch uint64, encoded io.Reader, sizeBytes int64, sync bool) error {
	if sizeBytes < 0 || sizeBytes > maxEncodedBytes {
		return fmt.Errorf("put body of %d bytes: %w", sizeBytes, store.ErrTooLarge)
	}
	if err := d.failed(); err != nil {
		return err
	}
	if err := d.putOnce(ctx, record{kind: kindBody, epoch: epoch, length: sizeBytes, id: id}, encoded); err != nil {
		return fmt.Errorf("put body %v: %w", id, err)
	}
	if !sync {
		return nil
	}
	if err := d.syncTo(d.AppendedPos(), ctx.Done()); errors.Is(err, errWaitEnded) {
		return fmt.Errorf("put body %v: %w: %w", id, err, context.Cause(ctx))
	} else if err != nil {
		return err
	}
	return nil
}

// arrival is a body that one or more Puts are bringing.
type arrival struct {
	puts   int
	stored bool // by one of them
}

// putOnce writes a body if it is not there. It looks once, before the body is read; what other Puts of the same id do meanwhile is seen
// in the arrival that they share.
func (d *Disk) putOnce(ctx context.Context, rec record, encoded io.Reader) error {
	d.mu.Lock()
	a := d.arrivals[rec.id]
	if a == nil {
		a = &arrival{}
		d.arrivals[rec.id] = a
	}
	a.puts++
	d.mu.Unlock()
	present, err := d.Has(rec.id)
	if err == nil && !present {
		err = d.write(ctx, a, rec, encoded)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.puts--; a.puts == 0 {
		delete(d.arrivals, rec.id)
	}
	return err
}

func (d *Disk) write(ctx context.Context, a *arrival, rec record, encoded io.Reader) error {
	id, sizeBytes := rec.id, rec.length
	large := sizeBytes >= d.config.LargeBytes
	weight := sizeBytes
	if large {
		weight = min(copyBytes, d.config.BufferBytes)
	}
	// What is in memory already needs no room, and must not wait for it: Apply puts inline bodies, and the room may be taken by bodies
	// whose senders have stopped sending.
	if _, inMemory := encoded.(*bytes.Reader); !inMemory || large {
		if err := d.buffers.Acquire(ctx, weight); err != nil {
			return err
		}
		defer d.buffers.Release(weight)
	}
	if large {
		return d.writeLarge(a, rec, encoded)
	}
	buffer := frameBuffers.Get().(*[]byte)
	defer frameBuffers.Put(buffer)
	b := (*buffer)[:0]
	if n := int(total(sizeBytes)); n <= cap(b) {
		b = b[:n]
	} else {
		b = make([]byte, n)
	}
	payload := b[recordHeaderBytes : len(b)-recordFooterBytes]
	if _, err := io.ReadFull(encoded, payload); err != nil {
		return fmt.Errorf("read the given container: %w", unexpected(err))
	}
	c := newChecker(id.Digest(), sizeBytes)
	if _, err := c.Write(payload); err != nil {
		return err
	}
	if err := c.finish(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.appendBody(a, rec, b)
}

// unexpected makes an early end an error of its own.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendBody appends a checked body and indexes it, unless another Put was faster. d.mu is held.
func (d *Disk) appendBody(a *arrival, rec record, b []byte) error {
	if done, err := d.overtaken(a, rec.id); done || err != nil {
		return err
	}
	at, err := d.append(rec, b)
	if err != nil {
		return err
	}
	return d.indexBody(a, rec, at)
}

// overtaken tells whether another Put stored the body meanwhile, and it is still there. d.mu is held.
func (d *Disk) overtaken(a *arrival, id store.BodyID) (bool, error) {
	if err := d.failed(); err != nil || !a.stored {
		return false, err
	}
	return d.Has(id)
}

// indexBody makes an appended body visible. d.mu is held.
func (d *Disk) indexBody(a *arrival, rec record, at location) error {
	c := d.change()
	c.fresh = !a.stored && d.corrupt.Load() == 0
	a.stored = true
	if err := c.addBody(rec.id, entry{at, rec.length, rec.epoch}); err != nil {
		return d.fail(errors.Join(err, c.Close()))
	}
	if err := c.commit(); err != nil {
		return d.fail(err)
	}
	d.stats.Puts++
	d.stats.PutBytes += total(rec.length)
	return nil
}

// append writes a record, whose payload stands in b between room for header and footer, to the head segment. d.mu is held.
//
// Nothing relies on a cut: a record that did not fit leaves bytes behind the head's end which the next record overwrites, and which
// a scan steps over. Giving them back to a full disk is what the cut is for.
func (d *Disk) append(rec record, b []byte) (location, error) {
	if err := d.failed(); err != nil {
		return location{}, err
	}
	if err := d.room(int64(len(b))); err != nil {
		return location{}, err
	}
	s := d.head
	rec.seal(b, s.segmentID, s.size)
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		err = noSpace(fmt.Errorf("append to segment %d: %w", s.number, err))
		if !errors.Is(err, ErrNoSpace) {
			return location{}, d.fail(err)
		}
		if cut := d.disk.Truncate(d.segmentPath(s.number), s.size); cut != nil {
			return location{}, d.fail(errors.Join(err, cut))
		}
		return location{}, err
	}
	at := location{s.number, s.size}
	s.size += int64(len(b))
	d.soil(s)
	return at, nil
}

// soil counts an append. d.mu is held.
func (d *Disk) soil(s *segment) {
	d.dirty[s] = true
	d.appended++
}

// room makes sure that there is a head segment with room for a record. d.mu is held.
func (d *Disk) room(bytes int64) error {
	if d.head != nil && d.head.size > recordsBegin && d.head.size+bytes > d.config.SegmentBytes {
		if err := d.seal(d.head); err != nil {
			return d.fail(err)
		}
		d.head = nil
	}
	if d.head != nil {
		return nil
	}
	s, err := d.create(d.number(), 0)
	if err != nil {
		return err
	}
	d.segments[s.number] = s
	d.newNames = true
	d.head = s
	return nil
}

// seal ends a segment. Its file stays open until it has been synced. d.mu is held.
func (d *Disk) seal(s *segment) error {
	s.sealed = true
	c := d.change()
	c.segment(s.number)
	if err := c.commit(); err != nil {
		return err
	}
	return d.closeIfDone(s)
}

// closeIfDone closes the file of a sealed segment that needs no more fsync. d.mu is held.
func (d *Disk) closeIfDone(s *segment) error {
	if !s.sealed || d.dirty[s] || s.synced != s.size || s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return file.Close()
}

// number takes the next segment's number. d.mu is held.
func (d *Disk) number() uint64 {
	d.next++
	return d.next - 1
}

// create begins a segment file. What fails is a full disk, or fatal.
func (d *Disk) create(number uint64, flags uint32) (*segment, error) {
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, d.fail(fmt.Errorf("salt for a segment: %w", err))
	}
	s := &segment{segmentID: segmentID{number, binary.LittleEndian.Uint64(salt[:]), flags}, size: recordsBegin, synced: recordsBegin}
	path := d.segmentPath(number)
	f, err := d.config.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, d.giveUp(fmt.Errorf("create segment %d: %w", number, err))
	}
	if _, err := f.WriteAt(s.segmentID.encode(), 0); err != nil {
		err = fmt.Errorf("begin segment %d: %w", number, err)
		return nil, d.giveUp(errors.Join(err, f.Close(), d.config.FS.Remove(path)))
	}
	s.file = f
	return s, nil
}

// giveUp is the end of a write that failed: a full disk is the caller's matter, everything else ends the store.
func (d *Disk) giveUp(err error) error {
	if err = noSpace(err); errors.Is(err, ErrNoSpace) {
		return err
	}
	return d.fail(err)
}

// writeLarge streams a body into a segment of its own, outside of all locks, and makes it known when it is whole.
func (d *Disk) writeLarge(a *arrival, rec record, encoded io.Reader) error {
	d.mu.Lock()
	number := d.number()
	d.mu.Unlock()
	s, err := d.create(number, segmentLarge)
	if err != nil {
		return err
	}
	s.sealed = true
	if err := d.stream(s, rec, encoded); err != nil {
		// Nothing refers to the file; if the removal fails too, Open finds it empty or unreferenced.
		return errors.Join(err, s.file.Close(), d.config.FS.Remove(d.segmentPath(number)))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if done, err := d.overtaken(a, rec.id); done || err != nil {
		return errors.Join(err, s.file.Close(), d.config.FS.Remove(d.segmentPath(number)))
	}
	d.segments[number] = s
	d.newNames = true
	d.soil(s)
	return d.indexBody(a, rec, location{number, recordsBegin})
}

// stream writes one record from a reader.
func (d *Disk) stream(s *segment, rec record, encoded io.Reader) error {
	w := &recordWriter{d: d, s: s}
	var head [recordHeaderBytes]byte
	w.crc = rec.encode(head[:], s.segmentID, s.size)
	if err := w.write(head[:]); err != nil {
		return err
	}
	c := newChecker(rec.id.Digest(), rec.length)
	source := io.TeeReader(io.LimitReader(encoded, rec.length), c)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{source}, make([]byte, copyBytes)); err != nil {
		return err
	}
	if err := c.finish(); err != nil {
		return err
	}
	return w.write(binary.LittleEndian.AppendUint32(nil, w.crc))
}
