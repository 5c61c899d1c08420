package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/quorumail/quorumail/jepsen/disk"
)

// lockName is a file in the folder of a run's nodes that its process holds locked: the kernel lets go of it however the process ends.
const lockName = "lock"

// workFolder makes the folder for a run's nodes, disks and sockets, and locks it until the file is closed.
func workFolder(parent string) (dir string, held *os.File, err error) {
	if dir, err = os.MkdirTemp(parent, "jepsen-"); err != nil {
		return "", nil, err
	}
	if held, err = os.Create(filepath.Join(dir, lockName)); err != nil {
		return dir, nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	// Another run may look at it meanwhile, for a moment. As long as it is empty it is left alone.
	err = unix.Flock(int(held.Fd()), unix.LOCK_EX)
	if err == nil {
		_, err = fmt.Fprintln(held, os.Getpid())
	}
	if err != nil {
		return dir, nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), held.Close())
	}
	return dir, held, nil
}

// sweepFolders removes what runs have left whose process was killed, with the nodes that still run and the disks that are still mounted.
func sweepFolders(parent string, log *slog.Logger) {
	locks, err := filepath.Glob(filepath.Join(parent, "jepsen-*", lockName))
	if err != nil {
		return // only a pattern can be wrong
	}
	for _, path := range locks {
		if err := sweepFolder(path); err != nil {
			log.Warn("left over by a run that was killed", "folder", filepath.Dir(path), "err", err)
		}
	}
}

// sweepFolder removes the folder of a lock that nobody holds.
func sweepFolder(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // it has just gone, or is another user's
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // its run is under way, or another one sweeps it
	}
	if st, err := f.Stat(); err != nil || st.Size() == 0 {
		return err // its run is about to lock it
	}
	return disk.Sweep(filepath.Dir(path))
}
