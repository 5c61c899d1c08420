package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/quorumail/quorumail/store"
)

const (
	// FrameBytes is how many raw bytes a frame holds; the last one holds the rest.
	FrameBytes = 256 << 10
	// MaxRawBytes is the largest body before compression.
	MaxRawBytes = 1 << 30

	containerMagic   = "QMB1"
	containerVersion = 1
	fixedHeaderBytes = 4 + 4 + 8 + sha256.Size
	frameEntryBytes  = 8
	storedRaw        = 1 << 31 // flag in a frame's stored length
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one independently stored piece of a body.
type frame struct {
	offset int64 // in the container
	stored int   // bytes there
	crc    uint32
	raw    bool // not compressed
}

// header is the decoded beginning of a container.
type header struct {
	rawBytes int64
	digest   [sha256.Size]byte
	frames   []frame
}

// frameCount is how many frames a body has.
func frameCount(rawBytes int64) int { return int((rawBytes + FrameBytes - 1) / FrameBytes) }

// headerBytes is the length of the header of a body.
func headerBytes(rawBytes int64) int {
	return fixedHeaderBytes + frameCount(rawBytes)*frameEntryBytes + 4
}

// rawOf is how many raw bytes a frame holds.
func (h *header) rawOf(frame int) int {
	return int(min(FrameBytes, h.rawBytes-int64(frame)*FrameBytes))
}

// size is the length of the whole container.
func (h *header) size() int64 {
	if n := len(h.frames); n > 0 {
		return h.frames[n-1].offset + int64(h.frames[n-1].stored)
	}
	return int64(headerBytes(h.rawBytes))
}

// encode writes the header. The offsets follow from the lengths.
func (h *header) encode() []byte {
	b := make([]byte, 0, headerBytes(h.rawBytes))
	b = append(b, containerMagic...)
	b = append(b, containerVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.rawBytes))
	b = append(b, h.digest[:]...)
	for _, f := range h.frames {
		stored := uint32(f.stored)
		if f.raw {
			stored |= storedRaw
		}
		b = binary.LittleEndian.AppendUint32(b, stored)
		b = binary.LittleEndian.AppendUint32(b, f.crc)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// headerLength tells from the first fixedHeaderBytes how long the header is.
func headerLength(b []byte) (int, error) {
	if !bytes.Equal(b[:4], []byte(containerMagic)) || b[4] != containerVersion || b[5]|b[6]|b[7] != 0 {
		return 0, fmt.Errorf("container begins with %x: %w", b[:8], ErrCorrupt)
	}
	raw := binary.LittleEndian.Uint64(b[8:])
	if raw > MaxRawBytes {
		return 0, fmt.Errorf("container of %d raw bytes, over %d: %w", raw, MaxRawBytes, ErrCorrupt)
	}
	return headerBytes(int64(raw)), nil
}

// decodeHeader reads a header of exactly the length that headerLength told.
func decodeHeader(b []byte) (*header, error) {
	body, crc := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != crc {
		return nil, fmt.Errorf("container header's checksum: %w", ErrCorrupt)
	}
	h := &header{rawBytes: int64(binary.LittleEndian.Uint64(b[8:])), digest: [sha256.Size]byte(b[16:])}
	if h.rawBytes == 0 && h.digest != sha256.Sum256(nil) {
		return nil, fmt.Errorf("digest of an empty body: %w", ErrCorrupt) // no frame will lead to a look at it
	}
	h.frames = make([]frame, frameCount(h.rawBytes))
	offset := int64(len(b))
	for i := range h.frames {
		entry := body[fixedHeaderBytes+i*frameEntryBytes:]
		stored := binary.LittleEndian.Uint32(entry)
		f := frame{offset: offset, stored: int(stored &^ storedRaw), crc: binary.LittleEndian.Uint32(entry[4:]), raw: stored&storedRaw != 0}
		// A frame that compression would not shrink is stored raw, so none is longer than its raw bytes.
		if raw := h.rawOf(i); f.stored == 0 || f.stored > raw || f.raw && f.stored != raw {
			return nil, fmt.Errorf("frame %d of %d stored bytes: %w", i, f.stored, ErrCorrupt)
		}
		h.frames[i] = f
		offset += int64(f.stored)
	}
	return h, nil
}

// readHeader reads the header of a container of the given size.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	fixed := make([]byte, fixedHeaderBytes)
	if err := readFull(r, fixed, 0); err != nil {
		return nil, err
	}
	n, err := headerLength(fixed)
	if err != nil {
		return nil, err
	}
	if int64(n) > size {
		return nil, fmt.Errorf("container of %d bytes with a header of %d: %w", size, n, ErrCorrupt)
	}
	b := make([]byte, n)
	if err := readFull(r, b, 0); err != nil {
		return nil, err
	}
	h, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	if h.size() != size {
		return nil, fmt.Errorf("container of %d bytes describes %d: %w", size, h.size(), ErrCorrupt)
	}
	return h, nil
}

// readFull reads len(b) bytes. Bytes that are not there are corruption: the reader was told that they are.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		return fmt.Errorf("%d bytes at %d, only %d there: %w", len(b), off, n, ErrCorrupt)
	}
	// A disk that cannot read them back has lost them as surely.
	return fmt.Errorf("read %d bytes at %d: %w: %w", len(b), off, err, ErrCorrupt)
}

// checker verifies a container while it passes: structure, every checksum, the claimed digest. It does not decompress.
type checker struct {
	digest [sha256.Size]byte // that the header must claim
	size   int64             // that the container must have

	head   []byte
	need   int // of head
	h      *header
	frame  int
	left   int // of the present frame
	crc    uint32
	passed int64
}

func newChecker(digest [sha256.Size]byte, size int64) *checker {
	return &checker{digest: digest, size: size, need: fixedHeaderBytes}
}

// Write implements io.Writer.
func (c *checker) Write(p []byte) (int, error) {
	total := len(p)
	if c.passed += int64(total); c.passed > c.size {
		return 0, fmt.Errorf("container is longer than the announced %d bytes: %w", c.size, ErrCorrupt)
	}
	for c.h == nil && len(p) > 0 {
		n := min(len(p), c.need-len(c.head))
		c.head = append(c.head, p[:n]...)
		p = p[n:]
		if err := c.header(); err != nil {
			return 0, err
		}
	}
	for len(p) > 0 {
		n := min(len(p), c.left)
		c.crc = crc32.Update(c.crc, castagnoli, p[:n])
		c.left -= n
		p = p[n:]
		if err := c.frameEnds(); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// header looks at the header as far as it has arrived.
func (c *checker) header() (err error) {
	switch {
	case len(c.head) < c.need:
		return nil
	case c.need == fixedHeaderBytes:
		if c.need, err = headerLength(c.head); err != nil {
			return err
		}
		return nil
	}
	if c.h, err = decodeHeader(c.head); err != nil {
		return err
	}
	if c.h.digest != c.digest {
		return fmt.Errorf("container of digest %x, want %x: %w", c.h.digest, c.digest, ErrCorrupt)
	}
	if c.h.size() != c.size {
		return fmt.Errorf("container describes %d bytes, %d announced: %w", c.h.size(), c.size, ErrCorrupt)
	}
	c.head = nil
	if len(c.h.frames) > 0 {
		c.left = c.h.frames[0].stored
	}
	return nil
}

func (c *checker) frameEnds() error {
	if c.left > 0 {
		return nil
	}
	if c.crc != c.h.frames[c.frame].crc {
		return fmt.Errorf("checksum of frame %d: %w", c.frame, ErrCorrupt)
	}
	c.crc = 0
	if c.frame++; c.frame < len(c.h.frames) {
		c.left = c.h.frames[c.frame].stored
	}
	return nil
}

// finish tells whether the container was whole.
func (c *checker) finish() error {
	if c.h == nil || c.passed != c.size || c.frame != len(c.h.frames) {
		return fmt.Errorf("container ends after %d of %d bytes: %w", c.passed, c.size, io.ErrUnexpectedEOF)
	}
	return nil
}

// CheckContainer verifies the checksums of a whole container and that it claims the digest of its id, as a Put would, and returns the
// length of the raw body. It is a function of the bytes alone. Errors: ErrCorrupt, io.ErrUnexpectedEOF.
func CheckContainer(id store.BodyID, encoded []byte) (rawBytes int64, err error) {
	c := newChecker(id.Digest(), int64(len(encoded)))
	if _, err := c.Write(encoded); err != nil {
		return 0, err
	}
	if err := c.finish(); err != nil {
		return 0, err
	}
	return c.h.rawBytes, nil
}
