// Package blob keeps message bodies on this node's disk, written once and read often, each named by a store.BodyID.
//
// # Data flow
//
// The node that accepts a message streams the raw bytes into an Encoder, which compresses them in frames and yields an Encoded: a
// self-describing container. The container is what travels, inside a command or to peers, and what Put appends to a segment file.
// Put checks every checksum of the container and that it claims the digest of its id, before anything is stored. With sync it
// returns after an fsync that it shares with all Puts that wait at the same time; without, the body is durable after the next Sync.
// Open gives the raw bytes back, reading only the frames that are asked for; OpenEncoded gives the container for a peer.
//
// Nothing that fails a checksum is ever handed out: the read fails with ErrCorrupt, the body counts as missing from then on, and a
// Put of the same id repairs it.
//
// # Disk format
//
// All integers are little-endian; all checksums are CRC-32C. A folder holds LOCK, segments seg-NNNNNNNNNNNNNNNN (decimal), and the
// index, a Pebble store in index/.
//
//	container:  "QMB1" version:8 zero:24 rawBytes:64 sha256:256 {stored:32 crc:32}* headerCRC:32 frame*
//	            one frame per 256 KiB of raw bytes; the top bit of stored says that the frame is not compressed, else it is zstd
//	segment:    header header record*
//	header:     "QMSEG001" number:64 salt:64 flags:32 crc:32          (twice: the salt is needed to read anything)
//	record:     "QREC" kind:8 zero:24 epoch:64 length:64 id:320 crc:32 payload crc:32
//	            kind 1 is a body, its payload a container; kind 2 is a tombstone, its payload {segment:64 offset:64 salt:64} of the
//	            record that it deletes
//
// The checksum of a record's header includes the segment's random salt, its number and the record's offset: bytes of a message
// never look like a record, wherever they stand. The payload's checksum begins with the header's.
//
// The segments are the truth. The index can be lost and is rebuilt from them; see DESIGN.md for what happens at Open after a crash.
//
// # Goroutines
//
// None of its own (the index's Pebble has some, ended by Close). Compact and Scrub run in the caller's goroutine. Of the callers
// that wait for an fsync, one does it for all.
package blob
