package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// maxTick bounds one tick. What a longer pause leaves out only makes things expire later.
	maxTick = time.Hour
	// clockSlack is how far the leader's clock may be ahead of a majority: by it, and half as much again.
	clockSlack = 2 * time.Second
)

// clock measures the time since the last replicated tick was applied on this node.
type clock struct {
	now func() time.Time

	mu    sync.Mutex
	ticks uint64    // of the cluster's record, in milliseconds; guarded by mu
	since time.Time // when they came to be that on this node; guarded by mu
	known bool      // this process has seen it happen; guarded by mu
}

// applied notes the replicated time. The first value that a process reads tells nothing: it may be old.
func (c *clock) applied(ticks uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ticks == c.ticks {
		return
	}
	c.known = c.ticks != 0
	c.ticks, c.since = ticks, c.now()
}

// elapsed is the time since the tick that brought the replicated time to ticks.
func (c *clock) elapsed(ticks uint64) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || c.ticks != ticks {
		return 0, false
	}
	return c.now().Sub(c.since), true
}

// answerClock tells a peer how long ago this node applied a tick.
func (r *Replica) answerClock(_ context.Context, _ store.ServerID, req []byte) ([]byte, error) {
	if len(req) != 8 {
		return nil, fmt.Errorf("a request of %d bytes: %w", len(req), store.ErrInvalid)
	}
	d, known := r.clock.elapsed(binary.BigEndian.Uint64(req))
	res := make([]byte, 1, 9)
	if known {
		res[0] = 1
	}
	return binary.BigEndian.AppendUint64(res, uint64(max(0, d.Milliseconds()))), nil
}

// askClock is a peer's elapsed time.
func (r *Replica) askClock(ctx context.Context, peer store.ServerID, ticks uint64) (d time.Duration, known bool, err error) {
	if peer == r.cfg.Self {
		d, known = r.clock.elapsed(ticks)
		return d, known, nil
	}
	res, err := r.cfg.Peers.Call(ctx, peer, methodClock, binary.BigEndian.AppendUint64(nil, ticks))
	if err != nil {
		return 0, false, err
	}
	if len(res) != 9 {
		return 0, false, fmt.Errorf("an answer of %d bytes: %w", len(res), store.ErrInvalid)
	}
	return time.Duration(binary.BigEndian.Uint64(res[1:])) * time.Millisecond, res[0] == 1, nil
}

// errClocks: the clocks of the voters run differently.
var errClocks = errors.New("the clocks of the nodes disagree, so nothing expires: check which node's clock runs fast")

// ClocksDisagree is an error where this node leads and found at its last tick that the clocks of the voters disagree, so that nothing
// expires; it says by how much. Someone must look after the clocks.
func (r *Replica) ClocksDisagree() error {
	if p := r.clocks.Load(); p != nil {
		return *p
	}
	return nil
}

func (r *Replica) noteClocks(err error) {
	if err == nil {
		r.clocks.Store(nil)
		r.cfg.Metrics.Clocks.Set(0)
		return
	}
	r.clocks.Store(&err)
	r.cfg.Metrics.Clocks.Set(1)
}

// tickWhereLeading ticks where this node leads. Elsewhere it knows nothing of the clocks.
func (r *Replica) tickWhereLeading(ctx context.Context) error {
	if !r.cfg.Peers.IsLeader() {
		r.noteClocks(nil)
		return nil
	}
	return r.tick(ctx)
}

// tick is the leader's: it proposes the time that passed since the last tick, no more than a majority of the voters, each by its own
// monotonic clock, says. Where too few of them saw the last tick, a tick of 1 ms gives all a new beginning.
func (r *Replica) tick(ctx context.Context) (err error) {
	defer func() {
		if err == nil || errors.Is(err, errClocks) { // else it could not ask
			r.noteClocks(err)
		}
	}()
	ticks, err := r.replicatedTime()
	if err != nil {
		return err
	}
	passed, ok, err := r.agreedTime(ctx, ticks)
	if err != nil {
		return err
	}
	ms := uint64(1)
	if ok {
		if ms = uint64(min(passed, maxTick).Milliseconds()); ms == 0 {
			return nil
		}
	}
	err = r.maintain(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_Tick{Tick: &storepb.Tick{Ms: ms, From: &ticks}} })
	if errors.Is(err, store.ErrConflict) {
		return nil // another leader counted that time, or an attempt of ours that got no answer
	}
	return err
}

func (r *Replica) replicatedTime() (uint64, error) {
	v := r.View()
	defer v.Close()
	c, err := v.Cluster()
	if err != nil {
		return 0, fmt.Errorf("read the cluster's record: %w", err)
	}
	return c.TicksMs, nil
}

// agreedTime is the time that this node and a majority of the voters agree has passed since the replicated time became ticks. It is not
// ok if a majority answers, but too few of them saw that.
func (r *Replica) agreedTime(ctx context.Context, ticks uint64) (passed time.Duration, ok bool, err error) {
	voters, _ := r.cfg.Peers.Voters()
	need := len(voters)/2 + 1
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Intervals.Maintenance/2)
	defer cancel()
	type answer struct {
		d     time.Duration
		known bool
		err   error
	}
	answers := make(chan answer, len(voters))
	for _, v := range voters {
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			d, known, err := r.askClock(ctx, v, ticks)
			answers <- answer{d, known, err}
		}()
	}
	var told []time.Duration
	reached := 0
	for range voters {
		a := <-answers
		if a.err != nil {
			continue
		}
		reached++
		if a.known {
			told = append(told, a.d)
		}
	}
	if reached < need || need == 0 {
		return 0, false, fmt.Errorf("%d of %d clocks answer: %w", reached, len(voters), store.ErrUnavailable)
	}
	own, known := r.clock.elapsed(ticks)
	if !known || len(told) < need {
		return 0, false, nil
	}
	slices.SortFunc(told, func(a, b time.Duration) int { return int(b - a) })
	majority := told[need-1] // so many clocks say: at least this
	if own > majority+majority/2+clockSlack {
		return 0, false, fmt.Errorf("%v here, %v by a majority: %w", own, majority, errClocks)
	}
	return min(own, majority), true, nil
}
