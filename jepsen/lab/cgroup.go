package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is where the hierarchies are mounted.
const cgroups = "/sys/fs/cgroup"

// cgroup is a control group of ours with one process in it. It stands where that process's own group does, so that the limits around it hold
// on: below it in version 1; beside it in version 2, where a group with processes has no groups below that control anything.
type cgroup struct {
	v2   bool
	home string // the group that the process came from
	dir  string
}

// setting is what is written to a file of a group.
type setting struct {
	file, value string
	optional    bool // not every kernel has the file
}

// newCgroup makes a group for a process, in the hierarchy that has a controller.
func newCgroup(controller string, pid int) (*cgroup, error) {
	membership, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("find its cgroup: %w", err)
	}
	g, err := cgroupOf(string(membership), controller)
	if err != nil {
		return nil, err
	}
	g.dir = filepath.Join(g.parent(), fmt.Sprintf("qj-%d-%04x", os.Getpid(), rand.N(1<<16)))
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	return g, nil
}

// cgroupOf finds the group of a process that a controller acts on, in the text of /proc/PID/cgroup (cgroups(7)).
func cgroupOf(membership, controller string) (*cgroup, error) {
	unified := ""
	for line := range strings.Lines(membership) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for name := range strings.SplitSeq(parts[1], ",") {
			if name == controller {
				return &cgroup{home: filepath.Join(cgroups, controller, parts[2])}, nil
			}
		}
		if parts[0] == "0" && parts[1] == "" {
			unified = parts[2]
		}
	}
	if unified == "" {
		return nil, fmt.Errorf("no cgroup hierarchy has the controller %s", controller)
	}
	return &cgroup{v2: true, home: filepath.Join(cgroups, unified)}, nil
}

// parent is where our group goes.
func (g *cgroup) parent() string {
	if g.v2 && g.home != cgroups {
		return filepath.Dir(g.home)
	}
	return g.home
}

// cpu limits processor time to a number of processors.
func (g *cgroup) cpu(share float64) []setting {
	quota := strconv.FormatInt(max(1000, int64(share*float64(period.Microseconds()))), 10)
	length := strconv.FormatInt(period.Microseconds(), 10)
	if g.v2 {
		return []setting{{file: "cpu.max", value: quota + " " + length}}
	}
	return []setting{{file: "cpu.cfs_period_us", value: length}, {file: "cpu.cfs_quota_us", value: quota}}
}

// memory limits memory, and forbids to swap. What a process used before it came into the group counts for the group that it came from.
func (g *cgroup) memory(bytes int64) []setting {
	n := strconv.FormatInt(bytes, 10)
	if g.v2 {
		return []setting{{file: "memory.max", value: n}, {file: "memory.swap.max", value: "0", optional: true}}
	}
	return []setting{{file: "memory.limit_in_bytes", value: n}, {file: "memory.memsw.limit_in_bytes", value: n, optional: true}}
}

// hold sets the group's limits and takes the process in. When that fails, the group is gone.
func (g *cgroup) hold(pid int, limits []setting) (undo func() error, err error) {
	for _, s := range limits {
		// Only files that the kernel made: opening does not create.
		err := write(filepath.Join(g.dir, s.file), s.value)
		if err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			return nil, errors.Join(err, g.leave())
		}
	}
	if err := write(filepath.Join(g.dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return nil, errors.Join(err, g.leave())
	}
	return g.leave, nil
}

// leaveTime is how long the group of a killed process may stay busy.
const leaveTime = 5 * time.Second

// leave sends what is in the group home, and removes it.
func (g *cgroup) leave() error {
	for end := time.Now().Add(leaveTime); ; {
		if err := g.empty(); err != nil {
			return err
		}
		err := os.Remove(g.dir)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return wrap("remove a cgroup", err)
		}
		time.Sleep(5 * time.Millisecond) // a process that was killed takes a moment to go; nothing tells when
	}
}

// empty sends all processes home: a process may have children by now.
func (g *cgroup) empty() error {
	raw, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("list a cgroup: %w", err)
	}
	for pid := range strings.FieldsSeq(string(raw)) {
		// ESRCH: it ended meanwhile.
		if err := write(filepath.Join(g.home, "cgroup.procs"), pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
