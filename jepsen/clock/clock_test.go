package clock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quorumail/quorumail/jepsen/freeze"
)

const childEnv = "JEPSEN_CLOCK_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		tell()
	}
	os.Exit(m.Run())
}

// tell is the program with a clock: threads that ask for the time all the while and end the program when it is absurd, and an answer for
// each line: the wall clock and the monotonic clock, in nanoseconds.
func tell() {
	for range 2 {
		go func() { // ends with the process
			for {
				now := time.Now()
				if far := time.Since(now); now.Year() < 2000 || now.Year() > 2200 || now.Nanosecond() < 0 || far < 0 {
					fmt.Println("absurd:", now, far)
					os.Exit(3)
				}
			}
		}()
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var mono unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
			os.Exit(4)
		}
		wall := time.Now()
		fmt.Println(wall.UnixNano(), time.Since(began).Nanoseconds(), mono.Nano())
	}
	os.Exit(0)
}

var began = time.Now()

// child is that program, running.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	ask func() (wall time.Time, since time.Duration)
	*Clock
}

func start(t *testing.T) *child {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	c := &child{t: t, cmd: exec.Command(exe)}
	c.cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := c.cmd.StdinPipe()
	must(t, err)
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() }) // it may have ended
	lines := bufio.NewReader(out)
	c.ask = func() (time.Time, time.Duration) {
		_, err := in.Write([]byte("\n"))
		must(t, err)
		line, err := lines.ReadString('\n')
		must(t, err)
		var wall, since, mono int64
		if _, err := fmt.Sscan(line, &wall, &since, &mono); err != nil {
			t.Fatalf("the program says %q", line)
		}
		return time.Unix(0, wall), time.Duration(since)
	}
	c.ask() // it runs
	c.Clock, err = Of(c.cmd.Process.Pid)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ahead is how far the program's clock is ahead, between two bounds: the question takes time.
func (c *child) ahead() (least, most time.Duration) {
	c.t.Helper()
	before := time.Now()
	wall, _ := c.ask()
	after := time.Now()
	return wall.Sub(after.Round(0)), wall.Sub(before.Round(0))
}

func (c *child) expect(offset time.Duration) {
	c.t.Helper()
	if least, most := c.ahead(); offset < least || offset > most {
		c.t.Errorf("the clock is from %v to %v ahead, want %v", least, most, offset)
	}
}

func TestJump(t *testing.T) {
	c := start(t)
	c.expect(0)
	must(t, c.Jump(time.Hour))
	c.expect(time.Hour)
	must(t, c.Jump(-2*time.Hour-300*time.Millisecond))
	c.expect(-time.Hour - 300*time.Millisecond)
	must(t, c.Reset())
	c.expect(0)
	if err := c.Jump(100 * 365 * 24 * time.Hour); err == nil {
		t.Error("a jump of 100 years is taken")
	}
	c.expect(0)
}

func TestMonotonicClockIsUntouched(t *testing.T) {
	c := start(t)
	before := time.Now()
	_, first := c.ask()
	asked := time.Now()
	must(t, c.Jump(-time.Hour))
	again := time.Now()
	_, second := c.ask()
	after := time.Now()
	if took := second - first; took < again.Sub(asked) || took > after.Sub(before) {
		t.Errorf("%v went by for the program, from %v to %v here", took, again.Sub(asked), after.Sub(before))
	}
}

func TestOtherProgramsAreUntouched(t *testing.T) {
	c, other := start(t), start(t)
	must(t, c.Jump(time.Hour))
	other.expect(0)
	if here := time.Since(began.Round(0)); here > 30*time.Minute {
		t.Errorf("this program's clock has jumped too: %v", here)
	}
}

func TestAnotherClockOfTheSameProgram(t *testing.T) {
	c := start(t)
	must(t, c.Jump(time.Hour))
	again, err := Of(c.cmd.Process.Pid)
	must(t, err)
	defer again.Close()
	if got := again.Offset(); got != time.Hour {
		t.Errorf("it is %v ahead", got)
	}
	must(t, again.Jump(time.Minute))
	c.expect(time.Hour + time.Minute)
}

func TestStrobe(t *testing.T) {
	c := start(t)
	must(t, c.Jump(time.Minute))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Strobe(ctx, time.Hour, 4*time.Millisecond); err != nil {
			t.Error(err)
		}
	})
	var low, high bool
	for deadline := time.Now().Add(60 * time.Second); !(low && high) && time.Now().Before(deadline); {
		least, _ := c.ahead()
		if least > 30*time.Minute {
			high = true
		} else {
			low = true
		}
	}
	cancel()
	wg.Wait()
	if !low || !high {
		t.Errorf("never at its place: %v; never an hour ahead: %v", !low, !high)
	}
	c.expect(time.Minute)
}

func TestDrift(t *testing.T) {
	for _, rate := range []float64{0.5, -0.5} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			c := start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			before := time.Now()
			must(t, c.Drift(ctx, rate))
			took := time.Since(before)
			// It may have stood still for a while on a busy machine, but never have run ahead.
			got := c.Offset()
			if most := time.Duration(rate * float64(took)); got == 0 || rate > 0 && (got < 0 || got > most) || rate < 0 && (got > 0 || got < most) {
				t.Errorf("in %v with the rate %v: %v", took, rate, got)
			}
			c.expect(got)
		})
	}
}

func TestProgramSurvivesManyChanges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := start(t)
	for range 5000 {
		must(t, c.Jump(time.Duration(rng.Int64N(int64(4*time.Hour)))-2*time.Hour-c.Offset()))
	}
	c.expect(c.Offset())
}

func TestPatchingManyPrograms(t *testing.T) {
	for range 20 {
		c := start(t)
		must(t, c.Jump(time.Hour))
		c.expect(time.Hour)
		must(t, c.cmd.Process.Kill())
		_ = c.cmd.Wait() // killed
	}
}

func TestStoppedProgramStaysStopped(t *testing.T) {
	c := start(t)
	stopped, err := freeze.Stop(c.cmd.Process.Pid)
	must(t, err)
	again, err := Of(c.cmd.Process.Pid)
	must(t, err)
	defer again.Close()
	must(t, again.Jump(time.Hour))
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if must(t, err); !strings.Contains(string(raw), ") T ") {
		t.Errorf("it runs: %s", raw)
	}
	must(t, freeze.Resume(stopped))
	c.expect(time.Hour)
}

func TestEndedProgram(t *testing.T) {
	c := start(t)
	must(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait() // killed
	if err := c.Jump(time.Hour); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("jump: %v", err)
	}
	if _, err := Of(c.cmd.Process.Pid); err == nil {
		t.Error("an ended program has a clock")
	}
}
