package faultfs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keep says which of the unsafe changes survive a crash.
type Keep int

const (
	KeepAll    Keep = iota // as after kill -9: the kernel lives on
	KeepNone               // only what was synced
	KeepPrefix             // those up to some moment, the last write torn
	KeepRandom             // any of them: sectors of 512 bytes, and names each on its own
)

// String is the word for a choice.
func (k Keep) String() string {
	return [...]string{"all", "none", "prefix", "random"}[k]
}

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// Loss counts what a crash did to the unsafe changes. A write of which some sectors survived counts as lost.
type Loss struct{ Kept, Lost int }

// Cut is the moment in which the power goes: what is done afterwards fails with EIO and does not count, and what waits or hangs fails too.
// The programs may still run; when they have ended, Crash chooses what was kept.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.off {
		d.off = true
		close(d.dark)
	}
}

// enter locks the disk for a change, unless the power is lost.
func (d *Disk) enter() syscall.Errno {
	d.mu.Lock()
	if d.off {
		d.mu.Unlock()
		return syscall.EIO
	}
	return 0
}

// Crash ends the mount as a loss of power does, now or when Cut was called, and leaves in the backing folder what keep chooses. The programs
// that used the mount must have ended.
func (d *Disk) Crash(keep Keep) (Loss, error) {
	d.Cut()
	if err := d.unmount(); err != nil {
		return Loss{}, fmt.Errorf("unmount %s (does a program still use it?): %w", d.cfg.Mount, err)
	}
	d.server.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	loss, err := d.rewind(keep)
	return loss, errors.Join(err, d.close())
}

// unmount tries for a while: what a killed program had open is closed a moment after it is gone.
func (d *Disk) unmount() error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := d.server.Unmount()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// entry is a change of either kind in the journal.
type entry struct {
	seq   uint64
	bytes *byteChange
	names *nameChange
}

func (d *Disk) journal() []entry {
	var all []entry
	for _, f := range d.files {
		for _, c := range f.changes {
			all = append(all, entry{seq: c.seq, bytes: c})
		}
	}
	for _, c := range d.names {
		all = append(all, entry{seq: c.seq, names: c})
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// rewind undoes the journal and does again what is kept.
func (d *Disk) rewind(keep Keep) (loss Loss, err error) {
	all := d.journal()
	if keep == KeepAll && !slices.ContainsFunc(all, func(e entry) bool { return e.bytes != nil && e.bytes.lost }) {
		return Loss{Kept: len(all)}, nil
	}
	for _, e := range slices.Backward(all) {
		if e.bytes != nil {
			err = e.bytes.undo()
		} else {
			err = e.names.undo()
		}
		if err != nil {
			return loss, fmt.Errorf("rewind: %w", err)
		}
	}
	c := chooser{keep: keep, rng: d.rng, grave: d.grave, cut: d.rng.IntN(len(all) + 1)}
	for i, e := range all {
		kept := false
		if e.bytes != nil {
			kept, err = c.bytes(i, e.bytes)
		} else {
			kept, err = c.names(i, e.names)
		}
		if err != nil {
			return loss, fmt.Errorf("redo: %w", err)
		}
		if kept {
			loss.Kept++
		} else {
			loss.Lost++
		}
	}
	return loss, nil
}

// chooser does again what a crash keeps.
type chooser struct {
	keep    Keep
	rng     *rand.Rand
	grave   *folder
	cut     int // KeepPrefix keeps the changes before this place in the journal
	dropped []*nameChange
}

func (c *chooser) bytes(i int, x *byteChange) (bool, error) {
	switch {
	case x.lost:
		return false, nil
	case x.safe || c.keep == KeepAll || c.keep == KeepPrefix && i < c.cut:
		return true, x.redo()
	case c.keep == KeepPrefix && i == c.cut && len(x.new) > 0:
		_, err := x.f.back.WriteAt(x.new[:c.rng.IntN(len(x.new))], x.off)
		return false, err
	case c.keep == KeepRandom && x.new == nil:
		if c.rng.IntN(2) == 0 {
			return false, nil
		}
		return true, x.redo()
	case c.keep == KeepRandom:
		return c.sectors(x)
	}
	return false, nil
}

// sectors writes each sector of a write or not.
func (c *chooser) sectors(x *byteChange) (bool, error) {
	whole := true
	for from := int64(0); from < int64(len(x.new)); {
		to := min(((x.off+from)/sectorBytes+1)*sectorBytes-x.off, int64(len(x.new)))
		if c.rng.IntN(2) == 0 {
			whole = false
		} else if _, err := x.f.back.WriteAt(x.new[from:to], x.off+from); err != nil {
			return false, err
		}
		from = to
	}
	return whole, nil
}

func (c *chooser) names(i int, x *nameChange) (bool, error) {
	kept := false
	switch c.keep {
	case KeepAll:
		kept = true
	case KeepPrefix:
		kept = i < c.cut
	case KeepRandom:
		kept = c.rng.IntN(2) == 0 && !slices.ContainsFunc(c.dropped, func(o *nameChange) bool { return x.shares(o, c.grave) })
	}
	if !kept {
		c.dropped = append(c.dropped, x)
		return false, nil
	}
	return true, x.redo()
}

// close lets go of everything.
func (d *Disk) close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.back.Close())
	}
	for _, in := range d.folders {
		errs = append(errs, unix.Close(in.fd))
	}
	return errors.Join(append(errs, unix.Close(d.grave.fd), os.RemoveAll(d.grave.path))...)
}
