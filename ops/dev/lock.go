package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockName is the file that a running dev holds locked. The kernel lets go of the lock when the process ends, however it ends: then its
// nodes, which wait for that, end too.
const lockName = "dev.lock"

// lock makes this process the one that runs the cluster in dir, until release.
func lock(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the folder %s: %w", dir, err)
	}
	// Nodes of a dev that was killed hold the lock for a moment each, when they learn of it.
	for try := 0; ; try++ {
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || try == 10 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := os.ReadFile(f.Name())
		_ = f.Close()
		return nil, fmt.Errorf("a cluster runs in %s already, as process %s: end that one first, or name another folder with --dir", dir, strings.TrimSpace(string(pid)))
	}
	if err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n"))
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the folder %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil // closing lets go of the lock
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// locked tells whether a dev runs the cluster in dir.
func locked(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// grace is how long a node whose dev ended may take to stop.
const grace = 5 * time.Second

// Follow makes a context that ends with ctx, or when the dev that holds the lock file ends, even by force. If the process still runs after a
// grace, kill is called.
func Follow(ctx context.Context, lockPath string, kill func()) (context.Context, error) {
	f, err := os.Open(lockPath)
	if err != nil {
		return nil, fmt.Errorf("follow the dev that started this node: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	// Nobody waits for this goroutine: what it waits for in the kernel cannot be interrupted, and it ends with the process.
	go func() {
		defer f.Close()
		if flock(f, syscall.LOCK_SH) != nil {
			return // the file system knows no locks: the node ends when it is told to
		}
		_ = f.Close() // lets go of the lock at once, for the next dev
		cancel()
		time.Sleep(grace)
		kill()
	}()
	return ctx, nil
}
