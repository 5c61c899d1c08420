package blob

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
)

// FuzzSegment reads arbitrary bytes as a segment whose salt is known: whatever a scan reports is whole, in order, and reported again.
func FuzzSegment(f *testing.F) {
	s := segmentID{number: 7, salt: 0x1234}
	segment := s.encode()
	for i, payload := range []string{"", "abc", "QREC QREC QREC"} {
		b := make([]byte, total(int64(len(payload))))
		copy(b[recordHeaderBytes:], payload)
		record{kind: kindBody, epoch: uint64(i), length: int64(len(payload)), id: [40]byte{byte(i)}}.seal(b, s, int64(len(segment)))
		segment = append(segment, b...)
	}
	tomb := make([]byte, total(tombstoneBytes))
	tombstone{location{7, recordsBegin}, s.salt}.encode(tomb[recordHeaderBytes:])
	record{kind: kindTombstone, length: tombstoneBytes, id: [40]byte{1}}.seal(tomb, s, int64(len(segment)))
	f.Add(append(bytes.Clone(segment), tomb...))
	f.Add(append(segment[:len(segment)-9], "QRECQREC"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if id, err := decodeSegment(data[:min(len(data), recordsBegin)], s.number); err == nil && id.number != s.number {
			t.Errorf("header of segment %d", id.number)
		}
		var found []scanned
		last := int64(recordsBegin)
		end, err := scan(bytes.NewReader(data), int64(len(data)), s, recordsBegin, func(x scanned) error {
			if x.offset < last || x.offset+total(x.length) > int64(len(data)) {
				t.Fatalf("record at %d of %d bytes, after %d, in %d", x.offset, x.length, last, len(data))
			}
			last = x.offset + total(x.length)
			found = append(found, x)
			return nil
		})
		if err != nil || end != last {
			t.Fatalf("scan ended at %d, the last record at %d: %v", end, last, err)
		}
		for _, x := range found {
			rec, ok := decodeRecord(data[x.offset:], s, x.offset)
			payload, err := io.ReadAll(newPayloadReader(bytes.NewReader(data), x.offset, rec))
			if !ok || err != nil || int64(len(payload)) != x.length {
				t.Fatalf("record at %d: %v, %d bytes, %v", x.offset, ok, len(payload), err)
			}
		}
	})
}

// FuzzContainer reads arbitrary bytes as a container: it is refused, or its body has the digest that it claims; and what the check of a
// Put lets pass can be opened.
func FuzzContainer(f *testing.F) {
	for _, size := range []int{0, 1, 1000, FrameBytes + 5} {
		f.Add(encodeSample(f, 1, text(size)).encoded)
		f.Add(makeSample(f, 1, size).encoded)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var digest [sha256.Size]byte
		if len(data) >= fixedHeaderBytes {
			digest = [sha256.Size]byte(data[16:])
		}
		c := newChecker(digest, int64(len(data)))
		_, errCheck := c.Write(data)
		errCheck = errors.Join(errCheck, c.finish())
		r, err := NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if errCheck == nil {
				t.Fatalf("the check passed what cannot be opened: %v", err)
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		defer r.Close()
		got := sha256.New()
		n, err := r.WriteTo(got)
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Fatalf("error of another kind: %v", err)
		case err == nil && (errCheck != nil || n != r.Size() || [sha256.Size]byte(got.Sum(nil)) != digest):
			t.Fatalf("%d of %d bytes were served; check: %v", n, r.Size(), errCheck)
		}
	})
}
