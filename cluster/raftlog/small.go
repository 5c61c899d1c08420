package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/quorumail/quorumail/store/durable"
)

// smallFile is a file that is replaced as a whole: a checksum, then the content. So a crash leaves the old or the new one, and damage
// is never the one before, as it can be with bbolt, which has two first pages.
type smallFile struct {
	disk durable.Disk
	path string
}

// smallLimit bounds what is read: the list of raft-wal's segments grows by some hundred bytes for each.
const smallLimit = 16 << 20

func (f smallFile) write(content []byte) error {
	out := binary.BigEndian.AppendUint32(nil, crc32.Checksum(content, castagnoli))
	return f.disk.WriteFile(f.path, append(out, content...), 0o600)
}

// read returns nil when there is no file.
func (f smallFile) read() ([]byte, error) {
	raw, err := f.disk.ReadFile(f.path, smallLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	if len(raw) < 4 || binary.BigEndian.Uint32(raw) != crc32.Checksum(raw[4:], castagnoli) {
		return nil, fmt.Errorf("%s: %w", f.path, ErrRot)
	}
	return raw[4:], nil
}
