package blob

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// Reader gives the raw bytes of a body. Read, Seek and WriteTo share a position and are for one goroutine; ReadAt may be called
// concurrently. It must be closed.
//
// Every byte comes from a frame whose checksum was right. A body of one frame (up to FrameBytes, most of them) is also compared
// with its digest before the first byte is given out, a longer one before its last frame is, if the frames are read in order.
// Errors of the stored bytes wrap ErrCorrupt.
type Reader interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.WriterTo
	io.Closer
	// Size is the length of the raw body in bytes.
	Size() int64
}

// NewReader reads the body in a container of sizeBytes. It checks the container's header, and the rest when it is read.
func NewReader(encoded io.ReaderAt, sizeBytes int64) (Reader, error) {
	h, err := readHeader(encoded, sizeBytes)
	if err != nil {
		return nil, err
	}
	return newReader(encoded, h), nil
}

// reader implements Reader.
type reader struct {
	source    io.ReaderAt
	h         *header
	onCorrupt func(error)  // may be nil
	onClose   func() error // may be nil

	pos int64 // of Read, Seek and WriteTo

	mu     sync.Mutex
	at     int     // the frame in buffer; -1: none
	buffer *[]byte // from frameBuffers; nil: none yet
	closed bool
	hashed int // frames that digest has seen, in order
	digest hash.Hash
}

func newReader(source io.ReaderAt, h *header) *reader {
	return &reader{source: source, h: h, at: -1, digest: sha256.New()}
}

func (r *reader) Size() int64 { return r.h.rawBytes }

// load returns the raw bytes of a frame, valid until the next load. r.mu is held.
func (r *reader) load(i int) ([]byte, error) {
	if r.closed {
		return nil, fmt.Errorf("read body: %w", os.ErrClosed)
	}
	if r.at == i {
		return *r.buffer, nil
	}
	if r.buffer == nil {
		r.buffer = frameBuffers.Get().(*[]byte)
	}
	r.at = -1
	raw, err := r.expand(i)
	if err == nil {
		err = r.hash(i, raw)
	}
	if err != nil {
		if r.onCorrupt != nil && errors.Is(err, ErrCorrupt) {
			r.onCorrupt(err)
		}
		return nil, err
	}
	*r.buffer, r.at = raw, i
	return raw, nil
}

func (r *reader) expand(i int) ([]byte, error) {
	f := r.h.frames[i]
	scratch := frameBuffers.Get().(*[]byte)
	defer frameBuffers.Put(scratch)
	stored := (*scratch)[:f.stored]
	if err := readFull(r.source, stored, f.offset); err != nil {
		return nil, fmt.Errorf("frame %d: %w", i, err)
	}
	raw, err := expandFrame(*r.buffer, stored, f, r.h.rawOf(i))
	if err != nil {
		return nil, fmt.Errorf("frame %d: %w", i, err)
	}
	return raw, nil
}

// hash follows the frames that are loaded in order, and compares the digest at the last one.
func (r *reader) hash(i int, raw []byte) error {
	if i != r.hashed {
		return nil
	}
	r.digest.Write(raw)
	r.hashed++
	if r.hashed == len(r.h.frames) && !bytes.Equal(r.digest.Sum(nil), r.h.digest[:]) {
		r.hashed = -1
		return fmt.Errorf("digest of the body: %w", ErrCorrupt)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read body at %d: %w", off, os.ErrInvalid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(p) && off < r.h.rawBytes {
		raw, err := r.load(int(off / FrameBytes))
		if err != nil {
			return n, err
		}
		m := copy(p[n:], raw[off%FrameBytes:])
		n += m
		off += int64(m)
	}
	return copied(n, len(p))
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(p, r.pos)
	r.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.h.rawBytes
	default:
		return 0, fmt.Errorf("seek body from %d: %w", whence, os.ErrInvalid)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek body to %d: %w", offset, os.ErrInvalid)
	}
	r.pos = offset
	return offset, nil
}

// WriteTo implements io.WriterTo: it writes from the present position to the end, a frame at a time.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var total int64
	for r.pos < r.h.rawBytes {
		raw, err := r.load(int(r.pos / FrameBytes))
		if err != nil {
			return total, err
		}
		n, err := w.Write(raw[r.pos%FrameBytes:])
		total += int64(n)
		r.pos += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.buffer != nil {
		*r.buffer = (*r.buffer)[:0]
		frameBuffers.Put(r.buffer)
		r.buffer = nil
	}
	if r.onClose != nil {
		return r.onClose()
	}
	return nil
}
