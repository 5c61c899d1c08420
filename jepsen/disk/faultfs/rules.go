package faultfs

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Rule makes operations fail, wait or lie.
type Rule struct {
	Op     string        // regular expression for the whole of: read, write, truncate, fsync, fsyncdir, open, create, mkdir, rename, link, unlink, rmdir
	Path   string        // regular expression for a part of the path within the mount, which begins with a slash; "" is any
	Errno  syscall.Errno // what it fails with; 0 for none
	Delay  time.Duration // before it is done or fails
	Hang   bool          // it waits until the rule is removed, the power goes, or the program is killed
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
	gone       chan struct{} // closed when the rule is removed; who waits for it then goes on
	seen, used int           // guarded by Disk.mu
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
	x := &rule{Rule: r, op: op, path: path, gone: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, x)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for i, o := range d.rules {
			if o == x {
				d.rules = append(d.rules[:i:i], d.rules[i+1:]...)
				close(x.gone)
				return
			}
		}
	}, nil
}

// obey waits as the rules say, and returns the rule that applies otherwise, or nil. Without power everything fails.
func (d *Disk) obey(ctx context.Context, op, path string) (*Rule, syscall.Errno) {
	hits, off := d.match(op, path)
	for _, r := range hits {
		if errno := d.wait(ctx, r); failed(errno) {
			return nil, errno
		}
	}
	if off {
		return nil, syscall.EIO
	}
	if n := len(hits); n > 0 && hits[n-1].decides() {
		return &hits[n-1].Rule, hits[n-1].Errno
	}
	return nil, 0
}

// wait obeys what a rule says about time. It ends early for a program that is being killed, which could not end else. Any other signal leaves
// the program waiting, as a disk does: few programs expect EINTR of an fsync.
func (d *Disk) wait(ctx context.Context, r *rule) syscall.Errno {
	var over <-chan time.Time // never, for a rule that hangs
	switch {
	case r.Hang:
	case r.Delay > 0:
		timer := time.NewTimer(r.Delay)
		defer timer.Stop()
		over = timer.C
	default:
		return 0
	}
	signal := ctx.Done()
	var look <-chan time.Time // after the first signal the kernel tells of no other
	for {
		select {
		case <-over:
			return 0
		case <-r.gone:
			return 0
		case <-d.dark:
			return syscall.EIO
		case <-signal:
			signal, look = nil, time.Tick(10*time.Millisecond)
		case <-look:
			if killed(ctx) {
				return syscall.EINTR
			}
		}
	}
}

// killed tells whether the thread that waits for an operation is to end: SIGKILL is pending, as it is too when another thread ends the program.
func killed(ctx context.Context) bool {
	caller, ok := fuse.FromContext(ctx)
	if !ok || caller.Pid == 0 {
		return true // the kernel itself
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", caller.Pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(raw)) {
		name, mask, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err == nil && bits&(1<<(syscall.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// decides tells whether a rule does more than take time.
func (r *rule) decides() bool { return r.Errno != 0 || r.Flip || r.Lie }

// match finds the rules that apply: those that take time, and the first that decides.
func (d *Disk) match(op, path string) (hits []*rule, off bool) {
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
		if hits = append(hits, r); r.decides() {
			break
		}
	}
	return hits, d.off
}
