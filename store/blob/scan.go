package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// scanWindow is how much of a segment is read at a time.
const scanWindow = 256 << 10

// scanned is a record that a scan found whole.
type scanned struct {
	record
	offset    int64
	tombstone tombstone // of kindTombstone
}

// scan finds the records of a segment from an offset on, and calls f for each whose header and payload are whole. What is not, it
// steps over, byte by byte to the next header that is right. It returns the end of the last whole record, or from.
//
// It is a function of the bytes alone: whatever a crash left, the same records are found each time.
func scan(r io.ReaderAt, size int64, s segmentID, from int64, f func(scanned) error) (end int64, err error) {
	w := &window{source: r, size: size}
	end = from
	for offset := from; offset+total(0) <= size; {
		b, err := w.bytes(offset, recordHeaderBytes)
		if err != nil {
			return end, err
		}
		rec, ok := decodeRecord(b, s, offset)
		if ok && offset+total(rec.length) <= size {
			found, whole, err := check(w, rec, offset)
			if err != nil {
				return end, err
			}
			if whole {
				if err := f(found); err != nil {
					return end, err
				}
				offset += total(rec.length)
				end = offset
				continue
			}
		}
		if offset, err = w.next(offset+1, recordMagic); err != nil {
			return end, err
		}
	}
	return end, nil
}

// check reads a record's payload.
func check(w *window, rec record, offset int64) (scanned, bool, error) {
	found := scanned{record: rec, offset: offset}
	p := newPayloadReader(w, offset, rec)
	if rec.kind == kindTombstone {
		var b [tombstoneBytes]byte
		if _, err := io.ReadFull(p, b[:]); err != nil {
			return found, false, w.failure(err)
		}
		found.tombstone = decodeTombstone(b[:])
	}
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{p}, w.copies[:]); err != nil {
		return found, false, w.failure(err)
	}
	return found, true, nil
}

// window reads a file through a buffer that moves forward.
type window struct {
	source io.ReaderAt
	size   int64
	start  int64
	buffer []byte
	copies [32 << 10]byte
	err    error // of the source, other than a short read
}

// failure tells an unreadable file from unfit bytes, which are nil.
func (w *window) failure(err error) error {
	if w.err != nil {
		return fmt.Errorf("scan segment: %w", err)
	}
	return nil
}

// bytes returns n bytes at an offset, fewer at the end of the file. They are valid until the next call.
func (w *window) bytes(offset int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-offset))
	if at := offset - w.start; at >= 0 && at+int64(n) <= int64(len(w.buffer)) {
		return w.buffer[at : at+int64(n)], nil
	}
	length := min(int64(max(n, scanWindow)), w.size-offset)
	if int64(cap(w.buffer)) < length {
		w.buffer = make([]byte, length)
	}
	w.start, w.buffer = offset, w.buffer[:length]
	got, err := w.source.ReadAt(w.buffer, offset)
	if int64(got) < length {
		w.buffer = w.buffer[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		w.err = err
		return nil, fmt.Errorf("read segment at %d: %w", offset, err)
	}
	return w.buffer[:n], nil
}

// ReadAt implements io.ReaderAt through the buffer.
func (w *window) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= w.size {
		return 0, io.EOF
	}
	b, err := w.bytes(offset, len(p))
	if err != nil {
		return 0, err
	}
	return copied(copy(p, b), len(p))
}

// next finds the first place of a text at or after an offset, or the end of the file.
func (w *window) next(offset int64, text string) (int64, error) {
	for offset+int64(len(text)) <= w.size {
		if _, err := w.bytes(offset, len(text)); err != nil {
			return 0, err
		}
		b := w.buffer[offset-w.start:] // all that is in memory: a step must not cost a read
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			return offset + int64(i), nil
		}
		offset += int64(len(b) - len(text) + 1)
	}
	return w.size, nil
}
