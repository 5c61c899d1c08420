package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCgroupOf(t *testing.T) {
	for _, tc := range []struct{ name, membership, controller, home, parent string }{
		{"version 1", "4:memory:/x\n1:cpu:/\n0::/\n", "cpu", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu"},
		{"version 1, together", "4:cpu,cpuacct:/a/b\n", "cpu", "/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpu/a/b"},
		{"version 2", "0::/user.slice/x.scope\n", "memory", "/sys/fs/cgroup/user.slice/x.scope", "/sys/fs/cgroup/user.slice"},
		{"version 2, root", "0::/\n", "memory", "/sys/fs/cgroup", "/sys/fs/cgroup"},
		{"a name that only begins so", "1:cpuset:/x\n0::/y\n", "cpu", "/sys/fs/cgroup/y", "/sys/fs/cgroup"},
	} {
		g, err := cgroupOf(tc.membership, tc.controller)
		if err != nil || g.home != tc.home || g.parent() != tc.parent {
			t.Errorf("%s: %+v, %v", tc.name, g, err)
		}
	}
	if g, err := cgroupOf("1:cpuset:/\n", "cpu"); err == nil {
		t.Errorf("%+v", g)
	}
}

func TestCgroupSettings(t *testing.T) {
	v1, v2 := &cgroup{}, &cgroup{v2: true}
	for _, tc := range []struct{ got, want []setting }{
		{v1.cpu(0.25), []setting{{file: "cpu.cfs_period_us", value: "100000"}, {file: "cpu.cfs_quota_us", value: "25000"}}},
		{v1.cpu(0.001), []setting{{file: "cpu.cfs_period_us", value: "100000"}, {file: "cpu.cfs_quota_us", value: "1000"}}},
		{v2.cpu(1.5), []setting{{file: "cpu.max", value: "150000 100000"}}},
		{v2.memory(1 << 20), []setting{{file: "memory.max", value: "1048576"}, {file: "memory.swap.max", value: "0", optional: true}}},
	} {
		if diff := cmp.Diff(tc.want, tc.got, cmp.AllowUnexported(setting{})); diff != "" {
			t.Error(diff)
		}
	}
}

// state is the letter that proc(5) has for what a process does: T is stopped.
func state(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')'):]))[1]
}

// Without cgroups a process is stopped and continued, and runs in the end. Of one that is gone, nothing is stopped.
func TestThrottle(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	undo, err := throttle(cmd.Process.Pid, 0.2)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"T", "S", "T", "S"} {
		for end := time.Now().Add(20 * time.Second); state(t, cmd.Process.Pid) != want; {
			if time.Now().After(end) {
				t.Fatalf("it never becomes %s", want)
			}
			time.Sleep(time.Millisecond) // the state is polled
		}
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(20 * time.Second); state(t, cmd.Process.Pid) == "T"; {
		if time.Now().After(end) {
			t.Fatal("it is still stopped")
		}
		time.Sleep(time.Millisecond) // the state is polled
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := throttle(cmd.Process.Pid, 0.2); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("of a process that is gone: %v", err)
	}
}
