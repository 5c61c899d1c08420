package clustertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Random does steps of random faults to a cluster of three under load, and checks it every few steps. It says what it did through log,
// as commands of a story.
func Random(c *Cluster, rng *rand.Rand, steps int, log func(string)) error {
	r := &random{c: c, rng: rng, log: log, next: 4}
	if err := c.Bootstrap(3); err != nil {
		return err
	}
	c.StartLoad(5)
	for i := range steps {
		if err := r.step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond) // the bubble's clock
		if i%12 == 11 || i == steps-1 {
			if err := r.check(); err != nil {
				return fmt.Errorf("step %d: %w", i, err)
			}
		}
	}
	return nil
}

type random struct {
	c    *Cluster
	rng  *rand.Rand
	log  func(string)
	next int // the number of the next new node
}

// step breaks something, or repairs it.
func (r *random) step() error {
	names := r.c.names()
	r.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	one, rest := names[0], strings.Join(names[1:], " ")
	switch n := r.rng.IntN(100); {
	case n < 15:
		return r.do("partition " + one + " | " + rest)
	case n < 22:
		return r.do("block " + one + " -> " + rest)
	case n < 29:
		return r.do("block " + rest + " -> " + one)
	case n < 33:
		return r.do("block " + one + " -> " + rest + " only=qm-raft/1")
	case n < 48:
		return r.do("heal")
	case n < 54:
		return r.do(fmt.Sprintf("slow delay=%dms jitter=%dms reset=%d", r.rng.IntN(30), r.rng.IntN(60), r.rng.IntN(2)))
	case n < 66:
		return r.do(fmt.Sprintf("crash keep=%d %s", r.rng.IntN(101), one))
	case n < 70:
		return r.do(fmt.Sprintf("crash keep=%d %s", r.rng.IntN(101), strings.Join(names[:1+r.rng.IntN(len(names))], " ")))
	case n < 76:
		return r.do("kill " + one)
	case n < 79:
		return r.do("disk " + one + " fail")
	case n < 82:
		return r.do("disk " + one + " hang")
	case n < 84:
		return r.replace(one)
	}
	return r.restart()
}

func (r *random) do(line string) error {
	r.log(line)
	if got := r.c.Do(line); got != "ok" {
		return fmt.Errorf("%s: %s", line, got)
	}
	return nil
}

// restart starts every node that does not run.
func (r *random) restart() error {
	var errs []error
	for _, name := range r.c.names() {
		if node, _ := r.c.running(r.c.member(name)); node == nil {
			errs = append(errs, r.do("restart "+name))
		}
	}
	return errors.Join(errs...)
}

// mend repairs everything and forgets that nodes ended themselves for what was done to them.
func (r *random) mend() error {
	r.c.net.Slow(0, 0, 0, 0)
	if err := r.do("heal"); err != nil {
		return err
	}
	r.c.mu.Lock()
	for _, m := range r.c.members {
		if m.disk != nil {
			m.disk.set("")
		}
	}
	r.c.mu.Unlock()
	if err := r.restart(); err != nil {
		return err
	}
	// A node whose disk failed a moment ago, or whose log was replaced, ends itself only now.
	return r.c.until("every node runs and a leader commits", func() bool {
		err := r.expected()
		if err == nil {
			err = r.restart()
		}
		_, lerr := r.c.Leader()
		return err == nil && lerr == nil && len(r.c.up()) == len(r.c.names())
	})
}

// expected forgets the ends that the faults explain.
func (r *random) expected() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	var errs []error
	for _, m := range r.c.members {
		if m.fatal == nil {
			continue
		}
		why := m.fatal.Error()
		if slices.ContainsFunc([]string{errBroken.Error(), "the disk hangs", "must start again"}, func(s string) bool { return strings.Contains(why, s) }) {
			m.fatal = nil
			continue
		}
		errs = append(errs, fmt.Errorf("%s ended itself: %w", m.name, m.fatal))
	}
	return errors.Join(errs...)
}

func (r *random) check() error {
	if err := r.mend(); err != nil {
		return err
	}
	acked, err := r.c.StopLoad()
	if err != nil {
		return err
	}
	if err := r.expected(); err != nil {
		return err
	}
	if err := r.restart(); err != nil {
		return err
	}
	r.log(fmt.Sprintf("check (%d acknowledged)", acked))
	if err := r.c.Check(); err != nil {
		return err
	}
	r.c.StartLoad(5)
	return nil
}

// replace gives up a node with its disk, and brings in a new one under a new id.
func (r *random) replace(name string) error {
	if err := r.mend(); err != nil {
		return err
	}
	if err := r.do("kill " + name); err != nil {
		return err
	}
	if err := r.do("remove " + name); err != nil {
		return err
	}
	r.next++
	return r.do(fmt.Sprintf("join n%d", r.next-1))
}
