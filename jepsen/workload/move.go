package workload

import (
	"context"
	"errors"
)

// The messages that are moved to and fro.
const (
	movePairs    = 6
	moveMessages = 6
)

// mover moves messages between two mailboxes of an account.
type mover struct{ boxes boxes }

// NewMove makes the workload "move": all processes MOVE the same messages between the two mailboxes of a pair. In the end each must be in
// one of them, and in one only.
func NewMove() Workload { return &mover{} }

// Name implements Workload.
func (*mover) Name() string { return "move" }

// Setup implements Workload. The messages' APPENDs are in the history.
func (w *mover) Setup(ctx context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("move: there are no accounts")
	}
	// Mailbox i and mailbox i + pairs are of one account: the number of pairs is a multiple of that of the accounts.
	n := len(env.boxAccounts())
	pairs := n * max(1, movePairs/n)
	if err := w.boxes.make(ctx, env, w.Name(), 2*pairs); err != nil {
		return err
	}
	return fill(ctx, env, w.Name(), w.boxes.all()[:pairs], moveMessages)
}

// Process implements Workload.
func (w *mover) Process(ctx context.Context, env *Env, p int) {
	c := newProc(env, w.Name(), p)
	c.run(ctx, func(whole context.Context) error { return w.step(whole, c) })
}

// Final implements Workload.
func (w *mover) Final(ctx context.Context, env *Env) error {
	return finalReads(ctx, env, w.Name(), w.boxes.all())
}

// step looks at one mailbox of a pair and moves some of its messages to the other.
func (w *mover) step(ctx context.Context, p *proc) error {
	all := w.boxes.all()
	i := p.rng.IntN(len(all))
	from, to := all[i], all[(i+len(all)/2)%len(all)]
	s, err := p.read(ctx, from)
	if err != nil {
		return err
	}
	for range 1 + p.rng.IntN(2) {
		uid := p.anyUID(s)
		if uid == 0 {
			return nil
		}
		err := p.retried(ctx, s, from, uid, func(s *session, attempt int) error { return p.move(ctx, s, from, uid, to, attempt) })
		if err != nil || p.at != s.node.Name {
			return err
		}
	}
	return nil
}
