package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// handOvers gives the entries of servers that cannot work to others, as long as this node leads.
func (m *Manager) handOvers(ctx context.Context) {
	down := map[store.ServerID]time.Time{}
	for pause(ctx, time.Second) {
		if !m.cfg.Cluster.IsLeader() {
			clear(down)
			continue
		}
		if err := m.handOverOnce(ctx, down); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("hand over the entries of a node that is away", "err", err)
		}
	}
}

func (m *Manager) handOverOnce(ctx context.Context, down map[store.ServerID]time.Time) error {
	workers := map[store.ServerID]bool{}
	var to []string
	for _, id := range m.cfg.Cluster.Workers() {
		workers[id] = true
		to = append(to, string(id))
	}
	v := m.cfg.Store.View()
	owners, err := v.QueueOwners()
	v.Close()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, owner := range owners {
		if workers[owner] || owner == m.cfg.Self { // who leaves hands over by itself, when what is under way has ended
			delete(down, owner)
			continue
		}
		if _, known := down[owner]; !known {
			down[owner] = now
		}
		if now.Sub(down[owner]) < m.cfg.TakeOver || len(to) == 0 {
			continue
		}
		// What a process that runs has under way it ends itself; only the end of the process leaves that open.
		n, err := m.handOver(ctx, owner, to, m.cfg.Cluster.Running(owner))
		if n > 0 {
			m.cfg.Logger.Warn("took over the queue of a node that cannot work", "node", owner, "entries", n)
			m.cfg.Metrics.HandOvers.Add(float64(n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// handOver gives all entries of a server to others; idle: but for those that have an attempt under way.
func (m *Manager) handOver(ctx context.Context, from store.ServerID, to []string, idle bool) (n uint64, err error) {
	for {
		res, err := m.cfg.Store.Propose(ctx, func(c *storepb.Command) {
			c.Op = &storepb.Command_QueueHandOver{QueueHandOver: &storepb.QueueHandOver{From: string(from), To: to, Limit: maxRefs, Idle: idle}}
		})
		if err != nil {
			return n, fmt.Errorf("hand over the entries of %s: %w", from, err)
		}
		n += res.Count
		if res.Count < maxRefs {
			return n, nil
		}
	}
}

// awaitJobs waits until no job runs. In the second half of the time that ctx gives it cuts them short: it is better to know that an attempt
// was given up than to leave it to others as one of which nothing is known.
func (m *Manager) awaitJobs(ctx context.Context) {
	patience := m.cfg.Finish
	if until, ok := ctx.Deadline(); ok {
		patience = time.Until(until) / 2
	}
	began := time.Now()
	for m.running.Load() > 0 && pause(ctx, 20*time.Millisecond) {
		if time.Since(began) > patience {
			select {
			case m.cut <- struct{}{}:
			default:
			}
		}
	}
}

// Leave ends this node's work on queues and gives its entries to the others: it begins nothing new, waits until what is under way is done or
// ctx ends, and hands over. Without others the entries stay.
func (m *Manager) Leave(ctx context.Context) error {
	m.leaving.Store(true)
	m.awaitJobs(ctx)
	var to []string
	for _, id := range m.cfg.Cluster.Workers() {
		if id != m.cfg.Self {
			to = append(to, string(id))
		}
	}
	if len(to) == 0 {
		return nil
	}
	n, err := m.handOver(ctx, m.cfg.Self, to, false)
	if n > 0 {
		m.cfg.Logger.Info("handed this node's queue to the others", "entries", n)
	}
	return err
}
