package workload

import (
	"context"
	"errors"
)

// maxLive is how many messages a mailbox of append-expunge holds, about: few, so that its history can be judged exactly.
const maxLive = 6

// flagNames are the flags that are set and taken.
var flagNames = []string{`\seen`, `\flagged`, `\answered`, "$jepsen1", "$jepsen2"}

// appendExpunge works on many small mailboxes, each from several nodes at once.
type appendExpunge struct{ boxes boxes }

// NewAppendExpunge makes the workload "append-expunge": APPEND, STORE, EXPUNGE and reads in Env.Boxes mailboxes of a few messages each, by
// all processes at their nodes. A mailbox gives way to a new one after some hundred operations.
func NewAppendExpunge() Workload { return &appendExpunge{} }

// Name implements Workload.
func (*appendExpunge) Name() string { return "append-expunge" }

// Setup implements Workload.
func (w *appendExpunge) Setup(ctx context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("append-expunge: there are no accounts")
	}
	return w.boxes.make(ctx, env, w.Name(), env.boxes())
}

// Process implements Workload.
func (w *appendExpunge) Process(ctx context.Context, env *Env, p int) {
	c := newProc(env, w.Name(), p)
	c.run(ctx, func(whole context.Context) error { return w.step(whole, c) })
}

// Final implements Workload.
func (w *appendExpunge) Final(ctx context.Context, env *Env) error {
	return finalReads(ctx, env, w.Name(), w.boxes.all())
}

// step looks at a mailbox and changes it by what it saw.
func (w *appendExpunge) step(ctx context.Context, p *proc) error {
	place := w.boxes.pick(p.rng)
	w.boxes.renew(ctx, p, place)
	m := w.boxes.of(place)
	s, err := p.read(ctx, m)
	if err != nil {
		return err
	}
	return p.edit(ctx, s, m)
}

// edit makes one change to the mailbox that the session has just read, such that it keeps a few messages.
func (p *proc) edit(ctx context.Context, s *session, m mailboxOf) error {
	uid, live := p.anyUID(s), len(s.view.Messages)
	draw := p.rng.IntN(100)
	switch {
	case uid == 0 || live < maxLive && draw < 40:
		return p.append(ctx, m, 300+p.rng.IntN(1500))
	case live >= maxLive || draw < 65:
		return p.retried(ctx, s, m, uid, func(s *session, attempt int) error { return p.expunge(ctx, s, m, uid, attempt) })
	}
	return p.flag(ctx, s, m, uid)
}

// flag sets or takes one of the flags.
func (p *proc) flag(ctx context.Context, s *session, m mailboxOf, uid uint32) error {
	name, add := flagNames[p.rng.IntN(len(flagNames))], p.rng.IntN(2) == 0
	return p.retried(ctx, s, m, uid, func(s *session, attempt int) error { return p.store(ctx, s, m, uid, name, add, attempt) })
}
