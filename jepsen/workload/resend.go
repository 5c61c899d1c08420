package workload

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
)

// resend sends again what it does not know the outcome of.
type resend struct{}

// NewResend makes the workload "resend": a client that does not learn what became of a message, often because it does not wait for that, sends
// the same message again at another node until it is taken; now and then to one recipient more than before, and now and then although it was
// taken. Its recipients are local and, if there are sites, elsewhere.
func NewResend() Workload { return resend{} }

// Name implements Workload.
func (resend) Name() string { return "resend" }

// Setup implements Workload.
func (w resend) Setup(_ context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("resend: there are no accounts")
	}
	return nil
}

// Process implements Workload.
func (w resend) Process(ctx context.Context, env *Env, p int) {
	s := &sender{proc: newProc(env, w.Name(), p), self: env.Accounts[p%len(env.Accounts)], again: true}
	defer s.hangUp()
	s.run(ctx, func(whole context.Context) error { return s.insist(ctx, whole) })
}

// Final implements Workload. Drain must have been done.
func (w resend) Final(ctx context.Context, env *Env) error { return env.finalInboxes(ctx, w.Name()) }

const (
	// insistTries is how often a message is sent: a client's patience, not a promise of the system's.
	insistTries = 40
	insistPause = 50 * time.Millisecond
)

// insist sends one message until it is taken for everybody, or the patience or ctx ends.
func (s *sender) insist(ctx, whole context.Context) error {
	submit := s.rng.IntN(2)
	pick := s.recipients
	if len(s.env.Elsewhere) > 0 && submit == 1 { // the others may send to this site alone
		pick = s.mixed
	}
	to, more := pick(), pick()
	id, from := s.newID(), [2]string{stranger, s.self.Address}[submit]
	msg := client.Message(id, from, s.size(), s.rng)
	all := slices.Clone(to)
	for attempt := 1; attempt <= insistTries && len(to) > 0; attempt++ {
		if attempt > 1 {
			s.moveOn()
			s.sleep(ctx, time.Duration(s.rng.Int64N(int64(attempt)*int64(insistPause))))
			if ctx.Err() != nil {
				return nil // nobody waits for the outcome
			}
		}
		if attempt == 2 && s.rng.IntN(3) == 0 {
			to, all = append(to, others(more, all)...), append(all, others(more, all)...)
		}
		s.deaf = attempt == 1 && s.rng.IntN(3) == 0
		to, _ = s.attempt(whole, submit, attempt, id, from, to, msg) // recorded
		if len(to) == 0 && attempt <= 2 && s.rng.IntN(8) == 0 {
			to = all // somebody presses the button once more
		}
	}
	return nil
}

// others are those of a list who are not in another.
func others(list, known []Account) []Account {
	return slices.DeleteFunc(slices.Clone(list), func(a Account) bool { return slices.Contains(known, a) })
}
