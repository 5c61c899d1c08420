package faultfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// file is a regular file with open handles or unsafe changes. All fields are guarded by Disk.mu.
type file struct {
	ino     uint64
	back    *os.File // open for reading and writing, wherever its names go
	handles int
	changes []*byteChange // not safe yet, oldest first
}

// folder is a folder by its descriptor.
type folder struct {
	fd   int
	path string // of the grave only
}

// byteChange is a change of a file's bytes or size.
type byteChange struct {
	seq     uint64
	f       *file
	off     int64
	old     []byte // what stood at off
	new     []byte // what was written at off; nil when the file was cut or extended to newSize
	oldSize int64
	newSize int64
	lost    bool // by an fsync that failed: no later one saves it
	safe    bool // stays in the journal only because a lost change is before it
}

func (c *byteChange) undo() error {
	if len(c.old) > 0 {
		if _, err := c.f.back.WriteAt(c.old, c.off); err != nil {
			return fmt.Errorf("undo a write: %w", err)
		}
	}
	return c.f.back.Truncate(c.oldSize)
}

func (c *byteChange) redo() error {
	if c.new == nil {
		return c.f.back.Truncate(c.newSize)
	}
	_, err := c.f.back.WriteAt(c.new, c.off)
	return err
}

// nameChange is a change of names: one or two moves, done together.
type nameChange struct {
	seq   uint64
	moves []move
}

// move takes what has one name to another, which must be free. Making a file moves it out of the grave, removing it moves it there.
type move struct{ from, to place }

// place is a name in a folder.
type place struct {
	in   *folder
	name string
}

func (m move) do() error {
	err := unix.Renameat2(m.from.in.fd, m.from.name, m.to.in.fd, m.to.name, unix.RENAME_NOREPLACE)
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", m.from.name, m.to.name, err)
	}
	return nil
}

func (c *nameChange) undo() error {
	for _, m := range slices.Backward(c.moves) {
		if err := (move{m.to, m.from}).do(); err != nil {
			return err
		}
	}
	return nil
}

func (c *nameChange) redo() error {
	for _, m := range c.moves {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// touches tells whether a change concerns any name in a folder.
func (c *nameChange) touches(in *folder) bool {
	return slices.ContainsFunc(c.moves, func(m move) bool { return m.from.in == in || m.to.in == in })
}

// shares tells whether two changes concern one name.
func (c *nameChange) shares(other *nameChange, grave *folder) bool {
	for _, m := range c.moves {
		for _, p := range []place{m.from, m.to} {
			if p.in != grave && slices.ContainsFunc(other.moves, func(o move) bool { return o.from == p || o.to == p }) {
				return true
			}
		}
	}
	return false
}

// The rest is called with d.mu held.

func (d *Disk) nextSeq() uint64 {
	d.seq++
	return d.seq
}

// plot is a fresh name in the grave.
func (d *Disk) plot() place {
	d.buried++
	return place{d.grave, strconv.FormatUint(d.buried, 10)}
}

func (d *Disk) noteNames(moves ...move) {
	d.names = append(d.names, &nameChange{seq: d.nextSeq(), moves: moves})
}

// syncFile makes a file's bytes safe.
func (d *Disk) syncFile(f *file) {
	lost := false
	for _, c := range f.changes {
		c.safe = !c.lost
		lost = lost || c.lost
	}
	if !lost {
		f.changes = nil
	}
	if d.cfg.Journaled {
		d.syncNames(func(*nameChange) bool { return true })
	}
}

// loseFile makes a file's unsafe bytes unsavable, as a failed fsync does on Linux: the pages count as clean from then on.
func (d *Disk) loseFile(f *file) {
	for _, c := range f.changes {
		c.lost = c.lost || !c.safe
	}
}

// syncFolder makes the names in a folder safe.
func (d *Disk) syncFolder(in *folder) {
	d.syncNames(func(c *nameChange) bool { return d.cfg.Journaled || c.touches(in) })
}

// syncNames makes the chosen changes safe, with the earlier ones of the same names.
func (d *Disk) syncNames(choose func(*nameChange) bool) {
	var safe, left []*nameChange
	for _, c := range slices.Backward(d.names) {
		if choose(c) || slices.ContainsFunc(safe, func(s *nameChange) bool { return s.shares(c, d.grave) }) {
			safe = append(safe, c)
		} else {
			left = append(left, c)
		}
	}
	slices.Reverse(left)
	d.names = left
	for _, c := range safe {
		for _, m := range c.moves {
			if m.to.in == d.grave {
				d.forget(m.to)
			}
		}
	}
}

// forget removes for good what lies in the grave.
func (d *Disk) forget(p place) {
	var st unix.Stat_t
	if unix.Fstatat(p.in.fd, p.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return
	}
	if in := d.folders[st.Ino]; in != nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		d.syncFolder(in)
		delete(d.folders, st.Ino)
		_ = unix.Close(in.fd) // only a path
	}
	if f := d.files[st.Ino]; f != nil && st.Nlink == 1 {
		f.changes = nil
		d.drop(f)
	}
	_ = os.RemoveAll(filepath.Join(d.grave.path, p.name)) // what is left over goes with the next crash
}

// drop closes a file that nothing needs any more.
func (d *Disk) drop(f *file) {
	if f.handles == 0 && len(f.changes) == 0 && d.files[f.ino] == f {
		delete(d.files, f.ino)
		_ = f.back.Close() // its bytes are in the kernel
	}
}
