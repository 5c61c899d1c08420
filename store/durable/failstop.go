package durable

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FailStop is a file system that never believes a disk again once it has failed: the first error of a write, a creation, a rename
// or an fsync under its root is reported once, and from then on all of these fail with that error.
//
// A library that writes through it may retry, log or forget errors as it likes: nothing more becomes durable.
type FailStop struct {
	vfs.FS
	root    string
	onFatal func(error)
	once    sync.Once
	failed  atomic.Pointer[error]
	done    chan struct{} // closed at the first failure
}

// NewFailStop guards the files below root. onFatal is called at most once, from the goroutine that met the error, and should end
// the process. Files elsewhere, such as a checkpoint that is being written to another folder, only return their errors.
func NewFailStop(fs vfs.FS, root string, onFatal func(error)) *FailStop {
	if fs == nil {
		fs = vfs.Default
	}
	return &FailStop{FS: fs, root: root, onFatal: onFatal, done: make(chan struct{})}
}

// Err is the error that stopped this file system, or nil.
func (s *FailStop) Err() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// stopped is Err for whoever is about to change something: he waits until onFatal has returned. If it ends the process, as it should, no
// library gets the chance to panic over an error first, or to drown its message.
func (s *FailStop) stopped() error {
	err := s.Err()
	if err != nil {
		s.once.Do(func() {})
	}
	return err
}

// Failed is closed when this file system has stopped: who waits for a library that retries for ever need not wait longer.
func (s *FailStop) Failed() <-chan struct{} { return s.done }

// Fail stops the file system for a reason found elsewhere. Only the first call counts. onFatal must not use the file system.
func (s *FailStop) Fail(err error) {
	if err == nil {
		return
	}
	s.once.Do(func() {
		s.failed.Store(&err)
		close(s.done)
		if s.onFatal != nil {
			s.onFatal(err)
		}
	})
}

// guards tells whether an error on this path stops the file system.
func (s *FailStop) guards(path string) bool {
	return s.root == "" || path == s.root || strings.HasPrefix(path, strings.TrimSuffix(s.root, "/")+"/")
}

// check reports an error of an operation on path, if it is one under the root, and returns it.
func (s *FailStop) check(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if s.guards(path) {
		s.Fail(fmt.Errorf("%s %s: %w", op, path, err))
	}
	return err
}

// open wraps a file that was opened for writing.
func (s *FailStop) open(op, path string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, s.check(op, path, err)
	}
	return &failStopFile{File: f, fs: s, path: path}, nil
}

// Create implements vfs.FS.
func (s *FailStop) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.stopped(); err != nil {
		return nil, err
	}
	f, err := s.FS.Create(name, c)
	return s.open("create", name, f, err)
}

// OpenReadWrite implements vfs.FS.
func (s *FailStop) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := s.stopped(); err != nil {
		return nil, err
	}
	f, err := s.FS.OpenReadWrite(name, c, opts...)
	return s.open("open for writing", name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (s *FailStop) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.stopped(); err != nil {
		return nil, err
	}
	f, err := s.FS.ReuseForWrite(oldname, newname, c)
	return s.open("reuse", newname, f, err)
}

// OpenDir implements vfs.FS.
func (s *FailStop) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &failStopFile{File: f, fs: s, path: name}, nil
}

// Rename implements vfs.FS.
func (s *FailStop) Rename(oldname, newname string) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.check("rename to", newname, s.FS.Rename(oldname, newname))
}

// Link implements vfs.FS. A failed link is only returned: callers fall back to copying.
func (s *FailStop) Link(oldname, newname string) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.FS.Link(oldname, newname)
}

// Remove implements vfs.FS. A failed removal is only returned: it leaves garbage, and breaks nothing.
func (s *FailStop) Remove(name string) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

// RemoveAll implements vfs.FS, like Remove.
func (s *FailStop) RemoveAll(name string) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.FS.RemoveAll(name)
}

// MkdirAll implements vfs.FS.
func (s *FailStop) MkdirAll(dir string, perm os.FileMode) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.FS.MkdirAll(dir, perm)
}

// Lock implements vfs.FS.
func (s *FailStop) Lock(name string) (io.Closer, error) { return s.FS.Lock(name) }

// Unwrap implements vfs.FS.
func (s *FailStop) Unwrap() vfs.FS { return s.FS }

// failStopFile reports the errors of a file to its file system.
type failStopFile struct {
	vfs.File
	fs   *FailStop
	path string
}

func (f *failStopFile) Write(p []byte) (int, error) {
	if err := f.fs.stopped(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	return n, f.fs.check("write", f.path, err)
}

func (f *failStopFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.stopped(); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(p, off)
	return n, f.fs.check("write", f.path, err)
}

func (f *failStopFile) Sync() error {
	if err := f.fs.stopped(); err != nil {
		return err
	}
	return f.fs.check("fsync", f.path, f.File.Sync())
}

func (f *failStopFile) SyncData() error {
	if err := f.fs.stopped(); err != nil {
		return err
	}
	return f.fs.check("fdatasync", f.path, f.File.SyncData())
}

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	if err := f.fs.stopped(); err != nil {
		return false, err
	}
	full, err := f.File.SyncTo(length)
	return full, f.fs.check("fsync part of", f.path, err)
}
