package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// filler is the file that takes the free space of a real file system. It survives a loss of power.
func (v *block) filler() string { return filepath.Join(v.root(), "filler") }

func (v *block) Fill(freeBytes int64) (func() error, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.mounted {
		return nil, errNotMounted
	}
	f, err := os.OpenFile(v.filler(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fill a volume: %w", err)
	}
	if err := errors.Join(fill(f, freeBytes), f.Close(), v.flush()); err != nil {
		return nil, fmt.Errorf("fill %s: %w", v.root(), err)
	}
	v.full = true
	return v.Heal, nil
}

// fill allocates all but freeBytes. A file system may have less than it says, in pieces: smaller and smaller ones are asked for.
func fill(f *os.File, freeBytes int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	want := int64(st.Bavail)*st.Bsize - max(freeBytes, 0)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for at, step := info.Size(), want; want >= st.Bsize && step >= st.Bsize; {
		step = min(step, want)
		switch err := unix.Fallocate(int(f.Fd()), 0, at, step); {
		case err == nil:
			at, want = at+step, want-step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
	return nil
}

func (v *block) Heal() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.full = false; !v.mounted || v.cut {
		return nil // it goes with the next mount
	}
	return v.settle()
}

// settle removes a filler that is not to be there. Called with v.mu held.
func (v *block) settle() error {
	if v.full {
		return nil
	}
	if err := os.Remove(v.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make room again: %w", err)
	}
	return nil
}
