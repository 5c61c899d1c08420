package freeze

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRuns: the program did not stop in time.
var ErrRuns = errors.New("the program does not stop")

// patience is for a thread that waits in the kernel for a disk.
const patience = 10 * time.Second

// Program is a program that stands.
type Program struct {
	PID     int
	already bool // somebody else had stopped it
}

// Stop sends SIGSTOP to each, and then waits until all stand: from then on no thread of theirs runs outside the kernel. If one cannot be
// stopped, all go on. A program that has ended stands too.
func Stop(pids ...int) ([]Program, error) {
	var stopped []Program
	for _, pid := range pids {
		p := Program{PID: pid, already: state(filepath.Join("/proc", strconv.Itoa(pid), "stat")) == 'T'}
		stopped = append(stopped, p)
		if err := p.signal(); err != nil {
			return nil, errors.Join(err, Resume(stopped))
		}
	}
	for _, p := range stopped {
		if err := p.stand(); err != nil {
			return nil, errors.Join(err, Resume(stopped))
		}
	}
	return stopped, nil
}

// Resume lets programs go on that ran before.
func Resume(programs []Program) error {
	var errs []error
	for _, p := range programs {
		if p.already {
			continue
		}
		if err := unix.Kill(p.PID, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("resume %d: %w", p.PID, err))
		}
	}
	return errors.Join(errs...)
}

func (p Program) stand() error {
	for deadline := time.Now().Add(patience); !p.stands(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("stop %d: %w in %v", p.PID, ErrRuns, patience)
		}
	}
	return nil
}

// signal sends SIGSTOP to each thread. One would be enough, but the kernel might choose a thread that waits for a disk that hangs, and then no
// other would hear of it.
func (p Program) signal() error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
	if err != nil {
		return nil // it has ended
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return fmt.Errorf("stop %d: %w", p.PID, err)
		}
		if err := unix.Tgkill(p.PID, tid, unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop thread %d of %d: %w", tid, p.PID, err)
		}
	}
	return nil
}

// stands: each thread stands (T) or has ended (Z, X), or waits in the kernel for a disk (D) and stands when it leaves that.
func (p Program) stands() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID))
	if err != nil {
		return false
	}
	for _, stat := range threads {
		if s := state(stat); s != 0 && !strings.ContainsRune("TtZXD", rune(s)) {
			return false
		}
	}
	return true
}

// state is the letter for what a thread does (proc(5), field 3 of stat), or 0 when it has ended.
func state(stat string) byte {
	raw, err := os.ReadFile(stat)
	if err != nil {
		return 0
	}
	// The name in the second field may hold anything, brackets and spaces too.
	text := string(raw)
	if i := strings.LastIndexByte(text, ')'); i >= 0 && len(text) > i+2 {
		return text[i+2]
	}
	return 0
}
