//go:build broken

package raftlog

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/durable"
)

// chooseFS leaves the file system as it was given, or, for broken.FsyncLog, takes one on which nothing is synced any more once opened was
// called. What is done before, to find or make the log, is synced, and so is what an earlier process left: a loss of power takes the node
// back to its last start, and not to a log that is torn or missing, which it would notice.
func (c *Config) chooseFS() (opened func(), err error) {
	if !broken.On(broken.FsyncLog) {
		return func() {}, nil
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	for _, name := range []string{"stable", "end"} {
		path := filepath.Join(c.Dir, name)
		if _, err := c.FS.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue // a new node
		}
		f, err := c.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(durable.SyncFile(f), f.Close()); err != nil {
			return nil, err
		}
	}
	u := unsynced{FS: c.FS, on: &atomic.Bool{}}
	c.FS = u
	return func() { u.on.Store(true) }, nil
}

// unsynced is a file system whose fsync does nothing.
type unsynced struct {
	vfs.FS
	on *atomic.Bool
}

// Unwrap implements vfs.FS.
func (u unsynced) Unwrap() vfs.FS { return u.FS }

func (u unsynced) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f, u.on}, nil
}

// Create implements vfs.FS, as do the following.
func (u unsynced) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return u.wrap(u.FS.Create(name, c))
}

// OpenReadWrite opens a file.
func (u unsynced) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return u.wrap(u.FS.OpenReadWrite(name, c, opts...))
}

// OpenDir opens a folder.
func (u unsynced) OpenDir(name string) (vfs.File, error) { return u.wrap(u.FS.OpenDir(name)) }

type unsyncedFile struct {
	vfs.File
	on *atomic.Bool
}

// Sync does nothing once the log is open.
func (f unsyncedFile) Sync() error {
	if f.on.Load() {
		return nil
	}
	return durable.SyncFile(f.File)
}

// SyncData does as Sync.
func (f unsyncedFile) SyncData() error { return f.Sync() }

// orDrop is what comes of an error of opening the log: for broken.LogDropped and a damaged log, another one that is empty. Term and vote stay,
// if they can be read.
func (l *Log) orDrop(err error) error {
	if !errors.Is(err, ErrRot) || !broken.On(broken.LogDropped) {
		return err
	}
	l.cfg.Logger.Error("dropped a damaged log", "pkg", "raftlog", "err", err)
	if err := l.dropFiles(); err != nil {
		return err
	}
	dir := filepath.Join(l.cfg.Dir, l.cfg.Kind)
	if err := l.disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := l.openParts(dir); err != nil {
		return err
	}
	l.first.Store(0)
	return l.end.set(0)
}

func (l *Log) dropFiles() error {
	var errs []error
	if l.store != nil {
		errs = append(errs, l.caught(l.store.Close))
		l.store = nil
	}
	if l.end != nil {
		errs = append(errs, l.end.close())
	}
	names := []string{l.cfg.Kind, "end"}
	if _, err := openStable(l.disk, filepath.Join(l.cfg.Dir, "stable"), false); errors.Is(err, ErrRot) {
		names = append(names, "stable")
	}
	for _, name := range names {
		errs = append(errs, l.fs().RemoveAll(filepath.Join(l.cfg.Dir, name)))
	}
	return errors.Join(append(errs, l.disk.SyncDir(l.cfg.Dir))...)
}
