package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tempSuffix marks the unfinished file of a WriteFile. One that is left over by a crash is overwritten by the next WriteFile.
const tempSuffix = ".tmp"

// Disk does durable operations through a file system.
type Disk struct {
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
}

// OS is the operating system's file system.
var OS = Disk{}

// WriteFile replaces the file at path by data, so that after a crash either the old or the new content is there, whole.
// perm applies to the operating system's files only.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	return OS.WriteFile(path, data, perm)
}

// MkdirAll creates a folder with its missing parents and makes all their entries durable.
func MkdirAll(path string, perm os.FileMode) error { return OS.MkdirAll(path, perm) }

// Rename moves oldPath to newPath, replacing what is there, and makes it durable.
func Rename(oldPath, newPath string) error { return OS.Rename(oldPath, newPath) }

// Remove removes a file or an empty folder and makes it durable. A path that does not exist is an error (fs.ErrNotExist).
func Remove(path string) error { return OS.Remove(path) }

// FreeBytes is the disk space that this process may still use on the file system that holds path.
func FreeBytes(path string) (uint64, error) { return OS.FreeBytes(path) }

// Syncer is an open file whose bytes can be made durable: *os.File and vfs.File are.
type Syncer interface{ Sync() error }

// SyncFile makes the bytes and the metadata of an open file durable, not its name: see Disk.SyncDir.
func SyncFile(f Syncer) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync file: %w", err)
	}
	return nil
}

// SyncData makes the bytes of an open file durable, and of its metadata what is needed to read them back (fdatasync).
func SyncData(f vfs.File) error {
	if err := f.SyncData(); err != nil {
		return fmt.Errorf("fdatasync file: %w", err)
	}
	return nil
}

// IsNoSpace tells whether an error means a full disk or an exhausted quota.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (d Disk) fs() vfs.FS {
	if d.FS == nil {
		return vfs.Default
	}
	return d.FS
}

// isOS tells whether paths are those of the operating system, also below wrappers.
func (d Disk) isOS() bool { return vfs.Root(d.fs()) == vfs.Default }

// WriteFile is the function WriteFile on this file system.
func (d Disk) WriteFile(path string, data []byte, perm os.FileMode) error {
	temp := path + tempSuffix
	if err := d.writeTemp(temp, data, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return d.Rename(temp, path)
}

func (d Disk) writeTemp(temp string, data []byte, perm os.FileMode) error {
	f, err := d.fs().Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = d.fill(f, temp, data, perm)
	return errors.Join(err, f.Close())
}

func (d Disk) fill(f vfs.File, temp string, data []byte, perm os.FileMode) error {
	// The mode is set while the file is still empty, so that a secret is never readable under the default mode.
	if d.isOS() {
		if err := os.Chmod(temp, perm); err != nil {
			return err
		}
	}
	// A vfs.File may scribble over what it is given.
	if _, err := f.Write(append([]byte(nil), data...)); err != nil {
		return err
	}
	return SyncFile(f)
}

// SyncDir makes the entries of a folder durable: the names that were created, renamed or removed in it.
func (d Disk) SyncDir(path string) error {
	f, err := d.fs().OpenDir(path)
	if err != nil {
		return fmt.Errorf("open folder %s to fsync it: %w", path, err)
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("fsync folder %s: %w", path, err)
	}
	return nil
}

// MkdirAll is the function MkdirAll on this file system. A folder that exists is left as it is, but its own name is made durable
// all the same: the process that created it may have crashed before it did so.
func (d Disk) MkdirAll(path string, perm os.FileMode) error {
	fs := d.fs()
	missing := []string{path}
	for p := fs.PathDir(path); p != missing[len(missing)-1]; p = fs.PathDir(p) {
		if _, err := fs.Stat(p); err == nil {
			break
		}
		missing = append(missing, p)
	}
	if err := fs.MkdirAll(path, perm); err != nil {
		return fmt.Errorf("create folder %s: %w", path, err)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := d.SyncDir(fs.PathDir(missing[i])); err != nil {
			return err
		}
	}
	return nil
}

// Rename is the function Rename on this file system.
func (d Disk) Rename(oldPath, newPath string) error {
	fs := d.fs()
	if err := fs.Rename(oldPath, newPath); err != nil {
		return fmt.Errorf("rename %s to %s: %w", oldPath, newPath, err)
	}
	if err := d.SyncDir(fs.PathDir(newPath)); err != nil {
		return err
	}
	if from := fs.PathDir(oldPath); from != fs.PathDir(newPath) {
		return d.SyncDir(from)
	}
	return nil
}

// Remove is the function Remove on this file system.
func (d Disk) Remove(path string) error {
	if err := d.fs().Remove(path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return d.SyncDir(d.fs().PathDir(path))
}

// ReadFile reads a whole file of at most limitBytes.
func (d Disk) ReadFile(path string, limitBytes int64) ([]byte, error) {
	f, err := d.fs().Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limitBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limitBytes {
		return nil, fmt.Errorf("read %s: over %d bytes", path, limitBytes)
	}
	return data, nil
}

// Truncate cuts a file, without making that durable. It gives disk space back; nobody may rely on it for what a later reader
// sees. On a file system that cannot truncate it does nothing.
func (d Disk) Truncate(path string, sizeBytes int64) error {
	if !d.isOS() {
		return nil
	}
	if err := os.Truncate(filepath.Clean(path), sizeBytes); err != nil {
		return fmt.Errorf("truncate %s to %d bytes: %w", path, sizeBytes, err)
	}
	return nil
}

// FreeBytes is the function FreeBytes on this file system.
func (d Disk) FreeBytes(path string) (uint64, error) {
	usage, err := d.fs().GetDiskUsage(path)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return usage.AvailBytes, nil
}
