package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// jobEnd is what a job left.
type jobEnd struct {
	job         *job // nil: of nothing in line
	reached     bool
	unreachable string // why the destination is
}

// begin starts jobs, as long as there are any and they may.
func (m *Manager) begin(ctx contexts) {
	m.line.perDest = m.cfg.PerDestination()
	for m.jobs < m.cfg.Jobs && m.cfg.Store.Ready() == nil {
		m.running.Add(1) // before leaving is looked at: who leaves waits for what it may not have kept from beginning
		j := m.nextJob()
		if j == nil {
			m.running.Add(-1)
			return
		}
		m.start(func() jobEnd { return m.work(ctx, j) })
		m.running.Add(-1)
	}
}

// nextJob finds the next one. What goes another way since it came into line gets in line anew, so that no job is for two destinations.
func (m *Manager) nextJob() *job {
	for !m.leaving.Load() {
		now := m.cfg.Now()
		j := m.line.next(now, m.cfg.Jobs-m.jobs)
		if j == nil || !m.rerouted(j) {
			return j
		}
		m.leave(j, now)
	}
	return nil
}

// rerouted tells whether some of a job's entries go elsewhere by now than to its destination.
func (m *Manager) rerouted(j *job) bool {
	if !isRemote(j.dest) {
		return false
	}
	last := "" // most jobs are for one domain
	return slices.ContainsFunc(j.items, func(it *item) bool {
		domain := domainOf(it.entry.Address)
		same := domain == last
		last = domain
		return !same && m.cfg.Sender.Destination(domain) != j.dest
	})
}

// start runs a job in a goroutine of its own.
func (m *Manager) start(f func() jobEnd) {
	m.jobs++
	m.running.Add(1)
	go func() { m.ended <- f() }()
}

// end takes note of what a job left, and looks what its entries wait for now.
func (m *Manager) end(writing context.Context, end jobEnd) {
	m.jobs--
	m.running.Add(-1)
	j, now := end.job, m.cfg.Now()
	if j == nil {
		return
	}
	if m.rerouted(j) { // what was met may have been another destination
		end.reached, end.unreachable = false, ""
	}
	if end.reached {
		m.line.dests.reached(j.dest)
	}
	if end.unreachable != "" {
		m.line.dests.unreachable(j.dest, end.unreachable, now)
	}
	m.leave(j, now)
	if until, reason, rests := m.line.dests.rests(j.dest, now); rests && end.unreachable != "" {
		m.putOff(writing, m.line.takeAll(j.dest), until, reason)
	}
}

// leave takes a job out of the line, and puts in what its entries wait for now.
func (m *Manager) leave(j *job, now time.Time) {
	m.line.done(j)
	v := m.cfg.Store.View()
	defer v.Close()
	for _, it := range j.items {
		m.consider(v, placeOf(it.entry), it.told, now)
	}
}

// putOff writes that entries wait for a destination that is left alone.
func (m *Manager) putOff(writing context.Context, j *job, until time.Time, reason string) {
	if j == nil {
		return
	}
	m.start(func() jobEnd {
		outcomes := m.decideAll(j.items, func(*item) Outcome {
			return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.4.1", Reason: reason, HostDown: true}
		})
		for i, o := range outcomes {
			if store.AttemptResult(o.Result) == store.AttemptDeferred {
				o.DueUnixMs = until.UnixMilli() + int64(i) // in their order, as soon as the destination is tried again
			}
		}
		if m.writeAll(writing, outcomes) != nil {
			pause(writing, afterTrouble)
		}
		return jobEnd{job: j}
	})
}

// afterTrouble is how long what could not be done keeps its place among the jobs, so that it is not tried again at once.
const afterTrouble = time.Second

// work does what a job's entries wait for.
func (m *Manager) work(ctx contexts, j *job) jobEnd {
	working, cancel := context.WithTimeout(ctx.working, m.cfg.Attempt)
	defer cancel()
	end := jobEnd{job: j}
	err := m.do(working, ctx.writing, j, &end)
	switch {
	case err == nil:
		return end
	case errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || passing(err) || working.Err() != nil:
		m.cfg.Logger.Info("not done yet", "what", strings.TrimSpace(j.dest), "err", err)
	default:
		m.cfg.Logger.Error("work on the queue", "what", strings.TrimSpace(j.dest), "err", err)
	}
	pause(ctx.run, afterTrouble)
	return end
}

func (m *Manager) do(ctx, writing context.Context, j *job, end *jobEnd) error {
	switch j.dest {
	case destNotice:
		return m.notify(ctx, writing, j.items)
	case destIn:
		return m.judge(ctx, writing, j.items)
	case destLocal:
		return m.place(ctx, writing, j.items)
	}
	return m.deliver(ctx, writing, j.items, end)
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
		out = append(out, decide(policy, at, it.from, it.entry, of(it)))
	}
	return out
}

// writeAll writes outcomes, and counts them.
func (m *Manager) writeAll(ctx context.Context, outcomes []*storepb.QueueOutcome) error {
	for _, o := range outcomes {
		m.cfg.Metrics.Attempts.WithLabelValues(resultName(store.AttemptResult(o.Result))).Inc()
	}
	var failed error
	for len(outcomes) > 0 {
		n := min(len(outcomes), maxRefs/2)
		if _, err := m.outcomes.write(ctx, outcomes[:n]); err != nil {
			m.cfg.Logger.Error("outcomes were not written: their attempts will be made again", "count", n, "err", err)
			failed = err
		}
		outcomes = outcomes[n:]
	}
	return failed
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
