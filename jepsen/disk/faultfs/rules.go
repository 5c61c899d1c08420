package faultfs

import (
	"fmt"
	"regexp"
	"syscall"
	"time"
)

// Rule makes operations fail, wait or lie.
type Rule struct {
	Op     string        // regular expression for the whole of: read, write, truncate, fsync, fsyncdir, open, create, mkdir, rename, link, unlink, rmdir
	Path   string        // regular expression for a part of the path within the mount, which begins with a slash; "" is any
	Errno  syscall.Errno // what it fails with; 0 for none
	Delay  time.Duration // before it is done or fails
	Chance float64       // that the rule applies; 0 means always
	Skip   int           // how many operations it lets pass first
	Times  int           // how often it applies at most; 0 means without end
	Short  bool          // a failing write has written half
	Forget bool          // a failing fsync loses the unsafe bytes for good, as Linux does
	Flip   bool          // a read gets one bit wrong
	Lie    bool          // an fsync of a file or folder says that it succeeded and does nothing
}

type rule struct {
	Rule
	op, path   *regexp.Regexp
	seen, used int // guarded by Disk.mu
}

// Inject adds a rule, and returns what removes it.
func (d *Disk) Inject(r Rule) (remove func(), err error) {
	op, err := regexp.Compile("^(?:" + r.Op + ")$")
	if err != nil {
		return nil, fmt.Errorf("rule's operations: %w", err)
	}
	path, err := regexp.Compile(r.Path)
	if err != nil {
		return nil, fmt.Errorf("rule's path: %w", err)
	}
	x := &rule{Rule: r, op: op, path: path}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, x)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for i, o := range d.rules {
			if o == x {
				d.rules = append(d.rules[:i:i], d.rules[i+1:]...)
				return
			}
		}
	}, nil
}

// obey waits as the rules say, and returns the rule that applies otherwise, or nil. Without power everything fails.
func (d *Disk) obey(op, path string) (*Rule, syscall.Errno) {
	hit, delay, off := d.match(op, path)
	if delay > 0 {
		time.Sleep(delay)
	}
	if off {
		return nil, syscall.EIO
	}
	if hit == nil {
		return nil, 0
	}
	return hit, hit.Errno
}

func (d *Disk) match(op, path string) (hit *Rule, delay time.Duration, off bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.rules {
		if !r.op.MatchString(op) || !r.path.MatchString(path) {
			continue
		}
		if r.seen++; r.seen <= r.Skip || r.Times > 0 && r.used >= r.Times || r.Chance > 0 && d.rng.Float64() >= r.Chance {
			continue
		}
		r.used++
		delay += r.Delay
		if r.Errno != 0 || r.Flip || r.Lie {
			return &r.Rule, delay, d.off
		}
	}
	return nil, delay, d.off
}
