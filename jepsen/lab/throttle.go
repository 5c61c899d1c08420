package lab

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// period is how often a process is given its share of time.
const period = 100 * time.Millisecond

// throttle lets a process run for its share of each period only, by signals. A share of 1 or more is the whole time.
func throttle(pid int, share float64) (undo func() error, err error) {
	if err := unix.Kill(pid, 0); err != nil {
		return nil, fmt.Errorf("signal it: %w", err)
	}
	run := time.Duration(min(share, 1) * float64(period))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	if run < period {
		wg.Go(func() { alternate(pid, run, stop) })
	}
	return func() error {
		close(stop)
		wg.Wait()
		if err := unix.Kill(pid, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("let process %d run: %w", pid, err)
		}
		return nil
	}, nil
}

// alternate stops and continues a process until it is told to end, or the process has ended.
func alternate(pid int, run time.Duration, stop <-chan struct{}) {
	for {
		for _, phase := range []struct {
			signal unix.Signal
			length time.Duration
		}{{unix.SIGSTOP, period - run}, {unix.SIGCONT, run}} {
			if unix.Kill(pid, phase.signal) != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(phase.length):
			}
		}
	}
}
