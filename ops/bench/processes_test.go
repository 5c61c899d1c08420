package bench

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// script makes two grandchildren that write and compute, one of which has ended when it says so, and ends with its input.
const script = `
sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; dd if=/dev/zero of="$0/a" bs=64k count=16 conv=fsync 2>/dev/null' "$0"
sh -c 'dd if=/dev/zero of="$0/b" bs=64k count=32 conv=fsync 2>/dev/null; echo ready; read line' "$0"
true`

func TestWhatProcessesUsedIncludesTheirDescendants(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", script, dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	if s, err := bufio.NewReader(out).ReadString('\n'); err != nil || s != "ready\n" {
		t.Fatalf("the processes said %q, %v", s, err)
	}
	got, err := ProcessesSpent(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if got.CPUSeconds <= 0 {
		t.Error("a loop of 100,000 rounds is said to have used no time")
	}
	if want := writes(t, dir) * (3 << 20); got.WrittenBytes < want || got.WrittenBytes > want+(1<<20) {
		t.Errorf("%d bytes written, want %d", got.WrittenBytes, want)
	}
	_ = in.Close()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	if gone, err := ProcessesSpent(cmd.Process.Pid); err != nil || gone != (Spent{}) {
		t.Errorf("a process that is gone is said to have used %+v, %v", gone, err)
	}
}

// writes is 1 where files in dir lie on a disk, and 0 where they lie in memory, so that nothing is written.
func writes(t *testing.T, dir string) int64 {
	t.Helper()
	out, err := exec.Command("stat", "-f", "-c", "%T", filepath.Clean(dir)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(out) == "tmpfs\n" {
		return 0
	}
	return 1
}
