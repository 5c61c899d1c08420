package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// MaxCommandBytes is the longest encoded command. Longer ones are store.ErrTooLarge.
	MaxCommandBytes = state.MaxCommandBytes
	// lookEvery is how often a proposal looks for its result in the state, which may have come with a checkpoint instead of entries.
	lookEvery = 250 * time.Millisecond
	// lastWord is how long Log.Propose may take to say, after its context ended, whether anything was appended.
	lastWord = 500 * time.Millisecond
)

// proposals are the commands of this process whose outcome is not known yet.
type proposals struct {
	max      int
	maxBytes int64

	mu      sync.Mutex
	n       int                // under way; guarded by mu
	bytes   int64              // of these; guarded by mu
	last    uint64             // the newest sequence given out; guarded by mu
	waiting map[uint64]*waiter // by sequence; guarded by mu
	order   []uint64           // ascending sequences, some of which wait no more; guarded by mu
}

// waiter waits for one command's result.
type waiter struct {
	seq  uint64
	done chan struct{}
	res  *storepb.Result // set before done is closed
}

// begin gives a command its place. lowest is the lowest sequence whose outcome is still open.
func (p *proposals) begin() (w *waiter, lowest uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n >= p.max {
		return nil, 0, fmt.Errorf("%d proposals are under way: %w", p.n, store.ErrUnavailable)
	}
	p.n++
	p.last++
	w = &waiter{seq: p.last, done: make(chan struct{})}
	p.waiting[w.seq] = w
	p.order = append(p.order, w.seq)
	for p.waiting[p.order[0]] == nil {
		p.order = p.order[1:]
	}
	return w, p.order[0], nil
}

// forget ends the waiting: from the next command on, the state need not keep the result, and refuses the command if it comes late.
func (p *proposals) forget(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, w.seq)
}

// load counts a command's bytes while they are under way.
func (p *proposals) load(size int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+int64(size) > p.maxBytes {
		return fmt.Errorf("%d bytes of proposals are under way: %w", p.bytes, store.ErrUnavailable)
	}
	p.bytes += int64(size)
	return nil
}

// leave ends what begin and load counted.
func (p *proposals) leave(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n--
	p.bytes -= int64(size)
}

// complete hands a result to its waiter. A repeat finds none.
func (p *proposals) complete(seq uint64, res *storepb.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[seq]
	if w == nil || w.res != nil {
		return
	}
	w.res = res
	close(w.done)
}

// Propose carries out a command that fill completes by setting its operation; group, id, time and server are set here. It returns when
// the command is applied on this node, so that the next View shows it. Without a deadline ctx gets Intervals.Propose.
//
// Errors: store.ErrUnavailable, nothing happened; store.ErrUnknownOutcome, it may have happened or may still; store.ErrTooLarge, over
// MaxCommandBytes; or that of the command's result (state.ResultError), which is returned beside it and must not be changed.
func (r *Replica) Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	res, err := r.propose(ctx, fill)
	if err != nil {
		return nil, err
	}
	return res, state.ResultError(res)
}

// propose is Propose, with an error only where there is no result.
func (r *Replica) propose(ctx context.Context, fill func(*storepb.Command)) (res *storepb.Result, err error) {
	start := time.Now()
	defer func() { r.cfg.Metrics.proposed(res, err, time.Since(start).Seconds()) }()
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	lost, err := r.quorumLost()
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	select {
	case <-r.registered:
	case <-lost:
		return nil, fmt.Errorf("propose: the quorum was lost: %w", store.ErrUnavailable)
	case <-ctx.Done():
		return nil, fmt.Errorf("propose: this node has not registered yet: %w: %w", store.ErrUnavailable, ctx.Err())
	}
	return r.proposeNow(ctx, fill)
}

// proposeNow is propose also for a node that has not registered yet.
func (r *Replica) proposeNow(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("propose: %w: %w", store.ErrUnavailable, err)
	}
	lost, err := r.quorumLost()
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	w, lowest, err := r.proposals.begin()
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	defer r.proposals.forget(w)
	raw, err := r.encode(w.seq, lowest, fill)
	if err == nil {
		err = r.proposals.load(len(raw))
	}
	if err != nil {
		r.proposals.leave(0)
		return nil, fmt.Errorf("propose: %w", err)
	}
	pushed := make(chan error, 1)
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		defer r.proposals.leave(len(raw))
		pushed <- r.push(ctx, raw)
		<-ctx.Done() // what is committed counts until it is applied here, or this node's lag would have no limit
	}()
	return r.await(ctx, cancel, w, pushed, lost)
}

func (r *Replica) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, r.cfg.Intervals.Propose)
}

// commandVersion is the format in which commands are written: what every member can read, which the cluster's record says, though this
// program may know more.
func (r *Replica) commandVersion() uint32 { return min(max(r.version.Load(), 1), state.CommandVersion) }

func (r *Replica) encode(seq, lowest uint64, fill func(*storepb.Command)) ([]byte, error) {
	c := &storepb.Command{}
	fill(c)
	if c.Op == nil {
		return nil, fmt.Errorf("a command without an operation: %w", store.ErrInvalid)
	}
	c.Version, c.Group, c.Server = r.commandVersion(), 0, string(r.cfg.Self)
	if add := c.GetAddMessage(); add != nil && state.Needs(c) > c.Version {
		plain, ok := state.Plain(add)
		if ok {
			c.Op = &storepb.Command_AddMessage{AddMessage: plain}
		}
	}
	if needs := state.Needs(c); needs > c.Version {
		return nil, fmt.Errorf("the cluster is being upgraded: commands of version %d come when every node has known them for a while: %w", needs, store.ErrUnavailable)
	}
	c.Incarnation, c.Seq, c.Lowest = r.incarnation[:], seq, lowest
	c.TimeUnixMs = r.cfg.Now().UnixMilli()
	raw, err := proto.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the command: %w: %w", store.ErrInvalid, err)
	}
	if len(raw) > MaxCommandBytes {
		return nil, fmt.Errorf("a command of %d bytes, at most %d: %w", len(raw), MaxCommandBytes, store.ErrTooLarge)
	}
	return raw, nil
}

// push hands the same bytes to the log until it says that they are committed, or that they certainly never were appended, or ctx ends.
func (r *Replica) push(ctx context.Context, raw []byte) error {
	appended := false // perhaps
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		err := r.cfg.Log.Propose(ctx, raw)
		if err == nil {
			return nil
		}
		if definite(err) && !appended {
			return err
		}
		appended = appended || !definite(err)
		if !pause(ctx, wait) {
			return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
		}
	}
}

// definite tells whether an error of the log says that nothing was appended.
func definite(err error) bool {
	return errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome)
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits until the command is applied on this node (B2), or it is clear that it was not appended, or ctx ends. When the quorum is
// lost, it ends ctx by cancel: without one the answer might never come.
func (r *Replica) await(ctx context.Context, cancel func(), w *waiter, pushed <-chan error, lost <-chan struct{}) (*storepb.Result, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	committed := false
	for {
		select {
		case <-w.done:
			return w.res, nil
		case err := <-pushed:
			if err != nil {
				return r.giveUp(w, err)
			}
			committed, pushed = true, nil // and now this node must apply it
		case <-look.C:
			if res, ok := r.cfg.Machine.LookupResult(r.incarnation, w.seq); ok {
				return res, nil
			}
		case <-lost:
			cancel()
			lost = nil
		case <-ctx.Done():
			if committed {
				return r.giveUp(w, fmt.Errorf("committed, but this node is behind: %w: %w", store.ErrUnknownOutcome, ctx.Err()))
			}
			return r.giveUp(w, verdict(pushed, ctx.Err()))
		}
	}
}

// verdict waits for the log's last word on a command whose deadline passed.
func verdict(pushed <-chan error, cause error) error {
	t := time.NewTimer(lastWord)
	defer t.Stop()
	select {
	case err := <-pushed:
		if err != nil {
			return err
		}
	case <-t.C:
	}
	return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, cause)
}

// giveUp looks for the result one last time.
func (r *Replica) giveUp(w *waiter, err error) (*storepb.Result, error) {
	select {
	case <-w.done:
		return w.res, nil
	default:
	}
	if res, ok := r.cfg.Machine.LookupResult(r.incarnation, w.seq); ok {
		return res, nil
	}
	if definite(err) {
		return nil, fmt.Errorf("propose: %w", err)
	}
	if !errors.Is(err, store.ErrUnknownOutcome) {
		err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return nil, fmt.Errorf("propose: %w", err)
}

// ReadBarrier returns when this node has applied everything that was acknowledged anywhere before the call, or with store.ErrUnavailable,
// after Intervals.Barrier at the latest.
func (r *Replica) ReadBarrier(ctx context.Context) error {
	if _, err := r.quorumLost(); err != nil {
		return fmt.Errorf("read barrier: %w", err)
	}
	return r.barrier(ctx, r.cfg.Intervals.Barrier)
}

func (r *Replica) barrier(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	err := r.cfg.Log.ReadBarrier(ctx)
	if err == nil {
		r.cfg.Metrics.BarrierSeconds.Observe(time.Since(start).Seconds())
		return nil
	}
	r.cfg.Metrics.BarriersFailed.Inc()
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("read barrier: %w: %w", store.ErrUnavailable, err)
}
