package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft-wal/types"

	"github.com/quorumail/quorumail/store/durable"
)

// segmentFiles gives raft-wal a file system other than the operating system's, for which it has its own.
type segmentFiles struct{ fs vfs.FS }

// ListDir lists names.
func (s segmentFiles) ListDir(dir string) ([]string, error) { return s.fs.List(dir) }

// Create makes a file. The size is a hint.
func (s segmentFiles) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	path := s.fs.PathJoin(dir, name)
	if _, err := s.fs.Stat(path); err == nil {
		return nil, fmt.Errorf("create %s: %w", path, fs.ErrExist)
	}
	f, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &segmentFile{File: f, disk: durable.Disk{FS: s.fs}, dir: dir}, nil
}

// Delete removes a file durably.
func (s segmentFiles) Delete(dir, name string) error {
	return durable.Disk{FS: s.fs}.Remove(s.fs.PathJoin(dir, name))
}

// OpenReader opens a file for reading.
func (s segmentFiles) OpenReader(dir, name string) (types.ReadableFile, error) {
	return s.fs.Open(s.fs.PathJoin(dir, name))
}

// OpenWriter opens a file that must exist.
func (s segmentFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	path := s.fs.PathJoin(dir, name)
	if _, err := s.fs.Stat(path); err != nil {
		return nil, err
	}
	f, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &segmentFile{File: f, disk: durable.Disk{FS: s.fs}, dir: dir}, nil
}

// segmentFile makes its own name durable with its first bytes.
type segmentFile struct {
	vfs.File
	disk  durable.Disk
	dir   string
	named atomic.Bool
}

// Sync makes the bytes durable.
func (f *segmentFile) Sync() error {
	err := durable.SyncFile(f.File)
	if !f.named.Swap(true) {
		err = errors.Join(err, f.disk.SyncDir(f.dir))
	}
	return err
}
