package lab_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/lab"
)

// childVar makes this test program a child that is limited, and says what it does.
const childVar = "QUORUMAIL_LAB_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(childVar); what != "" {
		beChild(what)
		return
	}
	os.Exit(m.Run())
}

// beChild burns processor time, or answers lines: "eat" takes 64 MiB, "open" opens a file.
func beChild(what string) {
	fmt.Println("ready")
	if what == "burn" {
		for start := time.Now(); time.Since(start) < time.Hour; {
		}
	}
	var kept [][]byte
	var files []*os.File
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "eat":
			b := make([]byte, 64<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			kept = append(kept, b)
			fmt.Println("ate", len(kept))
		case "open":
			f, err := os.Open(os.DevNull)
			files = append(files, f)
			fmt.Println("opened", err == nil, errors.Is(err, syscall.EMFILE))
		}
	}
	fmt.Println(len(kept), len(files)) // so that both are kept until here
}

// child is a process of ours that is limited.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Writer
	out   *bufio.Reader
}

func newChild(t *testing.T, what string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+what)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := &child{t: t, cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	// The Go runtime raises the limit of files as a program starts.
	if got := c.answer(); got != "ready" {
		t.Fatalf("the child said %q", got)
	}
	return c
}

// tell sends a line; the answer is "" when the child is dead.
func (c *child) tell(line string) string {
	c.t.Helper()
	_, _ = io.WriteString(c.stdin, line+"\n") // of a dead child the answer tells
	return c.answer()
}

func (c *child) answer() string {
	c.t.Helper()
	answer, err := c.out.ReadString('\n')
	if err != nil && err != io.EOF {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(answer)
}

// used is the processor time that a process took so far, in ticks of 10 ms (proc(5)).
func used(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')'):]))
	user, err1 := strconv.Atoi(fields[12])
	system, err2 := strconv.Atoi(fields[13])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// share is which part of one processor a process takes for a while.
func share(t *testing.T, pid int) float64 {
	start, before := time.Now(), used(t, pid)
	time.Sleep(500 * time.Millisecond) // the span over which is measured
	return float64(used(t, pid)-before) / float64(time.Since(start))
}

// limited is a laboratory and a limit of a child.
func limited(t *testing.T, c *child, what lab.Limits) (undo func() error) {
	t.Helper()
	l := newLab(t, 1, lab.Never)
	undo, err := l.Limit(c.cmd.Process.Pid, what)
	if err != nil {
		t.Fatal(err)
	}
	return undo
}

// A process that burns a processor gets little of it, and all again afterwards.
func TestLimitCPU(t *testing.T) {
	c := newChild(t, "burn")
	undo := limited(t, c, lab.Limits{CPU: 0.1})
	if s := share(t, c.cmd.Process.Pid); s > 0.3 {
		t.Errorf("it takes %.2f of a processor", s)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	until(t, "it takes more than it might", func() bool { return share(t, c.cmd.Process.Pid) > 0.3 })
	nothingLeft(t)
}

// A process that takes more memory than it may is killed.
func TestLimitMemory(t *testing.T) {
	memoryCgroup(t)
	c := newChild(t, "answer")
	if got := c.tell("eat"); got != "ate 1" {
		t.Fatal(got)
	}
	undo := limited(t, c, lab.Limits{MemoryBytes: 32 << 20})
	if got := c.tell("eat"); got != "" {
		t.Errorf("with 32 MiB left it %s", got)
	}
	var ended *exec.ExitError
	if err := c.cmd.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", err)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

func TestLimitOfMemoryEnds(t *testing.T) {
	memoryCgroup(t)
	c := newChild(t, "answer")
	undo := limited(t, c, lab.Limits{MemoryBytes: 32 << 20, CPU: 1, OpenFiles: 100})
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if got := c.tell("eat"); got != "ate 1" {
		t.Errorf("after the limit it %q", got)
	}
	nothingLeft(t)
}

// A process that has all files it may have is told so, and gets more afterwards.
func TestLimitOpenFiles(t *testing.T) {
	c := newChild(t, "answer")
	undo := limited(t, c, lab.Limits{OpenFiles: 20})
	opened := 0
	for ; opened < 100; opened++ {
		if got := c.tell("open"); got == "opened false true" {
			break
		}
	}
	if opened < 1 || opened >= 20 {
		t.Errorf("%d files were opened", opened)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if got := c.tell("open"); got != "opened true false" {
		t.Errorf("after the limit: %s", got)
	}
}

// What was not undone ends with the laboratory; a process that is gone, or a limit that cannot be, is an error and leaves nothing.
func TestLimitsEndWithTheLaboratory(t *testing.T) {
	c := newChild(t, "answer")
	l, err := lab.New(lab.Config{Nodes: 1, Namespaces: lab.Never})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Limit(c.cmd.Process.Pid, lab.Limits{CPU: 0.5, OpenFiles: 3}); err != nil {
		t.Fatal(err)
	}
	if got := c.tell("open"); got != "opened false true" {
		t.Error(got)
	}
	gone := lostProcess(t)
	for _, what := range []lab.Limits{{CPU: 0.5}, {OpenFiles: 10}, {MemoryBytes: 1 << 20}} {
		if _, err := l.Limit(gone, what); err == nil {
			t.Errorf("%+v of a process that is gone", what)
		}
	}
	if _, err := l.Limit(c.cmd.Process.Pid, lab.Limits{CPU: -1}); err == nil {
		t.Error("a share below 0")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := c.tell("open"); got != "opened true false" {
		t.Errorf("after the laboratory: %s", got)
	}
	nothingLeft(t)
}

// memoryCgroup skips a test where memory cannot be limited.
func memoryCgroup(t *testing.T) {
	t.Helper()
	c := newChild(t, "answer")
	l := newLab(t, 1, lab.Never)
	undo, err := l.Limit(c.cmd.Process.Pid, lab.Limits{MemoryBytes: 1 << 30})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EROFS) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
}

// nothingLeft checks that no cgroup of this process is left.
func nothingLeft(t *testing.T) {
	t.Helper()
	own := fmt.Sprintf("qj-%d-", os.Getpid())
	if err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), own) {
			t.Errorf("%s is left", path)
		}
		return nil // others' groups come and go
	}); err != nil {
		t.Fatal(err)
	}
}
