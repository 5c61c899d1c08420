package queue

import (
	"context"
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
	cut      chan struct{} // capacity 1: what is under way is to end
	ended    chan jobEnd
	leaving  atomic.Bool  // no new work
	running  atomic.Int64 // jobs
	untold   atomic.Int64 // when a notice for a postmaster found none, Unix milliseconds; 0: the last one found one

	mu       sync.Mutex
	hints    []place                  // entries that changed; guarded by mu
	accounts map[store.AccountID]bool // that changed; guarded by mu
	missed   bool                     // there was more than hints takes; guarded by mu

	// What follows is of the loop of Run alone.

	line    *lineup
	looks   looker
	entered map[string]bool // destinations of what came into line at this turn
	jobs    int
}

// maxHints bounds what is remembered between two turns of the loop; the rest is found in the store.
const maxHints = 5000

// New makes a Manager.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, wake: make(chan struct{}, 1), cut: make(chan struct{}, 1), ended: make(chan jobEnd), accounts: map[store.AccountID]bool{},
		line: newLineup(cfg.InMemory, cfg.PerDestination()), looks: looker{gaps: map[uint64]state.DueEntry{}}, entered: map[string]bool{}}
	m.attempts = newBatcher(maxRefs, m.writeAttempts)
	m.outcomes = newBatcher(maxRefs, m.writeOutcomes)
	return m, nil
}

// Queued tells of entries that became this node's, or changed; all: that there may be others. It is replica.OnQueued's.
func (m *Manager) Queued(entries []*storepb.QueueEntry, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missed = m.missed || all || len(m.hints)+len(entries) > maxHints
	for _, e := range entries {
		if !m.missed {
			m.hints = append(m.hints, placeOf(e))
		}
	}
	m.poke()
}

func (m *Manager) takeHints() (hints []place, accounts map[store.AccountID]bool, missed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hints, accounts, missed = m.hints, m.accounts, m.missed
	m.hints, m.missed = nil, false
	if len(accounts) > 0 {
		m.accounts = map[store.AccountID]bool{}
	}
	return hints, accounts, missed
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
		m.begin(contexts{ctx, working, writing})
		timer := time.NewTimer(m.idle())
		select {
		case <-m.wake:
		case <-timer.C:
		case <-orphans.C:
			m.freeOrphans(writing)
			orphans.Reset(orphansEvery)
		case end := <-m.ended:
			m.end(writing, end)
		case <-m.cut:
			stopWork()
		case <-ctx.Done():
			timer.Stop()
			m.finish(stopWork, stopWriting)
			return
		}
		timer.Stop()
	}
}

// contexts are those of a job: run ends with Run's, working a little later, writing when nothing can be written any more.
type contexts struct{ run, working, writing context.Context }

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
	switch {
	case m.looks.goOn || m.gapToFill():
		return 0
	case m.looks.next.IsZero():
		return longest
	}
	return min(longest, max(0, m.looks.next.Sub(m.cfg.Now())))
}
