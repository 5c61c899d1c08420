package queue

import (
	"context"
	"errors"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Manager works on the entries of which this node is the owner.
type Manager struct {
	cfg      Config
	attempts *batcher[*storepb.QueueRef]
	outcomes *batcher[*storepb.QueueOutcome]
	wake     chan struct{} // capacity 1
	ended    chan jobEnd
	leaving  atomic.Bool  // no new work
	running  atomic.Int64 // jobs

	mu     sync.Mutex
	hints  []*storepb.QueueEntry // told by the state; guarded by mu
	missed bool                  // there was more than hints takes; guarded by mu

	// What follows is of the loop of Run alone.

	line   *lineup
	jobs   int
	behind state.DueEntry // how far the due entries were looked at
	due    time.Time      // of the first entry that is not due yet; zero: none is known
	look   bool           // look into the store at the next turn
	more   bool           // there are due entries in the store for which there was no room
}

// jobEnd is what a job left.
type jobEnd struct {
	items       []*item
	retry       bool // the store did not take the beginning: soon again
	reached     bool
	unreachable string // why the destination is
}

// maxHints bounds what is remembered between two turns of the loop; the rest is found in the store.
const maxHints = 5000

// New makes a Manager.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, wake: make(chan struct{}, 1), ended: make(chan jobEnd), line: newLineup(cfg.InMemory, cfg.PerDestination), look: true}
	m.attempts = newBatcher(maxRefs, m.writeAttempts)
	m.outcomes = newBatcher(maxRefs, m.writeOutcomes)
	return m, nil
}

// Queued tells of entries that became this node's, or changed; all: that there may be others. It is replica.OnQueued's.
func (m *Manager) Queued(entries []*storepb.QueueEntry, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missed = m.missed || all || len(m.hints)+len(entries) > maxHints
	if !m.missed {
		m.hints = append(m.hints, entries...)
	}
	m.poke()
}

func (m *Manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and then for Config.Finish at most until what is under way is written. Call it once.
func (m *Manager) Run(ctx context.Context) error {
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var g errgroup.Group
	for range writers {
		g.Go(func() error { m.attempts.run(writing); return nil })
		g.Go(func() error { m.outcomes.run(writing); return nil })
	}
	g.Go(func() error { m.handOvers(ctx); return nil })
	m.loop(ctx, writing, stopWriting)
	stopWriting()
	return g.Wait()
}

// writers is how many commands of a kind are under way at once.
const writers = 4

// loop is the owner of the line. Jobs run in goroutines of their own: they work under one context, and write what came of it under another.
func (m *Manager) loop(ctx, writing context.Context, stopWriting func()) {
	working, stopWork := context.WithCancel(writing)
	defer stopWork()
	orphans := time.NewTimer(0)
	defer orphans.Stop()
	for {
		m.refill(writing)
		m.begin(working, writing)
		timer := time.NewTimer(m.idle())
		select {
		case <-m.wake:
		case <-timer.C:
			m.look = true
		case <-orphans.C:
			m.freeOrphans(writing)
			orphans.Reset(orphansEvery)
		case end := <-m.ended:
			m.end(writing, end)
		case <-ctx.Done():
			timer.Stop()
			m.finish(stopWork, stopWriting)
			return
		}
		timer.Stop()
	}
}

// finish waits for the jobs that run. It cuts what takes too long, and then also what cannot be written.
func (m *Manager) finish(cuts ...func()) {
	timer := time.NewTimer(m.cfg.Finish)
	defer timer.Stop()
	for m.jobs > 0 {
		select {
		case <-m.ended:
			m.jobs--
		case <-timer.C:
			if len(cuts) > 0 {
				cuts[0]()
				cuts = cuts[1:]
				timer.Reset(m.cfg.Finish)
			}
		}
	}
	m.running.Store(0)
}

// idle is how long there is nothing to do.
func (m *Manager) idle() time.Duration {
	const longest = 5 * time.Second // destinations that rested are tried again
	if m.due.IsZero() {
		return longest
	}
	return min(longest, max(0, m.due.Sub(m.cfg.Now())))
}

// refill takes what was told into the line, and looks for more in the store.
func (m *Manager) refill(writing context.Context) {
	m.mu.Lock()
	hints, missed := m.hints, m.missed
	m.hints, m.missed = nil, false
	m.mu.Unlock()
	m.look = m.look || missed
	if len(hints) == 0 && !m.look {
		return
	}
	v := m.cfg.Store.View()
	defer v.Close()
	for _, e := range hints {
		m.consider(v, e)
	}
	if m.look {
		m.scan(v)
	}
	for name, d := range m.line.resting(m.cfg.Now()) {
		m.putOff(writing, m.line.takeAll(name), d.until, d.reason)
	}
}

// consider puts an entry in line if there is something to do with it now.
func (m *Manager) consider(v *state.View, e *storepb.QueueEntry) {
	now := m.cfg.Now()
	if due := time.UnixMilli(e.DueUnixMs); e.Notice == 0 && due.After(now) {
		if m.due.IsZero() || due.Before(m.due) {
			m.due = due
		}
		return
	}
	msg, err := v.QueueMessage(e.Message)
	if err != nil {
		return // it ended meanwhile
	}
	if !m.line.add(e, senderOf(msg)) {
		m.more = true
	}
}

// senderOf is whose line a message stands in.
func senderOf(msg *storepb.QueueMessage) string { return msg.EnvelopeFrom }

// scanBudget bounds how many entries one look reads.
const scanBudget = 20_000

// scan goes on looking for due entries where the last look ended.
func (m *Manager) scan(v *state.View) {
	m.look = false
	if m.line.full() {
		m.more = true
		return
	}
	now, n := m.cfg.Now(), 0
	began, whole := m.behind, true
	m.more = began != state.DueEntry{}
	err := v.Due(m.cfg.Self, began, now.UnixMilli(), func(d state.DueEntry) bool {
		if n++; m.line.full() || n > scanBudget {
			whole = false
			return false
		}
		m.behind = d
		if m.line.has(place{d.Message, d.Number}) {
			return true
		}
		if e, err := v.QueueEntry(d.Message, d.Number); err == nil {
			m.consider(v, e)
		}
		return true
	})
	if err != nil {
		m.cfg.Logger.Error("look for due entries", "err", err)
	}
	if !whole {
		m.more = true
		return
	}
	m.behind = state.DueEntry{}
	m.nextDue(v, now)
}

// nextDue finds the first entry that is not due yet.
func (m *Manager) nextDue(v *state.View, now time.Time) {
	m.due = time.Time{}
	err := v.Due(m.cfg.Self, state.DueEntry{DueUnixMs: now.UnixMilli() + 1}, 1<<62, func(d state.DueEntry) bool {
		m.due = time.UnixMilli(d.DueUnixMs)
		return false
	})
	if err != nil {
		m.cfg.Logger.Error("look for the next due entry", "err", err)
	}
}

// begin starts jobs, as long as there are any and they may.
func (m *Manager) begin(working, writing context.Context) {
	for !m.leaving.Load() && m.jobs < m.cfg.Jobs && m.cfg.Store.Ready() == nil {
		job := m.line.next(m.cfg.Now())
		if job == nil {
			return
		}
		m.start(func() jobEnd { return m.work(working, writing, job) })
	}
}

// start runs a job in a goroutine of its own.
func (m *Manager) start(f func() jobEnd) {
	m.jobs++
	m.running.Add(1)
	go func() { m.ended <- f() }()
}

// end takes note of what a job left.
func (m *Manager) end(writing context.Context, end jobEnd) {
	m.jobs--
	m.running.Add(-1)
	if len(end.items) == 0 {
		return
	}
	dest := end.items[0].dest
	next := m.line.done(end.items)
	if end.reached {
		m.line.reached(dest)
	}
	if end.unreachable != "" {
		m.line.unreachable(dest, end.unreachable, m.cfg.Now())
		d := m.line.dest(dest)
		m.putOff(writing, m.line.takeAll(dest), d.until, d.reason)
	}
	if end.retry {
		m.due = m.cfg.Now().Add(time.Second)
	}
	if m.more && len(m.line.items) < m.cfg.InMemory/4 {
		m.look = true
	}
	if len(next) == 0 {
		return
	}
	v := m.cfg.Store.View()
	defer v.Close()
	for _, e := range next {
		m.consider(v, e)
	}
}

// putOff writes that entries wait for a destination that is left alone.
func (m *Manager) putOff(writing context.Context, items []*item, until time.Time, reason string) {
	if len(items) == 0 {
		return
	}
	m.start(func() jobEnd {
		outcomes := m.decideAll(items, func(*item) Outcome {
			return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.4.1", Reason: reason, HostDown: true}
		})
		for i, o := range outcomes {
			if store.AttemptResult(o.Result) == store.AttemptDeferred {
				o.DueUnixMs = until.UnixMilli() + int64(i) // in their order, as soon as the destination is tried again
			}
		}
		m.writeAll(writing, outcomes)
		return jobEnd{items: items}
	})
}

// work does what a job's entries wait for.
func (m *Manager) work(working, writing context.Context, job []*item) jobEnd {
	ctx, cancel := context.WithTimeout(working, m.cfg.Attempt)
	defer cancel()
	end := jobEnd{items: job}
	var err error
	switch job[0].dest {
	case destNotice:
		err = m.notify(ctx, job)
	case destIn:
		err = m.judge(ctx, writing, job)
	case destLocal:
		err = m.place(ctx, writing, job)
	default:
		return m.deliver(ctx, writing, job)
	}
	switch {
	case err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound): // somebody else's by now
	case passing(err) || ctx.Err() != nil:
		end.retry = true
		m.cfg.Logger.Info("not done yet", "what", strings.TrimSpace(job[0].dest), "err", err)
	default:
		end.retry = true
		m.cfg.Logger.Error("work on the queue", "what", strings.TrimSpace(job[0].dest), "err", err)
	}
	return end
}

// now is the moment at which something is decided.
func (m *Manager) now() moment {
	at := moment{unixMs: m.cfg.Now().UnixMilli()}
	v := m.cfg.Store.View()
	defer v.Close()
	if cr, err := v.Cluster(); err == nil {
		at.tickMs = cr.TicksMs
	}
	return at
}

// decideAll decides for each of a job's entries.
func (m *Manager) decideAll(items []*item, of func(*item) Outcome) []*storepb.QueueOutcome {
	at, policy := m.now(), m.cfg.Policy().filled()
	var out []*storepb.QueueOutcome
	for _, it := range items {
		out = append(out, decide(policy, at, it.sender, it.entry, of(it)))
	}
	return out
}

// writeAll writes outcomes, and counts them.
func (m *Manager) writeAll(ctx context.Context, outcomes []*storepb.QueueOutcome) {
	for _, o := range outcomes {
		m.cfg.Metrics.Attempts.WithLabelValues(resultName(store.AttemptResult(o.Result))).Inc()
	}
	for len(outcomes) > 0 {
		n := min(len(outcomes), maxRefs/2)
		if _, err := m.outcomes.write(ctx, outcomes[:n]); err != nil {
			m.cfg.Logger.Warn("outcomes were not written", "count", n, "err", err)
		}
		outcomes = outcomes[n:]
	}
}

func resultName(r store.AttemptResult) string {
	switch r {
	case store.AttemptDelivered:
		return "delivered"
	case store.AttemptDeferred:
		return "deferred"
	case store.AttemptDiscarded:
		return "discarded"
	}
	return "failed"
}

func domainOf(address string) string {
	return address[strings.LastIndexByte(address, '@')+1:]
}

func seedOfText(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
