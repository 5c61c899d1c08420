package replica

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The pace of the repair. A node that lacks everything could take all that the disks, the network and the processors of its peers can give,
// and their clients would wait for what is left: with 2 GB of mail the p99 of writes rose to four times what it was [measured by jepsen, wipe
// and replace]. So the repair looks at how long a read barrier takes, which passes the same network and processors as a client's command:
// now, and at rest. While it takes much longer than at rest the repair slows down, otherwise it speeds up.
const (
	// minPace is for the worst case: mail that is not whole is in danger, so clients that wait cannot stop the repair. 2 GiB take 4 minutes.
	minPace   = rate.Limit(8 << 20) // bytes per second
	firstPace = rate.Limit(12 << 20)
	maxPace   = rate.Limit(1 << 30)
	// paceBurst is how much comes at once after a rest; a body costs paceBody besides its bytes.
	paceBurst = 256 << 10
	paceBody  = 16 << 10

	// paceEvery is the time between two looks, and for how long a repair is short: not looked at.
	paceEvery = time.Second
	// paceIdle without any repair ends what was learned. It is longer than any rest.
	paceIdle = 10 * time.Second
	// restEvery is how many looks are between two at rest, for what else the machines do changes.
	restEvery = 12
	// Of several barriers the third quartile counts: one alone may meet anything, and it is the slow ones that clients notice.
	paceProbes   = 9
	fewestProbes = 3
	paceProbeGap = 20 * time.Millisecond
)

// pacer holds back the repair so that clients notice little of it.
type pacer struct {
	barrier func(context.Context) error
	longest time.Duration // of a look, and so of a rest, about: streams that stand still meanwhile must not be given up
	limiter *rate.Limiter

	mu    sync.Mutex
	asked time.Time     // when the repair last asked for more; guarded by mu
	rest  chan struct{} // closed when the repair may go on; nil: it may; guarded by mu

	looking sync.Mutex // held by the one that looks; guards what follows
	looked  time.Time
	looks   int
	calm    time.Duration // how long a barrier takes at rest
}

func newPacer(barrier func(context.Context) error, longestRest time.Duration) *pacer {
	return &pacer{barrier: barrier, longest: longestRest, limiter: rate.NewLimiter(firstPace, paceBurst)}
}

// begin returns when one more body may come. It is called while no stream waits for the caller, since it may take as long as some barriers do.
func (p *pacer) begin(ctx context.Context) error {
	p.look(ctx)
	return p.wait(ctx, paceBody)
}

// wait returns when n more bytes may come.
func (p *pacer) wait(ctx context.Context, n int) error {
	if err := p.awaitRest(ctx); err != nil {
		return err
	}
	for n > 0 {
		k := min(n, paceBurst)
		if err := p.limiter.WaitN(ctx, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// look measures, if it is time and nobody else does, and sets the pace.
func (p *pacer) look(ctx context.Context) {
	now := time.Now()
	p.mu.Lock()
	idle := now.Sub(p.asked) > paceIdle
	p.asked = now
	p.mu.Unlock()
	if !p.looking.TryLock() {
		return
	}
	defer p.looking.Unlock()
	if idle {
		p.limiter.SetLimit(firstPace)
		p.looked, p.looks = now, 0
	}
	if now.Sub(p.looked) < paceEvery {
		return
	}
	if p.looks%restEvery == 0 {
		p.measureCalm(ctx)
	} else if took, ok := p.measure(ctx); ok {
		p.limiter.SetLimit(nextPace(p.limiter.Limit(), took, p.calm))
	} else {
		p.limiter.SetLimit(minPace) // whatever is wrong, the repair shall not make it worse
	}
	p.looks++
	p.looked = time.Now()
}

func (p *pacer) setRest(rest chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = rest
}

// awaitRest waits for the end of a rest.
func (p *pacer) awaitRest(ctx context.Context) error {
	p.mu.Lock()
	rest := p.rest
	p.mu.Unlock()
	if rest == nil {
		return nil
	}
	select {
	case <-rest:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measureCalm finds out how long a barrier takes while no repair is under way.
func (p *pacer) measureCalm(ctx context.Context) {
	rest := make(chan struct{})
	p.setRest(rest)
	defer func() { p.setRest(nil); close(rest) }()
	if !pause(ctx, 2*paceProbeGap) { // for what is on its way
		return
	}
	took, ok := p.measure(ctx)
	switch {
	case !ok:
	case p.calm == 0:
		p.calm = took
	default:
		p.calm = (p.calm + took) / 2
	}
}

// measure is the third quartile of the times of some barriers; of fewer when they take too long. It is not ok when one failed, or there were too few.
func (p *pacer) measure(ctx context.Context) (took time.Duration, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, p.longest)
	defer cancel()
	var all []time.Duration
	for range paceProbes {
		start := time.Now()
		err := p.barrier(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return 0, false
		}
		all = append(all, time.Since(start))
		pause(ctx, paceProbeGap)
	}
	if len(all) < fewestProbes {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)*3/4], true
}

// nextPace is the pace after a look. Half a millisecond more or less is noise. Where a barrier at rest took too long to be measured (calm is 0),
// nothing is to spare.
func nextPace(pace rate.Limit, took, calm time.Duration) rate.Limit {
	const noise = time.Millisecond / 2
	switch {
	case calm == 0:
		return minPace
	case took > calm+calm/2+noise:
		pace *= 0.5
	case took > calm+calm/4+noise:
		pace *= 0.85
	default:
		pace *= 1.1
	}
	return min(max(pace, minPace), maxPace)
}

// paced lets bytes pass to w at the pace of the repair.
type paced struct {
	ctx context.Context
	p   *pacer
	w   io.Writer
}

func (w paced) Write(b []byte) (int, error) {
	if err := w.p.wait(w.ctx, len(b)); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}
