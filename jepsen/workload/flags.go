package workload

import (
	"context"
	"errors"
)

// The messages whose flags are changed: few, so that processes meet.
const (
	flagBoxes    = 8
	flagMessages = 5
)

// flags has several processes change flags of the same messages.
type flags struct{ boxes boxes }

// NewFlags makes the workload "imap-flags": STORE of flags by all processes on the same few messages, with reads at all nodes.
func NewFlags() Workload { return &flags{} }

// Name implements Workload.
func (*flags) Name() string { return "imap-flags" }

// Setup implements Workload. The messages' APPENDs are in the history.
func (w *flags) Setup(ctx context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("imap-flags: there are no accounts")
	}
	if err := w.boxes.make(ctx, env, w.Name(), min(flagBoxes, env.boxes())); err != nil {
		return err
	}
	return fill(ctx, env, w.Name(), w.boxes.all(), flagMessages)
}

// fill puts messages into each of the mailboxes.
func fill(ctx context.Context, env *Env, workload string, boxes []mailboxOf, messages int) error {
	p := newProc(env, workload, setup)
	defer p.close()
	for _, m := range boxes {
		for range messages {
			if err := p.append(ctx, m, 300+p.rng.IntN(1500)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Process implements Workload.
func (w *flags) Process(ctx context.Context, env *Env, p int) {
	c := newProc(env, w.Name(), p)
	c.run(ctx, func(whole context.Context) error { return w.step(whole, c) })
}

// Final implements Workload.
func (w *flags) Final(ctx context.Context, env *Env) error {
	return finalReads(ctx, env, w.Name(), w.boxes.all())
}

// step looks at a mailbox, changes some flags at the process's node, and now and then looks at another node whether they are there.
func (w *flags) step(ctx context.Context, p *proc) error {
	m := w.boxes.of(w.boxes.pick(p.rng))
	s, err := p.read(ctx, m)
	if err != nil {
		return err
	}
	for range 1 + p.rng.IntN(4) {
		uid := p.anyUID(s)
		if uid == 0 {
			return nil
		}
		if err := p.flag(ctx, s, m, uid); err != nil {
			return err
		}
		if p.at != s.node.Name {
			return nil // it took the next node, whose session has another view
		}
	}
	if p.rng.IntN(3) == 0 {
		elsewhere, err := p.other(s.node.Name)
		if err != nil {
			return err
		}
		_, _ = p.readAt(ctx, elsewhere, m, 1) // recorded; it says nothing of the process's own node
	}
	return nil
}
