package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// ticksPerSecond is the unit of processor time in /proc: USER_HZ, which is 100 wherever Linux shows it to programs.
const ticksPerSecond = 100

// ProcessesSpent is what the processes with these ids and all their descendants have used since they started, those that ended included:
// what an ended process used counts with whoever waited for it, as times (proc(5), cutime and cstime) and as bytes (the kernel adds them to
// the waiter's io). It is exact to a hundredth of a second per process that runs, and exists on Linux alone. Processes that begin or
// end while it looks may be counted twice or not at all, so ask when little happens.
func ProcessesSpent(roots ...int) (sum Spent, err error) {
	children, err := processTree()
	if err != nil {
		return sum, err
	}
	for waiting := roots; len(waiting) > 0; {
		pid := waiting[0]
		waiting = append(waiting[1:], children[pid]...)
		s, err := processSpent(pid)
		if errors.Is(err, fs.ErrNotExist) { // it ended since
			continue
		}
		if err != nil {
			return sum, fmt.Errorf("read what process %d used: %w", pid, err)
		}
		sum.CPUSeconds, sum.WrittenBytes = sum.CPUSeconds+s.CPUSeconds, sum.WrittenBytes+s.WrittenBytes
	}
	return sum, nil
}

// processTree lists every process's children.
func processTree() (map[int][]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	children := map[int][]int{}
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if f, err := statFields(pid); err == nil { // else it ended since
			children[int(f[statParent])] = append(children[int(f[statParent])], pid)
		}
	}
	return children, nil
}

// Where in what statFields returns a field of proc(5) stands, which counts the parent's id as its field 4.
const (
	statParent   = 0  // field 4, ppid
	statUserTime = 10 // field 14, utime; stime, cutime and cstime follow
	statFieldsOf = 14
)

// statFields are the numbers of /proc/PID/stat from the parent's id to the time of the children.
func statFields(pid int) ([]int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The name in parentheses may hold anything, spaces and parentheses too; after it comes the state, a letter.
	words := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(words) < 1+statFieldsOf {
		return nil, fmt.Errorf("%q is too short", raw)
	}
	numbers := make([]int64, statFieldsOf)
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(string(words[1+i]), 10, 64); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

func processSpent(pid int) (s Spent, err error) {
	f, err := statFields(pid)
	if err != nil {
		return s, err
	}
	for _, ticks := range f[statUserTime:] {
		s.CPUSeconds += float64(ticks) / ticksPerSecond
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return s, err
	}
	for line := range bytes.Lines(raw) {
		if v, ok := bytes.CutPrefix(line, []byte("write_bytes: ")); ok {
			s.WrittenBytes, err = strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
		}
	}
	return s, err
}
