package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/quorumail/quorumail/jepsen/client"
)

// setup is the number of the process that makes what a workload needs.
const setup = -100

// opsPerBox is how many steps a mailbox sees before another takes its place, so that its history stays short enough to be judged.
const opsPerBox = 200

// boxAccounts bounds the accounts over which a workload's mailboxes are spread: a process needs a connection for each.
const boxAccounts = 8

func (e *Env) boxAccounts() []Account { return e.Accounts[:min(boxAccounts, len(e.Accounts))] }

// boxes are the mailboxes that the processes of a workload share. All methods may be called from several goroutines.
type boxes struct {
	mu   sync.Mutex
	now  []*shared
	past []mailboxOf
}

// shared is guarded by the mutex of its boxes.
type shared struct {
	mailboxOf
	generation int
	ops        int
	renewing   bool
}

// make creates n mailboxes over the accounts in turn, each of a new name.
func (b *boxes) make(ctx context.Context, env *Env, workload string, n int) error {
	p := newProc(env, workload, setup)
	defer p.close()
	accounts := env.boxAccounts()
	for i := range n {
		m := mailboxOf{accounts[i%len(accounts)], fmt.Sprintf("%s-%s-%d", workload, env.tag(), i)}
		if err := p.create(ctx, m); err != nil {
			return err
		}
		b.mu.Lock()
		b.now = append(b.now, &shared{mailboxOf: m})
		b.mu.Unlock()
	}
	return nil
}

// create makes a mailbox at one of the nodes.
func (p *proc) create(ctx context.Context, m mailboxOf) error {
	var err error
	for range 2 * len(p.env.Nodes()) {
		var n client.Node
		if n, err = p.node(); err != nil {
			break
		}
		var s *session
		if s, err = p.session(ctx, n, m.account); err == nil {
			if err = s.Create(ctx, m.name); err == nil {
				return nil
			}
		}
		p.moveOn()
	}
	return fmt.Errorf("make the mailbox %s: %w", m, err)
}

// pick draws a mailbox for an operation.
func (b *boxes) pick(rng *rand.Rand) *shared {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.now[rng.IntN(len(b.now))]
	s.ops++
	return s
}

// of is the mailbox now.
func (b *boxes) of(s *shared) mailboxOf {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.mailboxOf
}

// renew puts a new mailbox in the place of one that has seen enough. Where that fails the old one stays for now.
func (b *boxes) renew(ctx context.Context, p *proc, s *shared) {
	b.mu.Lock()
	if s.ops < opsPerBox || s.renewing {
		b.mu.Unlock()
		return
	}
	s.renewing = true
	old := s.mailboxOf
	next := mailboxOf{old.account, fmt.Sprintf("%s.%d", b.first(s), s.generation+1)}
	b.mu.Unlock()
	err := p.create(ctx, next)
	b.mu.Lock()
	defer b.mu.Unlock()
	s.renewing, s.ops = false, 0
	if err == nil {
		b.past = append(b.past, old)
		s.mailboxOf, s.generation = next, s.generation+1
	}
}

// first is the name of the first mailbox in this place. It needs mu.
func (b *boxes) first(s *shared) string {
	if s.generation == 0 {
		return s.name
	}
	return s.name[:len(s.name)-len(fmt.Sprintf(".%d", s.generation))]
}

// all are the mailboxes that there ever were.
func (b *boxes) all() []mailboxOf {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := append([]mailboxOf(nil), b.past...)
	for _, s := range b.now {
		list = append(list, s.mailboxOf)
	}
	return list
}
