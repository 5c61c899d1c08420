package workload

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/site"
)

// queueRemote sends mail to other sites.
type queueRemote struct{}

// NewQueueRemote makes the workload "queue-remote": submissions of all sizes to recipients at the harness's sites, some of whom these refuse,
// and to local ones besides. It needs Env.Elsewhere.
func NewQueueRemote() Workload { return queueRemote{} }

// Name implements Workload.
func (queueRemote) Name() string { return "queue-remote" }

// NeedsSites tells that the workload is nothing without them.
func (queueRemote) NeedsSites() bool { return true }

// Setup implements Workload.
func (w queueRemote) Setup(_ context.Context, env *Env) error {
	if len(env.Accounts) == 0 || len(env.Elsewhere) == 0 {
		return fmt.Errorf("%s: it needs accounts and sites, and there are %d and %d", w.Name(), len(env.Accounts), len(env.Elsewhere))
	}
	return nil
}

// Process implements Workload.
func (w queueRemote) Process(ctx context.Context, env *Env, p int) {
	s := &sender{proc: newProc(env, w.Name(), p), self: env.Accounts[p%len(env.Accounts)]}
	defer s.hangUp()
	s.run(ctx, func(whole context.Context) error { return s.send(ctx, whole, 1, s.mixed()) })
}

// Final implements Workload. Drain must have been done.
func (w queueRemote) Final(ctx context.Context, env *Env) error {
	return env.finalInboxes(ctx, w.Name())
}

// mixed are one to four recipients, most of them elsewhere.
func (s *sender) mixed() (to []Account) {
	for range 1 + s.rng.IntN(4) {
		var a Account
		switch r := s.rng.IntN(10); {
		case r < 6:
			a = s.stranger("r")
		case r < 7:
			a = s.stranger(site.Refused)
		default:
			a = s.env.Accounts[s.rng.IntN(len(s.env.Accounts))]
		}
		if !slices.Contains(to, a) {
			to = append(to, a)
		}
	}
	return to
}

// strangers is how many addresses of a kind there are at a site.
const strangers = 50

// stranger is somebody at one of the sites.
func (s *sender) stranger(kind string) Account {
	domain := s.env.Elsewhere[s.rng.IntN(len(s.env.Elsewhere))]
	return Account{Address: fmt.Sprintf("%s%d@%s", kind, s.rng.IntN(strangers), domain)}
}

const (
	flushEvery = 5 * time.Second
	// leftShown bounds the entries of a queue that are noted one by one.
	leftShown = 100
)

// Drain has all that waits in the queues tried again and again until nothing waits, which it notes, or for Env.FinalWait: then it notes what is
// left. Do it when all faults are healed, before any final read. The error is that of asking.
func Drain(ctx context.Context, env *Env) error {
	ctx, cancel := context.WithTimeout(ctx, env.finalWait())
	defer cancel()
	p := newProc(env, "drain", setup)
	var flushed time.Time
	for {
		left, err := p.waiting(ctx, &flushed)
		switch {
		case err == nil && len(left) == 0:
			env.History.Note(history.Note{At: env.History.Now(), Kind: "drained", Text: "nothing waits in a queue"})
			return nil
		case ctx.Err() != nil && err != nil:
			return fmt.Errorf("see what waits in the queues: %w", err)
		case ctx.Err() != nil:
			for _, text := range left[:min(leftShown, len(left))] {
				env.History.Note(history.Note{At: env.History.Now(), Kind: "queued", Text: text})
			}
			return nil
		case err != nil:
			p.moveOn()
		}
		p.sleep(ctx, 200*time.Millisecond)
	}
}

// waiting tells what waits, and has it tried if that was not done lately.
func (p *proc) waiting(ctx context.Context, flushed *time.Time) (left []string, err error) {
	ctx = context.WithoutCancel(ctx) // the last question is answered, too
	admin, err := p.admin()
	if err != nil {
		return nil, err
	}
	list, err := admin.Queue(ctx)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	for _, e := range list {
		left = append(left, fmt.Sprintf("%s from %s to %s in %s at %s after %d attempts: %s %s", e.QueueID, e.Sender, e.Recipient, e.Queue, e.Owner, e.Attempts, e.Notice, e.Reason))
	}
	if time.Since(*flushed) < flushEvery {
		return left, nil
	}
	*flushed = time.Now()
	return left, admin.Flush(ctx)
}
