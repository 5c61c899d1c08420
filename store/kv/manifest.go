package kv

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/quorumail/quorumail/store/durable"
)

// Pebble's manifest says which tables and logs make up the store. Pebble takes a damaged record in it for the torn end of a crash and
// forgets all that follows: it would open an older store, whose logs are gone, and nobody would know. So before any file is removed or
// reused, a seal notes durably how long the manifest is and the checksum of what it says; Open demands at least that. What lies beyond
// the seal may be torn: nothing it replaces has been removed.

// sealFile holds the seal: the manifest's name, the sealed length and its CRC-32C, and a CRC-32C of these.
const sealFile = "MANIFEST.seal"

// maxSealBytes bounds the seal's file.
const maxSealBytes = 200

// errManifest marks a damaged manifest; IsCorrupt recognises it.
var errManifest = fmt.Errorf("the manifest is damaged: %w", pebble.ErrCorruption)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal is what is known of a manifest.
type seal struct {
	name string
	size int64
	crc  uint32
}

func (s seal) text() string { return fmt.Sprintf("%s %d %08x", s.name, s.size, s.crc) }

func (s seal) encode() []byte {
	return fmt.Appendf(nil, "%s %08x\n", s.text(), crc32.Checksum([]byte(s.text()), castagnoli))
}

func decodeSeal(raw []byte) (s seal, err error) {
	var sum uint32
	if _, err := fmt.Sscanf(string(raw), "%s %d %x %x\n", &s.name, &s.size, &s.crc, &sum); err != nil || sum != crc32.Checksum([]byte(s.text()), castagnoli) {
		return s, fmt.Errorf("%w: its seal cannot be read", errManifest)
	}
	return s, nil
}

// checkManifest compares the manifest with its seal, before Pebble opens the store.
func checkManifest(fsys vfs.FS, dir string) error {
	raw, err := durable.Disk{FS: fsys}.ReadFile(fsys.PathJoin(dir, sealFile), maxSealBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever removed here
	}
	if err != nil {
		return fmt.Errorf("read the seal of the manifest: %w", err)
	}
	want, err := decodeSeal(raw)
	if err != nil {
		return err
	}
	name, err := atomicfs.ReadMarker(fsys, dir, "manifest")
	if err != nil {
		return fmt.Errorf("find the manifest: %w", err)
	}
	if name != want.name {
		// A new manifest repeats all that the one before said. The numbers have at least six digits.
		if len(name) > len(want.name) || len(name) == len(want.name) && name > want.name {
			return nil
		}
		return fmt.Errorf("%w: %q is used, and %s was", errManifest, name, want.name)
	}
	got, err := extendSeal(fsys, dir, seal{name: name}, want.size)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) || err == nil && got != want {
		return fmt.Errorf("%w: %s is not what was sealed", errManifest, name)
	}
	return err
}

// extendSeal reads the manifest on to size.
func extendSeal(fsys vfs.FS, dir string, s seal, size int64) (seal, error) {
	f, err := fsys.Open(fsys.PathJoin(dir, s.name))
	if err != nil {
		return s, err
	}
	defer f.Close()
	more := make([]byte, size-s.size)
	if _, err := io.ReadFull(io.NewSectionReader(f, s.size, size-s.size), more); err != nil {
		return s, err
	}
	return seal{s.name, size, crc32.Update(s.crc, castagnoli, more)}, nil
}

// sealingFS seals the manifest before a file of the store is removed or reused.
type sealingFS struct {
	vfs.FS
	dir string

	mu   sync.Mutex
	last seal // guarded by mu
}

// Unwrap gives the file system below.
func (s *sealingFS) Unwrap() vfs.FS { return s.FS }

// Remove implements vfs.FS.
func (s *sealingFS) Remove(name string) error {
	if err := s.sealFor(name); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

// ReuseForWrite implements vfs.FS.
func (s *sealingFS) ReuseForWrite(oldName, newName string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.sealFor(oldName); err != nil {
		return nil, err
	}
	return s.FS.ReuseForWrite(oldName, newName, category)
}

// sealFor seals what the manifest says now, if the file is one that it may have named.
func (s *sealingFS) sealFor(name string) error {
	base := s.PathBase(name)
	if s.PathDir(name) != s.dir || !strings.HasSuffix(base, ".log") && !strings.HasSuffix(base, ".sst") && !strings.HasPrefix(base, "MANIFEST-") {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.seal(); err != nil {
		return fmt.Errorf("seal the manifest: %w", err)
	}
	return nil
}

// seal is called with s.mu held.
func (s *sealingFS) seal() error {
	name, err := atomicfs.ReadMarker(s.FS, s.dir, "manifest")
	if err != nil || name == "" {
		return err
	}
	at := s.last
	if name != at.name {
		at = seal{name: name}
	}
	size, err := s.syncManifest(name)
	if err != nil || size == at.size {
		return err
	}
	if at, err = extendSeal(s.FS, s.dir, at, size); err != nil {
		return err
	}
	if err := (durable.Disk{FS: s.FS}).WriteFile(s.PathJoin(s.dir, sealFile), at.encode(), 0o600); err != nil {
		return err
	}
	s.last = at
	return nil
}

// syncManifest makes the manifest durable up to the size that it returns: what was sealed must not be lost with the power.
func (s *sealingFS) syncManifest(name string) (int64, error) {
	f, err := s.FS.OpenReadWrite(s.PathJoin(s.dir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), durable.SyncFile(f)
}
