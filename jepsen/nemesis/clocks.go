package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/quorumail/quorumail/jepsen/clock"
)

// spoiling is what is done to a clock: in words, and the deed, which goes on until its context ends if it takes time.
type spoiling struct {
	text string
	run  func(context.Context, *clock.Clock) error
}

// clockFaults give processes wall clocks of their own.
func clockFaults() []Fault {
	return []Fault{
		onClock("clock jumps", func(r *rand.Rand) spoiling { return jump(time.Duration(r.IntN(7200)-3600) * time.Second) }),
		onClock("clock jumps by days", func(r *rand.Rand) spoiling { return jump(time.Duration(r.IntN(120)-60) * 24 * time.Hour) }),
		onClock("clock strobes", func(r *rand.Rand) spoiling {
			by := time.Duration(1+r.IntN(30)) * time.Second
			return spoiling{fmt.Sprintf("by %v", by), func(ctx context.Context, c *clock.Clock) error { return c.Strobe(ctx, by, 100*time.Millisecond) }}
		}),
		onClock("clock drifts", func(r *rand.Rand) spoiling {
			rate := r.Float64() - 0.5
			return spoiling{fmt.Sprintf("gains %.2f s per second", rate), func(ctx context.Context, c *clock.Clock) error { return c.Drift(ctx, rate) }}
		}),
	}
}

func jump(by time.Duration) spoiling {
	return spoiling{fmt.Sprintf("by %v", by), func(_ context.Context, c *clock.Clock) error { return c.Jump(by) }}
}

// onClock spoils the clock of one process.
func onClock(name string, draw func(*rand.Rand) spoiling) Fault {
	return Fault{Name: name, Family: "clock", Inject: func(ctx context.Context, t *Target) (Done, error) {
		n := t.Cluster.Random(t.Rand)
		s := draw(t.Rand)
		d := Done{Nodes: []string{n.Name()}, Detail: s.text}
		pid := n.PID()
		if pid == 0 {
			return d, fmt.Errorf("%s does not run", n.Name())
		}
		c, err := clock.Of(pid)
		if errors.Is(err, clock.ErrUnsupported) {
			return d, fmt.Errorf("%w: %w", ErrNotHere, err)
		}
		if err != nil {
			return d, err
		}
		ctx, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, c) }()
		d.Undo = func(context.Context) error {
			stop()
			return errors.Join(unlessDone(<-ended), unlessDone(c.Reset()), c.Close())
		}
		return d, nil
	}}
}

// unlessDone makes nothing of the end of the process, which is another fault's doing: its clock went with it.
func unlessDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
