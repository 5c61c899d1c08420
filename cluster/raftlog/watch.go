package raftlog

import (
	"context"
	"sync"
	"time"
)

// looks is how often the watch looks within its limit.
const looks = 10

// watch notices writes that do not end. It counts its own looks, besides the time: a process that stood still (SIGSTOP, a virtual machine that
// is moved) has not waited for its disk, and may go on.
type watch struct {
	limit time.Duration
	mu    sync.Mutex
	next  int
	under map[int]*underWay // guarded by mu
}

type underWay struct {
	what  string
	began time.Time
	looks int // that found it under way
}

func newWatch(limit time.Duration) *watch { return &watch{limit: limit, under: map[int]*underWay{}} }

// begin notes a write; the function that it returns notes its end.
func (w *watch) begin(what string) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	id := w.next
	w.under[id] = &underWay{what: what, began: time.Now()}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.under, id)
	}
}

// run calls hung for the first write that has taken longer than the limit, and returns.
func (w *watch) run(ctx context.Context, hung func(what string)) {
	t := time.NewTicker(w.limit / looks)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if what, ok := w.late(); ok {
				hung(what)
				return
			}
		}
	}
}

func (w *watch) late() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.under {
		u.looks++
		if u.looks >= looks && time.Since(u.began) > w.limit {
			return u.what, true
		}
	}
	return "", false
}
