package net

import (
	"container/heap"
	"sync"
	"time"
)

// late is a frame that waits for its time.
type late struct {
	at    time.Time
	order uint64 // of frames with the same time
	path  *path
	flow  flow
	frame []byte
}

// delayLine holds all late frames of a switch.
type delayLine struct {
	limit int           // bytes
	wake  chan struct{} // the earliest time has changed

	mu      sync.Mutex
	waiting lateHeap
	bytes   int
	order   uint64
}

func newDelayLine(limitBytes int) *delayLine {
	return &delayLine{limit: limitBytes, wake: make(chan struct{}, 1)}
}

// add takes a frame, unless the line is full.
func (d *delayLine) add(l *late) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes+len(l.frame) > d.limit {
		return false
	}
	d.order++
	l.order = d.order
	d.bytes += len(l.frame)
	heap.Push(&d.waiting, l)
	if d.waiting[0] == l {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// next takes the first frame whose time has come, or says how long until then.
func (d *delayLine) next(now time.Time) (*late, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return nil, time.Hour
	}
	if wait := d.waiting[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	l := heap.Pop(&d.waiting).(*late)
	d.bytes -= len(l.frame)
	return l, 0
}

// run hands out frames when their time has come, until stop is closed.
func (d *delayLine) run(stop <-chan struct{}, deliver func(*late)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l, wait := d.next(time.Now())
		if l != nil {
			deliver(l)
		}
		timer.Reset(wait) // at once after a frame: the next may be due, but stop is seen
		select {
		case <-stop:
			return
		case <-d.wake:
		case <-timer.C:
		}
	}
}

// lateHeap is a heap by time.
type lateHeap []*late

func (h lateHeap) Len() int      { return len(h) }
func (h lateHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h lateHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].order < h[j].order
}
func (h *lateHeap) Push(x any) { *h = append(*h, x.(*late)) }
func (h *lateHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
