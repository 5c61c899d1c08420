package freeze

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const counterEnv = "JEPSEN_FREEZE_COUNTER"

func TestMain(m *testing.M) {
	if os.Getenv(counterEnv) != "" {
		count()
	}
	os.Exit(m.Run())
}

// count counts with several threads, each for itself in memory, and says the sum on request: a line for a line.
func count() {
	counts := make([]int, 3)
	for i := range counts {
		go func() { // ends with the process
			for {
				counts[i]++
				_ = unix.Getppid() // a moment in the kernel
			}
		}()
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(counts[0] + counts[1] + counts[2])
	}
	os.Exit(0)
}

func start(t *testing.T) (*exec.Cmd, func() string) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), counterEnv+"=1")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it may have ended
	lines := bufio.NewReader(out)
	return cmd, func() string {
		_, err := in.Write([]byte("\n"))
		must(t, err)
		line, err := lines.ReadString('\n')
		must(t, err)
		return line
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cpu is the time that a process has had, in the kernel's words.
func cpu(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	must(t, err)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	must(t, err)
	for _, thread := range threads {
		one, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, thread.Name()))
		must(t, err)
		raw = append(raw, one...)
	}
	return string(raw)
}

func TestStoppedProgramStands(t *testing.T) {
	cmd, ask := start(t)
	for range 20 {
		ask()
		stopped, err := Stop(cmd.Process.Pid)
		must(t, err)
		before := cpu(t, cmd.Process.Pid)
		time.Sleep(2 * time.Millisecond) // time in which it would run
		if after := cpu(t, cmd.Process.Pid); after != before {
			t.Fatalf("it ran on: %s, then %s", before, after)
		}
		must(t, Resume(stopped))
	}
	ask()
}

func TestResumeLeavesWhatOthersStopped(t *testing.T) {
	cmd, _ := start(t)
	_, err := Stop(cmd.Process.Pid)
	must(t, err)
	again, err := Stop(cmd.Process.Pid)
	must(t, err)
	must(t, Resume(again))
	if !(Program{PID: cmd.Process.Pid}).stands() {
		t.Error("it runs")
	}
}

func TestStopOfAnEndedProgram(t *testing.T) {
	cmd, _ := start(t)
	must(t, cmd.Process.Kill())
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
	stopped, err := Stop(cmd.Process.Pid)
	must(t, errors.Join(err, Resume(stopped)))
}
