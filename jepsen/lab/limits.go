package lab

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Limits is what a process may still have. What is 0 is not limited.
type Limits struct {
	// CPU is how many processors' time it gets, such as 0.1: a tenth of one, in every tenth of a second. By a cgroup where that can be made;
	// otherwise it is stopped and continued, which a pause of the same process would disturb.
	CPU float64
	// MemoryBytes is how much more memory it may take than it has now, the page cache of its files included; then the kernel takes that back,
	// and at last kills it. Swapping does not help it. It needs a cgroup.
	MemoryBytes int64
	// OpenFiles is how many file descriptors it may have. Those open already stay open, but no new one gets a number of this or more. A Go
	// program raises this limit as it starts: limit it when it has.
	OpenFiles uint64
}

// minCPU is the least that the kernel takes: 1 ms in each period.
const minCPU = 0.01

// Limit limits a process, by its id, until undo is called or the laboratory is closed. All or nothing is limited. It does not matter for undo
// whether the process still lives.
func (l *Lab) Limit(pid int, what Limits) (undo func() error, err error) {
	if what.CPU != 0 && what.CPU < minCPU || what.MemoryBytes < 0 {
		return nil, fmt.Errorf("limit process %d: %+v cannot be", pid, what)
	}
	var done []func() error
	back := func() error {
		var errs []error
		for _, f := range slices.Backward(done) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	for _, step := range []struct {
		wanted bool
		limit  func() (func() error, error)
	}{
		{what.OpenFiles > 0, func() (func() error, error) { return limitFiles(pid, what.OpenFiles) }},
		{what.MemoryBytes > 0, func() (func() error, error) { return limitMemory(pid, what.MemoryBytes) }},
		{what.CPU > 0, func() (func() error, error) { return l.limitCPU(pid, what.CPU) }},
	} {
		if !step.wanted {
			continue
		}
		f, err := step.limit()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("limit process %d: %w", pid, err), back())
		}
		done = append(done, f)
	}
	return l.owe(back), nil
}

// limitFiles changes the soft limit alone: it can be raised again up to the hard one.
func limitFiles(pid int, most uint64) (undo func() error, err error) {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return nil, fmt.Errorf("read its limit of files: %w", err)
	}
	set := func(soft uint64) error {
		return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(soft, old.Max), Max: old.Max}, nil)
	}
	if err := set(most); err != nil {
		return nil, fmt.Errorf("set its limit of files: %w", err)
	}
	return func() error {
		if err := set(old.Cur); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("give process %d its limit of files back: %w", pid, err)
		}
		return nil
	}, nil
}

func limitMemory(pid int, bytes int64) (undo func() error, err error) {
	g, err := newCgroup("memory", pid)
	if err != nil {
		return nil, err
	}
	return g.hold(pid, g.memory(bytes))
}

func (l *Lab) limitCPU(pid int, share float64) (undo func() error, err error) {
	g, err := newCgroup("cpu", pid)
	if err == nil {
		if undo, err = g.hold(pid, g.cpu(share)); err == nil {
			return undo, nil
		}
	}
	l.log.Info("no cgroup limits a process: it is stopped and continued", "pid", pid, "err", err)
	return throttle(pid, share)
}
