package blob

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/quorumail/quorumail/store"
)

const (
	segmentMagic       = "QMSEG001"
	segmentHeaderBytes = 32
	recordsBegin       = 2 * segmentHeaderBytes
	segmentLarge       = 1 // flag: holds one body, and takes no more

	recordMagic       = "QREC"
	recordHeaderBytes = 68
	recordFooterBytes = 4
	tombstoneBytes    = 24

	kindBody      = 1
	kindTombstone = 2
)

// segmentID is what a segment's header says. The salt makes every checksum in the segment its own.
type segmentID struct {
	number uint64
	salt   uint64
	flags  uint32
}

// encode writes both copies of the header.
func (s segmentID) encode() []byte {
	b := []byte(segmentMagic)
	b = binary.LittleEndian.AppendUint64(b, s.number)
	b = binary.LittleEndian.AppendUint64(b, s.salt)
	b = binary.LittleEndian.AppendUint32(b, s.flags)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, b...)
}

// decodeSegment reads a header from either of its copies.
func decodeSegment(b []byte, number uint64) (segmentID, error) {
	for ; len(b) >= segmentHeaderBytes; b = b[segmentHeaderBytes:] {
		crc := binary.LittleEndian.Uint32(b[segmentHeaderBytes-4:])
		if !bytes.HasPrefix(b, []byte(segmentMagic)) || crc32.Checksum(b[:segmentHeaderBytes-4], castagnoli) != crc {
			continue
		}
		s := segmentID{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint32(b[24:])}
		if s.number == number {
			return s, nil
		}
	}
	return segmentID{}, fmt.Errorf("header of segment %d: %w", number, ErrCorrupt)
}

// location is where a record begins.
type location struct {
	segment uint64
	offset  int64
}

// record is the decoded header of a record.
type record struct {
	kind   byte
	epoch  uint64
	length int64 // of the payload
	id     store.BodyID
	crc    uint32 // of this header; the payload's checksum begins with it
}

// total is how many bytes a record with this payload takes.
func total(payload int64) int64 { return recordHeaderBytes + payload + recordFooterBytes }

// headerCRC is the checksum of a record's header at its place.
func headerCRC(s segmentID, offset int64, header []byte) uint32 {
	var place [24]byte
	binary.LittleEndian.PutUint64(place[:], s.salt)
	binary.LittleEndian.PutUint64(place[8:], s.number)
	binary.LittleEndian.PutUint64(place[16:], uint64(offset))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, header[:recordHeaderBytes-4])
}

// encode writes the header of a record at its place into b, and returns the checksum with which the payload's begins.
func (r record) encode(b []byte, s segmentID, offset int64) uint32 {
	copy(b, recordMagic)
	b[4], b[5], b[6], b[7] = r.kind, 0, 0, 0
	binary.LittleEndian.PutUint64(b[8:], r.epoch)
	binary.LittleEndian.PutUint64(b[16:], uint64(r.length))
	copy(b[24:], r.id[:])
	crc := headerCRC(s, offset, b)
	binary.LittleEndian.PutUint32(b[recordHeaderBytes-4:], crc)
	return crc
}

// seal writes header and footer around a payload that stands in b behind room for the header, with room for the footer behind it.
func (r record) seal(b []byte, s segmentID, offset int64) {
	crc := r.encode(b, s, offset)
	end := len(b) - recordFooterBytes
	binary.LittleEndian.PutUint32(b[end:], crc32.Update(crc, castagnoli, b[recordHeaderBytes:end]))
}

// decodeRecord reads a header at its place.
func decodeRecord(b []byte, s segmentID, offset int64) (record, bool) {
	if len(b) < recordHeaderBytes || !bytes.HasPrefix(b, []byte(recordMagic)) {
		return record{}, false
	}
	crc := binary.LittleEndian.Uint32(b[recordHeaderBytes-4:])
	if headerCRC(s, offset, b) != crc {
		return record{}, false
	}
	r := record{kind: b[4], epoch: binary.LittleEndian.Uint64(b[8:]), length: int64(binary.LittleEndian.Uint64(b[16:])),
		id: store.BodyID(b[24:64]), crc: crc}
	valid := r.kind == kindBody && r.length >= 0 && r.length <= maxEncodedBytes || r.kind == kindTombstone && r.length == tombstoneBytes
	return r, valid
}

// maxEncodedBytes is the longest container: nothing compresses, and the header.
const maxEncodedBytes = MaxRawBytes + fixedHeaderBytes + MaxRawBytes/FrameBytes*frameEntryBytes + 4

// tombstone says which record is deleted. The salt makes sure that it is not a later segment of the same number.
type tombstone struct {
	victim location
	salt   uint64
}

func (t tombstone) encode(b []byte) {
	binary.LittleEndian.PutUint64(b, t.victim.segment)
	binary.LittleEndian.PutUint64(b[8:], uint64(t.victim.offset))
	binary.LittleEndian.PutUint64(b[16:], t.salt)
}

func decodeTombstone(b []byte) tombstone {
	return tombstone{location{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:]))}, binary.LittleEndian.Uint64(b[16:])}
}

// payloadReader reads a record's payload and checks its checksum at the end.
type payloadReader struct {
	source io.ReaderAt
	at     int64
	left   int64
	crc    uint32
}

func newPayloadReader(source io.ReaderAt, offset int64, r record) *payloadReader {
	return &payloadReader{source: source, at: offset + recordHeaderBytes, left: r.length, crc: r.crc}
}

// Read implements io.Reader. Instead of io.EOF it returns ErrCorrupt if the checksum is wrong.
func (p *payloadReader) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, p.end()
	}
	b = b[:min(int64(len(b)), p.left)]
	if err := readFull(p.source, b, p.at); err != nil {
		return 0, err
	}
	p.crc = crc32.Update(p.crc, castagnoli, b)
	p.at += int64(len(b))
	p.left -= int64(len(b))
	return len(b), nil
}

func (p *payloadReader) end() error {
	var footer [recordFooterBytes]byte
	if err := readFull(p.source, footer[:], p.at); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(footer[:]) != p.crc {
		return fmt.Errorf("checksum of a record's payload: %w", ErrCorrupt)
	}
	return io.EOF
}
