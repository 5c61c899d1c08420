package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

func TestNextPace(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name       string
		pace       rate.Limit
		took, calm time.Duration
		want       rate.Limit
	}{
		{"as at rest", 100 << 20, 5 * ms, 5 * ms, 110 << 20},
		{"nothing known of the rest", 100 << 20, 500 * ms, 0, minPace},
		{"somewhat slower", 100 << 20, 7 * ms, 5 * ms, 85 << 20},
		{"much slower", 100 << 20, 9 * ms, 5 * ms, 50 << 20},
		{"noise", 100 << 20, 600 * time.Microsecond, 100 * time.Microsecond, 110 << 20},
		{"never less than is safe", minPace + 1, time.Second, ms, minPace},
		{"never without limit", maxPace - 1, ms, ms, maxPace},
	} {
		if got := nextPace(test.pace, test.took, test.calm); got < test.want-1 || got > test.want+1 {
			t.Errorf("%s: %.0f, want %.0f", test.name, got, test.want)
		}
	}
}

// line is what a repair goes over: so fast, and a barrier is slow while more than some pace is asked of it.
type line struct {
	p        *pacer
	bears    atomic.Int64 // bytes per second
	barriers atomic.Int64
	bytes    atomic.Int64
	last     atomic.Pointer[time.Time] // when bytes came
}

func newLine(bears int64) *line {
	l := &line{}
	l.bears.Store(bears)
	l.p = newPacer(func(context.Context) error {
		l.barriers.Add(1)
		time.Sleep(2 * time.Millisecond) // in the bubble: what a barrier takes at rest
		if last := l.last.Load(); last != nil && time.Since(*last) < 30*time.Millisecond && float64(l.p.limiter.Limit()) > float64(l.bears.Load()) {
			time.Sleep(30 * time.Millisecond) // and how much longer when the clients wait, too
		}
		return nil
	}, 2*time.Second)
	return l
}

// run repairs with some workers for so long, and returns the bytes per second.
func (l *line) run(t *testing.T, d time.Duration) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	before := l.bytes.Load()
	var wg sync.WaitGroup
	for range fetchWorkers {
		wg.Go(func() {
			for l.p.begin(ctx) == nil && l.p.wait(ctx, 48<<10) == nil {
				now := time.Now()
				l.last.Store(&now)
				l.bytes.Add(64 << 10)
				time.Sleep(2 * time.Millisecond) // a piece is on its way: 256 MiB/s in all
			}
		})
	}
	wg.Wait()
	return (l.bytes.Load() - before) / int64(d/time.Second)
}

// TestRepairFindsThePaceThatClientsBear: not much more than they bear, and as much as the line gives when they bear all.
func TestRepairFindsThePaceThatClientsBear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(20 << 20)
		l.run(t, 10*time.Second) // until it has found it
		if got := l.run(t, time.Minute); got < int64(minPace)*9/10 || got > 26<<20 {
			t.Errorf("%d MiB/s, and the clients bear 20", got>>20)
		}
		l.bears.Store(1 << 40)
		l.run(t, 30*time.Second)
		if got := l.run(t, time.Minute); got < 100<<20 {
			t.Errorf("%d MiB/s, and the clients bear all", got>>20)
		}
		l.bears.Store(0)
		l.run(t, 30*time.Second)
		if got := l.run(t, time.Minute); got < int64(minPace)*8/10 || got > int64(minPace)*12/10 {
			t.Errorf("%d MiB/s, and the clients bear nothing", got>>20)
		}
	})
}

// TestShortRepairIsNotHeldUp: a few bodies come nearly at once, and nobody measures anything.
func TestShortRepairIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(0)
		start := time.Now()
		for range 8 {
			if err := errors.Join(l.p.begin(t.Context()), l.p.wait(t.Context(), 100<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 100*time.Millisecond || l.barriers.Load() > 0 {
			t.Errorf("%v, %d barriers", took, l.barriers.Load())
		}
	})
}

// TestRepairWithoutQuorumIsSlow: when the barrier fails the repair goes on, as slowly as is safe.
func TestRepairWithoutQuorumIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(1 << 40)
		l.p.barrier = func(context.Context) error {
			time.Sleep(time.Second) // in the bubble: a barrier that nobody answers
			return errors.New("no quorum")
		}
		l.run(t, 20*time.Second)
		if got := l.run(t, time.Minute); got < int64(minPace)*8/10 || got > int64(minPace)*12/10 {
			t.Errorf("%d MiB/s", got>>20)
		}
	})
}
