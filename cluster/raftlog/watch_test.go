package raftlog

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchNoticesAWriteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(3 * time.Second)
		end := w.begin("a short write")
		defer w.begin("a long write")()
		hung := make(chan string, 1)
		go w.run(t.Context(), func(what string) { hung <- what })
		time.Sleep(time.Second) // of the bubble's clock
		end()
		start := time.Now()
		if what := <-hung; what != "a long write" || time.Since(start) > 3*time.Second {
			t.Errorf("%q hung after %v more", what, time.Since(start))
		}
	})
}

// A process that stands still finds at its next look that much time has passed, and nothing else: that is no disk's fault.
func TestWatchDoesNotCountTimeInWhichTheProcessStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(3 * time.Second)
		defer w.begin("a write")()
		for range looks - 1 {
			time.Sleep(time.Hour) // of the bubble's clock; the watch does not run meanwhile
			if what, late := w.late(); late {
				t.Fatalf("%q is late at once", what)
			}
		}
		if _, late := w.late(); !late {
			t.Error("it waits for its disk for ever")
		}
	})
}
