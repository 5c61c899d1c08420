package durable

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markerPrefix begins the names of the files with which Pebble says which of its other files count.
const markerPrefix = "marker."

// Markers is a file system for Pebble on which a marker never survives a crash that the file it names does not survive.
//
// Pebble creates a manifest, fsyncs it, creates the marker that names it, and only then fsyncs the folder. A file system that keeps the
// order of creations forgives that; POSIX promises no order, and the crash test found a store that could not be opened. So the folder is
// fsynced before each marker too. Markers move when a store is opened and when its manifest has become long.
type Markers struct{ vfs.FS }

// Create implements vfs.FS.
func (m Markers) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(m.PathBase(name), markerPrefix) {
		if err := (Disk{FS: m.FS}).SyncDir(m.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return m.FS.Create(name, c)
}

// Unwrap implements vfs.FS.
func (m Markers) Unwrap() vfs.FS { return m.FS }
