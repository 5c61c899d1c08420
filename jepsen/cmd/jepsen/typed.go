package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quorumail/quorumail/jepsen/history"
)

// typedHelp tells what an administrator may type during a run.
const typedHelp = `type what you do to the cluster, when you do it:
  fault n1 pulled the plug   something is wrong from now on, at n1; several nodes: n1,n2; none: fault switch restarted
  healed                     all of it is over; healed n1: what is wrong at n1 is
  note anything              a remark
  end                        no more work; read everything and judge
`

// typed turns what an administrator types into the history's faults and notes. It belongs to one goroutine.
type typed struct {
	history *history.Recorder
	nodes   []string
	out     io.Writer
	open    []history.Fault // not healed yet
}

// read reads lines until one says "end", which it tells, or there are no more.
func (t *typed) read(in io.Reader) (ended bool) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		at := t.history.Now()
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case word == "":
			continue
		case word == "end" && rest == "":
			return true
		case word == "fault" && rest != "":
			t.fault(at, rest)
		case word == "healed":
			t.healed(at, rest)
		case word == "note" && rest != "":
			t.history.Note(history.Note{At: at, Kind: "info", Text: rest})
			t.say("noted at %v", at)
		default:
			fmt.Fprint(t.out, "that is not understood; ", typedHelp)
		}
	}
	return false
}

func (t *typed) say(format string, at time.Duration, more ...any) {
	fmt.Fprintf(t.out, format+"\n", append([]any{at.Round(time.Millisecond)}, more...)...)
}

// fault begins one, at the nodes that the first word names.
func (t *typed) fault(at time.Duration, text string) {
	f := history.Fault{Name: text, Start: at, Detail: "typed"}
	first, rest, _ := strings.Cut(text, " ")
	if nodes := strings.Split(first, ","); !slices.ContainsFunc(nodes, func(n string) bool { return !slices.Contains(t.nodes, n) }) {
		if f.Nodes, f.Name = nodes, strings.TrimSpace(rest); f.Name == "" {
			f.Name = "fault"
		}
	}
	t.open = append(t.open, f)
	t.say("fault at %v: %s %s", at, strings.Join(f.Nodes, ","), f.Name)
}

// healed ends what is open, at a node or everywhere.
func (t *typed) healed(at time.Duration, node string) {
	var left []history.Fault
	for _, f := range t.open {
		if node != "" && !slices.Contains(f.Nodes, node) {
			left = append(left, f)
			continue
		}
		f.End = at
		t.history.Fault(f)
		t.say("healed at %v: %s %s, after %v", at, strings.Join(f.Nodes, ","), f.Name, (at - f.Start).Round(time.Millisecond))
	}
	if len(left) == len(t.open) {
		fmt.Fprintln(t.out, "nothing was open")
	}
	t.open = left
}

// close ends what nobody declared healed.
func (t *typed) close() {
	for i := range t.open {
		t.open[i].Detail = "typed; nobody said that it was healed"
	}
	if len(t.open) > 0 {
		t.healed(t.history.Now(), "")
	}
}

// interruptible reads from a terminal or pipe, and ends when ctx does: a read that waits for a person could not be ended.
func interruptible(ctx context.Context, in io.Reader) io.Reader {
	f, ok := in.(*os.File)
	if !ok {
		return in
	}
	return polled{ctx, f}
}

type polled struct {
	ctx context.Context
	f   *os.File
}

func (p polled) Read(b []byte) (int, error) {
	for p.ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(p.f.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 200)
		if err == unix.EINTR || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for what is typed: %w", err)
		}
		return p.f.Read(b)
	}
	return 0, io.EOF
}
