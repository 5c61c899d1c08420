package blob

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quorumail/quorumail/store"
)

const (
	// firstReadBytes is read at once when a body is opened: all of most messages, the headers of the others.
	firstReadBytes = 32 << 10
	// openAttempts bounds how often a body is looked up anew because compaction moved it meanwhile.
	openAttempts = 8
)

// Has implements Store.
func (d *Disk) Has(id store.BodyID) (bool, error) {
	if found, err := d.index.Has(bodyKey(id)); err != nil || !found {
		return false, err
	}
	bad, err := d.isCorrupt(d.index, id)
	return !bad, err
}

// Open implements Store.
func (d *Disk) Open(id store.BodyID) (Reader, error) {
	b, err := d.find(id)
	if err != nil {
		return nil, fmt.Errorf("open body %v: %w", id, err)
	}
	h, err := readHeader(b, b.e.length)
	if err == nil && h.digest != id.Digest() {
		err = fmt.Errorf("container claims digest %x: %w", h.digest, ErrCorrupt)
	}
	if err != nil {
		b.corrupt(err)
		return nil, errors.Join(fmt.Errorf("open body %v: %w", id, err), b.Close())
	}
	r := newReader(b, h)
	r.onCorrupt, r.onClose = b.corrupt, b.Close
	return r, nil
}

// OpenEncoded implements Store.
func (d *Disk) OpenEncoded(id store.BodyID) (io.ReadCloser, int64, error) {
	b, err := d.find(id)
	if err != nil {
		return nil, 0, fmt.Errorf("open container %v: %w", id, err)
	}
	return &encodedReader{payload: newPayloadReader(b.handle, b.e.at.offset, b.rec), body: b}, b.e.length, nil
}

// Verify implements Store.
func (d *Disk) Verify(id store.BodyID) error {
	encoded, _, err := d.OpenEncoded(id)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, encoded)
	if err = errors.Join(err, encoded.Close()); err != nil {
		return fmt.Errorf("verify body %v: %w", id, err)
	}
	r, err := d.Open(id)
	if err != nil {
		return err
	}
	_, err = r.WriteTo(io.Discard)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("verify body %v: %w", id, err)
	}
	return nil
}

// stored is a body whose record's header was right, with its segment open. It reads the container.
type stored struct {
	d      *Disk
	id     store.BodyID
	e      entry
	rec    record
	handle *handle
	prefix []byte // the first bytes of the container
	done   bool
}

// find opens the record of a body. Compaction may move it between the look into the index and the opening of its segment.
func (d *Disk) find(id store.BodyID) (*stored, error) {
	if err := d.failed(); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		e, err := lookup(d.index, id)
		if err != nil {
			return nil, err
		}
		if bad, err := d.isCorrupt(d.index, id); err != nil {
			return nil, err
		} else if bad {
			return nil, ErrCorrupt
		}
		h, err := d.handles.acquire(e.at.segment)
		switch {
		case err == nil:
			b, err := d.begin(id, e, h)
			if err == nil || !errors.Is(err, ErrCorrupt) || !d.moved(id, e.at) || attempt == openAttempts {
				return b, err
			}
		case !isGone(err):
			return nil, err
		case attempt == openAttempts:
			d.markCorrupt(id, e.at, err)
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
}

// moved tells whether a body is not, or no longer, at a place.
func (d *Disk) moved(id store.BodyID, at location) bool {
	e, err := lookup(d.index, id)
	return err != nil || e.at != at
}

// begin reads the beginning of a record and checks its header.
func (d *Disk) begin(id store.BodyID, e entry, h *handle) (*stored, error) {
	b := &stored{d: d, id: id, e: e, handle: h}
	first := make([]byte, min(total(e.length), recordHeaderBytes+firstReadBytes))
	err := readFull(h, first, e.at.offset)
	if err == nil {
		var ok bool
		b.rec, ok = decodeRecord(first, d.identity(e.at.segment), e.at.offset)
		if !ok || b.rec.kind != kindBody || b.rec.id != id || b.rec.length != e.length {
			err = fmt.Errorf("record at %d of segment %d: %w", e.at.offset, e.at.segment, ErrCorrupt)
		}
	}
	if err != nil {
		b.corrupt(err)
		return nil, errors.Join(err, b.Close())
	}
	b.prefix = first[recordHeaderBytes:min(recordHeaderBytes+e.length, int64(len(first)))]
	return b, nil
}

// identity is what a segment's header said.
func (d *Disk) identity(number uint64) segmentID {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.segments[number]; s != nil {
		return s.segmentID
	}
	return segmentID{}
}

// ReadAt reads from the container.
func (b *stored) ReadAt(p []byte, off int64) (int, error) {
	if off < int64(len(b.prefix)) && off+int64(len(p)) <= int64(len(b.prefix)) {
		return copy(p, b.prefix[off:]), nil
	}
	if left := b.e.length - off; int64(len(p)) > left {
		n, err := b.ReadAt(p[:max(left, 0)], off)
		return n, errors.Join(err, io.EOF)
	}
	return b.handle.ReadAt(p, b.e.at.offset+recordHeaderBytes+off)
}

// corrupt notes what a reader found.
func (b *stored) corrupt(err error) {
	if errors.Is(err, ErrCorrupt) {
		b.d.markCorrupt(b.id, b.e.at, err)
	}
}

// Close ends the use of the segment.
func (b *stored) Close() error {
	if b.done {
		return nil
	}
	b.done = true
	return b.d.handles.release(b.handle)
}

// markCorrupt notes that a body at a place is corrupt, unless it has been moved or replaced.
func (d *Disk) markCorrupt(id store.BodyID, at location, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := lookup(d.index, id)
	if err != nil || e.at != at {
		return
	}
	if bad, err := d.isCorrupt(d.index, id); bad || err != nil {
		return
	}
	// A full stop would hurt readers; if this note cannot be written the index has stopped the store already.
	c := d.change()
	c.corrupt++
	if err := c.Set(corruptKey(id), []byte(time.Now().UTC().Format(time.RFC3339))); err != nil {
		c.Close()
		return
	}
	if err := c.commit(); err != nil {
		_ = d.fail(err)
		return
	}
	d.log.Error("body is corrupt", "body", id.String(), "segment", at.segment, "offset", at.offset, "err", cause)
}

// encodedReader reads a container and checks the record's checksum at its end.
type encodedReader struct {
	payload *payloadReader
	body    *stored
}

// Read implements io.Reader.
func (e *encodedReader) Read(p []byte) (int, error) {
	n, err := e.payload.Read(p)
	if err != nil && err != io.EOF {
		e.body.corrupt(err)
	}
	return n, err
}

// Close implements io.Closer.
func (e *encodedReader) Close() error { return e.body.Close() }
