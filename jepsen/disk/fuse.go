package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
)

// faulty is a faultfs.
type faulty struct {
	cfg Config

	mu     sync.Mutex
	disk   *faultfs.Disk     // nil when not mounted; guarded by mu
	rng    *rand.Rand        // guarded by mu
	free   int64             // what Fill left; negative for no limit; guarded by mu
	faults map[*Fault]func() // each with what removes it from the mounted disk; guarded by mu
	stale  bool              // the kernel has read what it is to read again; guarded by mu
}

func faultSupported() error {
	if err := faultfs.Supported(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

func newFault(cfg Config) (Volume, error) {
	v := &faulty{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), free: -1, faults: map[*Fault]func(){}}
	return v, detach(v.Path())
}

// detach takes off a mount whose server ended without unmounting it.
func detach(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); !errors.Is(err, unix.ENOTCONN) {
		return nil
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("take off the dead mount %s: %w", dir, err)
	}
	return nil
}

func (v *faulty) Kind() Kind   { return FaultFS }
func (v *faulty) Path() string { return filepath.Join(v.cfg.Dir, "data") }
func (v *faulty) back() string { return filepath.Join(v.cfg.Dir, "back") }

func (v *faulty) Mount() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mount()
}

// mount is called with v.mu held.
func (v *faulty) mount() (err error) {
	if v.disk != nil {
		return nil
	}
	v.disk, err = faultfs.Mount(faultfs.Config{Back: v.back(), Mount: v.Path(), Journaled: v.rng.IntN(3) == 0, Seed: v.rng.Uint64()})
	if err != nil {
		return err
	}
	if v.free >= 0 {
		v.disk.Limit(v.free)
	}
	for f := range v.faults {
		if v.faults[f], err = v.disk.Inject(f.Rule); err != nil {
			return err
		}
	}
	return nil
}

func (v *faulty) Unmount() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.disk == nil {
		return nil
	}
	_, err := v.crash(faultfs.KeepAll)
	return err
}

// crash is called with v.mu held, and the disk mounted.
func (v *faulty) crash(keep faultfs.Keep) (faultfs.Loss, error) {
	loss, err := v.disk.Crash(keep)
	if err == nil {
		v.disk = nil
	}
	return loss, err
}

func (v *faulty) Cut() error {
	_, err := CutAll([]Volume{v})
	return err
}

func (v *faulty) arm() (func() error, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	d := v.disk
	if d == nil {
		return nil, errNotMounted
	}
	return func() error { d.Cut(); return nil }, nil
}

var errNotMounted = errors.New("the volume is not mounted")

func (v *faulty) Restore() (Loss, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.disk == nil {
		return Loss{}, errNotMounted
	}
	// Most often not all: that teaches least.
	choices := []faultfs.Keep{faultfs.KeepNone, faultfs.KeepNone, faultfs.KeepPrefix, faultfs.KeepPrefix, faultfs.KeepRandom, faultfs.KeepRandom, faultfs.KeepAll}
	keep := choices[v.rng.IntN(len(choices))]
	loss, err := v.crash(keep)
	if err != nil {
		return Loss{}, err
	}
	return Loss{How: keep.String(), Kept: loss.Kept, Lost: loss.Lost}, v.mount()
}

func (v *faulty) Content(look func(dir string) error) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.disk != nil {
		if _, err := v.crash(faultfs.KeepAll); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, v.mount()) }()
	}
	return look(faultfs.Content(v.back()))
}

func (v *faulty) Inject(f Fault) (undo func(), err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	remove := func() {}
	if v.disk != nil {
		if remove, err = v.disk.Inject(f.Rule); err != nil {
			return nil, fmt.Errorf("inject that %s: %w", f.Name, err)
		}
	}
	key := &f
	v.faults[key] = remove
	v.stale = v.stale || f.spoilsReads()
	v.forget()
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.undo(key)
		v.forget()
	}, nil
}

// undo is called with v.mu held.
func (v *faulty) undo(f *Fault) {
	if remove, ok := v.faults[f]; ok {
		delete(v.faults, f)
		remove()
		v.stale = v.stale || f.spoilsReads()
	}
}

// forget drops what the kernel has read before a fault of reads, or wrongly during one; but not while something hangs, for it would wait for
// reads that hang. Called with v.mu held.
func (v *faulty) forget() {
	for f := range v.faults {
		if f.Rule.Hang {
			return
		}
	}
	if v.stale && v.disk != nil {
		v.disk.DropCaches()
	}
	v.stale = false
}

// spoilsReads tells whether what the kernel has read makes a difference.
func (f *Fault) spoilsReads() bool {
	reads, err := regexp.MatchString("^(?:"+f.Rule.Op+")$", "read")
	return err == nil && reads && (f.Rule.Errno != 0 || f.Rule.Flip)
}

func (v *faulty) Fill(freeBytes int64) (func() error, error) {
	v.limit(max(freeBytes, 0))
	return func() error { v.limit(-1); return nil }, nil
}

func (v *faulty) limit(free int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.free = free; v.disk != nil {
		v.disk.Limit(free)
	}
}

func (v *faulty) Heal() error {
	v.limit(-1)
	v.mu.Lock()
	defer v.mu.Unlock()
	for f := range v.faults {
		v.undo(f)
	}
	v.forget()
	return nil
}

func (v *faulty) Close() error {
	if err := errors.Join(v.Heal(), v.Unmount()); err != nil {
		return err
	}
	return removeAll(v.cfg.Dir)
}
