package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// hopper has each process go from node to node with a mailbox of its own.
type hopper struct {
	mu    sync.Mutex
	boxes []mailboxOf
}

// NewSession makes the workload "session": a process changes its mailbox at one node and reads it at the next at once. It must see all that
// it did and nothing that it saw may be undone: read your writes, monotonic reads.
func NewSession() Workload { return &hopper{} }

// Name implements Workload.
func (*hopper) Name() string { return "session" }

// Setup implements Workload. Each process makes its own mailbox.
func (w *hopper) Setup(_ context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("session: there are no accounts")
	}
	return nil
}

// Process implements Workload.
func (w *hopper) Process(ctx context.Context, env *Env, p int) {
	c := newProc(env, w.Name(), p)
	m := mailboxOf{env.Accounts[p%len(env.Accounts)], fmt.Sprintf("%s-%s-%d", w.Name(), env.tag(), p)}
	made := false
	c.run(ctx, func(whole context.Context) error {
		if !made {
			if err := c.create(whole, m); err != nil {
				return err
			}
			made = true
			w.add(m)
		}
		return w.step(whole, c, m)
	})
}

func (w *hopper) add(m mailboxOf) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.boxes = append(w.boxes, m)
}

// Final implements Workload.
func (w *hopper) Final(ctx context.Context, env *Env) error {
	w.mu.Lock()
	boxes := slices.Clone(w.boxes)
	w.mu.Unlock()
	return finalReads(ctx, env, w.Name(), boxes)
}

// step reads at a node what was done at the one before, makes a change, and goes on to the next.
func (w *hopper) step(ctx context.Context, p *proc, m mailboxOf) error {
	s, err := p.read(ctx, m)
	if err != nil {
		return err
	}
	if err := p.edit(ctx, s, m); err != nil {
		return err
	}
	p.moveOn()
	return nil
}
