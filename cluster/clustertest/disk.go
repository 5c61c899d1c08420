package clustertest

import (
	"errors"
	"path"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// errBroken is what a broken disk says.
var errBroken = errors.New("input/output error")

// disk is a file system whose writes fail or hang on command.
type disk struct {
	vfs.FS
	mu    sync.Mutex
	mode  string        // "", "fail" or "hang"; guarded by mu
	over  bool          // the process ended: nothing breaks any more; guarded by mu
	works chan struct{} // closed when it no longer hangs; guarded by mu
}

func newDisk(under vfs.FS) *disk {
	d := &disk{works: make(chan struct{})}
	d.FS = errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		return d.write(op)
	}))
	return d
}

func (d *disk) set(mode string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	d.mode = mode
	close(d.works)
	d.works = make(chan struct{})
}

// end lets whoever hangs go on.
func (d *disk) end() {
	d.set("")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
}

func (d *disk) write(op errorfs.Op) error {
	d.mu.Lock()
	mode, works := d.mode, d.works
	d.mu.Unlock()
	switch {
	case mode == "fail":
		return errBroken
	case mode == "hang" && mayHang(op):
		<-works
	}
	return nil
}

// mayHang is false for what raft-wal does while it holds a mutex that others wait for: in a bubble, time would stand still for ever.
func mayHang(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData:
		return path.Ext(op.Path) == ".wal" || strings.HasPrefix(path.Base(op.Path), "stable") || path.Base(op.Path) == "end"
	}
	return false
}
