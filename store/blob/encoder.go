package blob

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/quorumail/quorumail/store"
)

const (
	// spillBytes is how much of a container is kept in memory.
	spillBytes = 256 << 10
	// firstBufferBytes is the first size of an Encoder's buffer, which doubles up to ownBufferBytes: most messages are small. Larger
	// ones take a frame's buffer from the pool.
	firstBufferBytes = 8 << 10
	ownBufferBytes   = 32 << 10
)

// Encoder takes the raw bytes of a body while they stream in. Its memory is bounded by a frame and spillBytes; what is more goes to a
// temporary file that is never synced and has no name. It must end with Finish or Close.
type Encoder struct {
	spoolDir string
	digest   hash.Hash
	h        header
	raw      []byte  // of the frame that is not full yet
	pooled   *[]byte // raw's memory, if it came from frameBuffers
	frames   []byte  // stored frames, while in memory
	spool    *os.File
	stored   int64 // bytes of all stored frames
	err      error
}

// NewEncoder begins a body. Large ones spill into spoolDir, an existing folder.
func NewEncoder(spoolDir string) *Encoder {
	return &Encoder{spoolDir: spoolDir, digest: sha256.New()}
}

// Write takes raw bytes. An error is for good. Beyond MaxRawBytes it is a store.ErrTooLarge; a full spool is an ErrNoSpace.
func (e *Encoder) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if e.h.rawBytes+int64(len(p)) > MaxRawBytes {
		e.err = fmt.Errorf("body over %d bytes: %w", MaxRawBytes, store.ErrTooLarge)
		return 0, e.err
	}
	e.digest.Write(p)
	e.h.rawBytes += int64(len(p))
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), FrameBytes-len(e.raw))
		e.grow(n)
		e.raw = append(e.raw, p[:n]...)
		p = p[n:]
		if len(e.raw) == FrameBytes {
			if e.err = e.endFrame(); e.err != nil {
				return total - len(p), e.err
			}
		}
	}
	return total, nil
}

// grow makes room for n more raw bytes of a frame.
func (e *Encoder) grow(n int) {
	need := len(e.raw) + n
	if need <= cap(e.raw) {
		return
	}
	if need > ownBufferBytes {
		e.pooled = frameBuffers.Get().(*[]byte)
		e.raw = append((*e.pooled)[:0], e.raw...)
		return
	}
	size := max(firstBufferBytes, cap(e.raw))
	for size < need {
		size *= 2
	}
	e.raw = append(make([]byte, 0, size), e.raw...)
}

// drop lets the buffers go.
func (e *Encoder) drop() {
	if e.pooled != nil {
		frameBuffers.Put(e.pooled)
	}
	e.pooled, e.raw, e.frames = nil, nil, nil
}

// endFrame stores the collected raw bytes as a frame.
func (e *Encoder) endFrame() error {
	if e.spool == nil && len(e.frames)+len(e.raw) <= spillBytes {
		start := len(e.frames)
		var f frame
		e.frames, f = compressFrame(e.frames, e.raw)
		e.add(f, len(e.frames)-start)
		return nil
	}
	if e.spool == nil {
		if err := e.spill(); err != nil {
			return err
		}
	}
	buffer := frameBuffers.Get().(*[]byte)
	defer frameBuffers.Put(buffer)
	stored, f := compressFrame((*buffer)[:0], e.raw)
	*buffer = stored[:0]
	if err := e.writeSpool(stored); err != nil {
		return err
	}
	e.add(f, len(stored))
	return nil
}

func (e *Encoder) add(f frame, stored int) {
	e.h.frames = append(e.h.frames, f)
	e.stored += int64(stored)
	e.raw = e.raw[:0]
}

// spill moves the frames from memory to a file without a name, which the system deletes whatever happens.
func (e *Encoder) spill() error {
	f, err := os.CreateTemp(e.spoolDir, "body-*")
	if err != nil {
		return noSpace(fmt.Errorf("create spool file: %w", err))
	}
	e.spool = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("unlink spool file: %w", err)
	}
	err = e.writeSpool(e.frames)
	e.frames = nil
	return err
}

func (e *Encoder) writeSpool(b []byte) error {
	if _, err := e.spool.Write(b); err != nil {
		return noSpace(fmt.Errorf("write spool file: %w", err))
	}
	return nil
}

// Finish ends the body. The Encoder cannot be used any more; the Encoded must be closed.
func (e *Encoder) Finish() (*Encoded, error) {
	if e.err == nil && len(e.raw) > 0 {
		e.err = e.endFrame()
	}
	if e.err != nil {
		return nil, errors.Join(e.err, e.Close())
	}
	e.digest.Sum(e.h.digest[:0])
	head := e.h.encode()
	out := &Encoded{Digest: e.h.digest, RawBytes: e.h.rawBytes, CompressedBytes: int64(len(head)) + e.stored, head: head, spool: e.spool}
	if e.spool == nil {
		out.memory = append(head, e.frames...)
	}
	e.drop()
	e.spool, e.err = nil, os.ErrClosed
	return out, nil
}

// Close drops a body that was not finished. After Finish it does nothing.
func (e *Encoder) Close() error {
	spool := e.spool
	e.drop()
	e.spool = nil
	if e.err == nil {
		e.err = os.ErrClosed
	}
	if spool == nil {
		return nil
	}
	return spool.Close()
}

// Encoded is a finished container, in memory or in an unnamed file.
type Encoded struct {
	// Digest is the SHA-256 of the raw bytes.
	Digest [sha256.Size]byte
	// RawBytes is the length of the body.
	RawBytes int64
	// CompressedBytes is the length of the container.
	CompressedBytes int64

	memory []byte // the whole container, or nil
	head   []byte
	spool  *os.File
}

// ID names the body under a nonce.
func (e *Encoded) ID(nonce [store.NonceBytes]byte) store.BodyID {
	return store.NewBodyID(e.Digest, nonce)
}

// Bytes is the whole container if it is in memory, or else nil. It must not be changed.
func (e *Encoded) Bytes() []byte { return e.memory }

// Open reads the container from its beginning. Any number of readers may be open; Close ends them all.
func (e *Encoded) Open() *io.SectionReader { return io.NewSectionReader(e, 0, e.CompressedBytes) }

// OpenRaw reads the body itself. It needs no Close, and Close of the Encoded ends it.
func (e *Encoded) OpenRaw() (Reader, error) { return NewReader(e, e.CompressedBytes) }

// ReadAt reads from the container.
func (e *Encoded) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, fmt.Errorf("read container at %d: %w", off, os.ErrInvalid)
	case off >= e.CompressedBytes:
		return 0, io.EOF
	case e.memory != nil:
		return copied(copy(p, e.memory[off:]), len(p))
	}
	n := 0
	if off < int64(len(e.head)) {
		if n = copy(p, e.head[off:]); n == len(p) {
			return n, nil
		}
	}
	m, err := e.spool.ReadAt(p[n:], off+int64(n)-int64(len(e.head)))
	return n + m, err
}

// copied is the answer of a ReadAt that copied n of want bytes.
func copied(n, want int) (int, error) {
	if n < want {
		return n, io.EOF
	}
	return n, nil
}

// Close lets the container go.
func (e *Encoded) Close() error {
	if e.spool == nil {
		return nil
	}
	spool := e.spool
	e.spool = nil
	return spool.Close()
}
