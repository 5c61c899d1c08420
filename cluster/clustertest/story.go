package clustertest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/cluster"
)

// Update, the flag -update, writes what the stories print into their files.
var Update = flag.Bool("update", false, "write the outcomes of the stories into their files")

// Run runs the story in a file. It is made of blocks: some commands, a line "----", and what they print, which is "ok" when each went
// well, and otherwise a line for each that printed something else. "#" begins a comment. The commands are:
//
//	start K [OPTIONS]            nodes n1 to nK as one cluster, all voters
//	join NODE                    a new node, which becomes a voter
//	remove NODE                  out of the cluster, for ever
//	lead NODE                    make it the leader, and wait until it can commit
//	await leader                 wait for a leader that can commit
//	await stopped NODE           wait until it ends itself, and say why
//	await truncated NODE         wait until its log no longer begins at 1
//	await entries NODE N         wait until it has applied N commands
//	propose NODE TEXT... [v=N] [timeout=D]
//	unheard NODE TEXT... [timeout=D]   a proposal that must not be acknowledged
//	barrier NODE [timeout=D]
//	show NODE                    the commands that it has applied
//	restored NODE                how often it installed a checkpoint
//	partition A B | C ...        no traffic between the groups
//	block FROM... -> TO... [only=PROTO]   no traffic in this direction
//	heal                         all traffic
//	slow [delay=D] [jitter=D] [rate=BYTES] [reset=PERCENT]
//	crash [keep=PERCENT] NODE... power lost; of what was not synced, this much stays
//	kill NODE...                 the process ends at once, its disk stays
//	restart NODE... [OPTIONS]
//	lose-log NODE                of a node that does not run
//	disk NODE works|fail|hang    what becomes of its writes
//	load CLIENTS | stop-load     commands all the time
//	many NODE N                  N commands, one after the other
//	burst NODE N [timeout=D]     N commands at once, whatever becomes of them
//	sleep D
//	check                        see Cluster.Check
//
// OPTIONS are v=N, heartbeat=D, snapshot=N, trailing=N: see Options.
func Run(t *testing.T, path string) {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	Bubble(t, func(t *testing.T) {
		c := New(t, rand.New(rand.NewPCG(1, 1)), Options{})
		defer c.Close()
		for _, b := range parse(string(raw)) {
			out.WriteString(b.text)
			if len(b.commands) == 0 {
				continue
			}
			began := time.Now()
			got := c.block(b.commands)
			out.WriteString("----\n" + got)
			if got != b.want && !*Update {
				t.Errorf("%s:%d: %s\ngot:\n%swant:\n%s(after %v)", path, b.line, strings.Join(b.commands, "; "), got, b.want, time.Since(began))
				return // what follows would only confuse
			}
		}
	})
	if *Update && !t.Failed() {
		if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// block is some commands with what they print, or what stands between.
type block struct {
	line     int
	text     string // as it stands in the file, up to "----"
	commands []string
	want     string
}

func parse(text string) (all []block) {
	var b block
	answer := false
	for i, line := range strings.SplitAfter(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case answer && trimmed != "":
			b.want += line
			continue
		case answer:
			all = append(all, b)
			b, answer = block{}, false
		case trimmed == "----":
			answer = true
			continue
		}
		if trimmed != "" && trimmed[0] != '#' {
			if len(b.commands) == 0 {
				b.line = i + 1
			}
			b.commands = append(b.commands, trimmed)
		}
		b.text += line
	}
	return append(all, b)
}

func (c *Cluster) block(commands []string) string {
	var out string
	for _, line := range commands {
		if got := c.Do(line); got != "ok" {
			out += line + ": " + strings.ReplaceAll(got, "\n", "; ") + "\n"
		}
	}
	if out == "" {
		return "ok\n"
	}
	return out
}

// args are the words of a command and its settings.
type args struct {
	words []string
	set   map[string]string
	errs  []error
}

func readArgs(line string) *args {
	a := &args{set: map[string]string{}}
	for _, w := range strings.Fields(line) {
		if k, v, ok := strings.Cut(w, "="); ok {
			a.set[k] = v
		} else {
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a *args) word(i int) string {
	if i < len(a.words) {
		return a.words[i]
	}
	a.errs = append(a.errs, errors.New("a word is missing"))
	return ""
}

func (a *args) number(s string) int {
	n, err := strconv.Atoi(s)
	a.errs = append(a.errs, err)
	return n
}

func (a *args) setNumber(key string, other int) int {
	if s, ok := a.set[key]; ok {
		return a.number(s)
	}
	return other
}

func (a *args) duration(key string, other time.Duration) time.Duration {
	s, ok := a.set[key]
	if !ok {
		return other
	}
	d, err := time.ParseDuration(s)
	a.errs = append(a.errs, err)
	return d
}

func (a *args) options(o Options) Options {
	o.Version = a.setNumber("v", o.Version)
	o.Heartbeat = a.duration("heartbeat", o.Heartbeat)
	o.SnapshotEntries = uint64(a.setNumber("snapshot", int(o.SnapshotEntries)))
	o.TrailingEntries = uint64(a.setNumber("trailing", int(o.TrailingEntries)))
	return o
}

// said turns the error of a command into what it prints.
func said(err error) string { return outcome(err) }

// Do does one command and says how it went.
func (c *Cluster) Do(line string) string {
	a := readArgs(line)
	name := a.word(0)
	do, ok := verbs[name]
	if !ok {
		return "there is no such command"
	}
	a.words = a.words[1:]
	for _, w := range a.words {
		if name != "join" && len(w) > 1 && w[0] == 'n' && strings.Trim(w[1:], "0123456789") == "" && c.member(w) == nil {
			return "there is no node " + w
		}
	}
	got := do(c, a)
	if err := errors.Join(a.errs...); err != nil {
		return err.Error()
	}
	return got
}

var verbs = map[string]func(c *Cluster, a *args) string{
	"start": func(c *Cluster, a *args) string {
		c.opts = a.options(c.opts)
		return said(c.Bootstrap(a.number(a.word(0))))
	},
	"join":   func(c *Cluster, a *args) string { return said(c.Join(a.word(0))) },
	"remove": func(c *Cluster, a *args) string { return said(c.Remove(a.word(0))) },
	"lead":   func(c *Cluster, a *args) string { return said(c.Lead(a.word(0))) },
	"await":  doAwait,
	"propose": func(c *Cluster, a *args) string {
		_, err := c.Propose(a.word(0), strings.Join(a.words[1:], " "), a.setNumber("v", 1), a.duration("timeout", 30*time.Second))
		return said(err)
	},
	"unheard": func(c *Cluster, a *args) string {
		_, err := c.Propose(a.word(0), strings.Join(a.words[1:], " "), 1, a.duration("timeout", 5*time.Second))
		if errors.Is(err, cluster.ErrUnknownOutcome) || errors.Is(err, cluster.ErrUnavailable) {
			return "ok" // which of them depends on who noticed first
		}
		return "acknowledged: " + said(err)
	},
	"barrier": func(c *Cluster, a *args) string {
		_, err := c.Barrier(a.word(0), a.duration("timeout", 30*time.Second))
		return said(err)
	},
	"show": func(c *Cluster, a *args) string {
		var texts []string
		_, machine := c.running(c.member(a.word(0)))
		for _, s := range machine.commands() {
			texts = append(texts, s.Text)
		}
		return strings.Join(texts, ", ")
	},
	"restored": func(c *Cluster, a *args) string {
		_, machine := c.running(c.member(a.word(0)))
		n, _ := machine.counts()
		return strconv.Itoa(n)
	},
	"partition": doPartition,
	"block":     doBlock,
	"heal":      func(c *Cluster, _ *args) string { c.net.Heal(); return "ok" },
	"slow": func(c *Cluster, a *args) string {
		c.net.Slow(a.duration("delay", 0), a.duration("jitter", 0), int64(a.setNumber("rate", 0)), float64(a.setNumber("reset", 0)))
		return "ok"
	},
	"crash": func(c *Cluster, a *args) string { c.Crash(a.setNumber("keep", 0), a.words...); return "ok" },
	"kill": func(c *Cluster, a *args) string {
		for _, name := range a.words {
			c.Kill(name)
		}
		return "ok"
	},
	"restart": func(c *Cluster, a *args) string {
		var errs []error
		for _, name := range a.words {
			m := c.member(name)
			m.opts = a.options(m.opts)
			m.machine.version = m.opts.Version
			errs = append(errs, c.Restart(name))
		}
		return said(errors.Join(errs...))
	},
	"lose-log":  func(c *Cluster, a *args) string { return said(c.LoseLog(a.word(0))) },
	"load":      func(c *Cluster, a *args) string { c.StartLoad(a.number(a.word(0))); return "ok" },
	"stop-load": doStopLoad,
	"many": func(c *Cluster, a *args) string {
		n := a.number(a.word(1))
		for i := range n {
			if _, err := c.Propose(a.word(0), fmt.Sprintf("many-%d", i), 1, 30*time.Second); err != nil {
				return said(err)
			}
		}
		return "ok"
	},
	"sleep": func(_ *Cluster, a *args) string {
		d, err := time.ParseDuration(a.word(0))
		time.Sleep(d) // the bubble's clock
		return said(err)
	},
	"disk": func(c *Cluster, a *args) string {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range c.members {
			if m.name == a.word(0) {
				m.disk.set(strings.TrimSuffix(a.word(1), "works"))
			}
		}
		return "ok"
	},
	"burst": func(c *Cluster, a *args) string {
		var wg sync.WaitGroup
		for i := range a.number(a.word(1)) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, _ = c.Propose(a.word(0), fmt.Sprintf("burst-%d", i), 1, a.duration("timeout", 5*time.Second)) // whatever becomes of it
			}()
		}
		wg.Wait()
		return "ok"
	},
	"check": func(c *Cluster, _ *args) string { return said(c.Check()) },
}

func doStopLoad(c *Cluster, _ *args) string {
	acked, err := c.StopLoad()
	if acked == 0 && err == nil {
		return "nothing was acknowledged"
	}
	return said(err)
}

func doAwait(c *Cluster, a *args) string {
	switch a.word(0) {
	case "leader":
		_, err := c.Leader()
		return said(err)
	case "stopped":
		m := c.member(a.word(1))
		var why error
		err := c.until("it ends itself", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			why, m.fatal = m.fatal, nil
			return why != nil
		})
		return said(errors.Join(err, why))
	case "truncated":
		m := c.member(a.word(1))
		return said(c.until("its log is truncated", func() bool {
			node, _ := c.running(m)
			if node == nil {
				return false
			}
			_, err := node.Command(1)
			return errors.Is(err, cluster.ErrTruncated)
		}))
	case "entries":
		m, n := c.member(a.word(1)), a.number(a.word(2))
		return said(c.until("it has applied so many", func() bool {
			_, machine := c.running(m)
			return len(machine.commands()) >= n
		}))
	}
	return "there is nothing of that kind to wait for"
}

func doPartition(c *Cluster, a *args) string {
	group, of := 0, map[string]int{}
	for _, w := range a.words {
		if w == "|" {
			group++
			continue
		}
		of[w] = group
	}
	for from, g := range of {
		for to, h := range of {
			if g != h {
				c.net.Block(from, to, "")
			}
		}
	}
	return "ok"
}

func doBlock(c *Cluster, a *args) string {
	i := slices.Index(a.words, "->")
	if i < 0 {
		return "which direction?"
	}
	for _, from := range a.words[:i] {
		for _, to := range a.words[i+1:] {
			if from != to {
				c.net.Block(from, to, a.set["only"])
			}
		}
	}
	return "ok"
}
