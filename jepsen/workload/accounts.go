package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

const (
	passwordAccounts = 3
	// loginPause is the mean time between two logins of a process: a password costs a node much to check.
	loginPause = 60 * time.Millisecond
)

// errNoAdmin is a node that has no listener for administrators that we know of.
var errNoAdmin = errors.New("no way to administer the node")

// accounts changes passwords while others log in.
type accounts struct {
	mu   sync.Mutex
	list []*owner
}

// owner is an account of this workload. All fields are guarded by the workload's mutex.
type owner struct {
	address   string
	passwords []string // all that were ever tried to set, the last at the end
	changing  bool     // one change at a time, so that their order is known
}

// NewAccounts makes the workload "accounts": an administrator changes passwords at any node while others log in with the new and the old
// ones at all nodes. Setup makes accounts of its own, allows many failed logins, and has passwords hashed cheaply; that stays.
func NewAccounts() Workload { return &accounts{} }

// Name implements Workload.
func (*accounts) Name() string { return "accounts" }

// Setup implements Workload.
func (w *accounts) Setup(ctx context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("accounts: there are no accounts")
	}
	p := newProc(env, w.Name(), setup)
	admin, err := p.admin()
	if err != nil {
		return err
	}
	for _, s := range [][2]string{{"auth.free_failures", "1000"}, {"auth.max_delay", "1s"}, {"auth.argon2_memory", "8MiB"}, {"auth.argon2_passes", "1"}} {
		if err := admin.Set(ctx, s[0], s[1]); err != nil {
			return err
		}
	}
	_, domain, _ := strings.Cut(env.Accounts[0].Address, "@")
	for i := range passwordAccounts {
		o := &owner{address: fmt.Sprintf("pw%d.%s@%s", i, env.tag(), domain)}
		if err := w.change(ctx, p, o, admin.AddAccount); err != nil {
			return err
		}
		w.mu.Lock()
		w.list = append(w.list, o)
		w.mu.Unlock()
	}
	return nil
}

// Process implements Workload. Every third one is an administrator, too.
func (w *accounts) Process(ctx context.Context, env *Env, p int) {
	c := newProc(env, w.Name(), p)
	c.run(ctx, func(whole context.Context) error {
		if p%3 == 0 && c.rng.IntN(5) == 0 {
			return w.changeAny(whole, c)
		}
		c.sleep(ctx, time.Duration(c.rng.Int64N(int64(2*loginPause))))
		return w.login(whole, c)
	})
}

// admin is the administrator's way to the process's node.
func (p *proc) admin() (*client.Admin, error) {
	n, err := p.node()
	if err != nil {
		return nil, err
	}
	if p.env.Admin == nil {
		return nil, errNoAdmin
	}
	if a := p.env.Admin(n.Name); a != nil {
		return a, nil
	}
	return nil, errNoAdmin
}

// changeAny changes the password of an account at the process's node, and goes on to the next.
func (w *accounts) changeAny(ctx context.Context, p *proc) error {
	admin, err := p.admin()
	if err != nil {
		return err
	}
	err = w.change(ctx, p, w.list[p.rng.IntN(len(w.list))], admin.SetPassword)
	p.moveOn()
	return err
}

// change gives an account a password that it never had.
func (w *accounts) change(ctx context.Context, p *proc, o *owner, set func(ctx context.Context, address, password string) error) error {
	password := fmt.Sprintf("%016x", p.rng.Uint64())
	w.mu.Lock()
	if o.changing {
		w.mu.Unlock()
		return nil
	}
	o.changing = true
	o.passwords = append(o.passwords, password)
	w.mu.Unlock()
	op := p.begin(history.Password, p.at)
	op.Box, op.Value = box(o.address, inbox), password
	err := p.end(op, set(ctx, o.address, password))
	w.mu.Lock()
	defer w.mu.Unlock()
	o.changing = false
	return err
}

// login logs in with the newest password, or one of those before, at any node, by IMAP or submission.
func (w *accounts) login(ctx context.Context, p *proc) error {
	w.mu.Lock()
	o := w.list[p.rng.IntN(len(w.list))]
	back := max(0, p.rng.IntN(5)-2) // mostly the newest
	password := o.passwords[max(0, len(o.passwords)-1-back)]
	w.mu.Unlock()
	n, err := p.node()
	if err != nil {
		return err
	}
	err = p.login(ctx, n, Account{o.address, password}, p.rng.IntN(3) > 0)
	if err == nil || client.IsAuth(err) {
		p.moveOn() // an answer, whichever
		return nil
	}
	return err
}

// login tries a password once.
func (p *proc) login(ctx context.Context, n client.Node, a Account, byIMAP bool) error {
	op := p.begin(history.Login, n.Name)
	op.Box, op.Value, op.Session = box(a.Address, inbox), a.Password, p.env.newSession()
	if byIMAP {
		c, err := client.DialIMAP(ctx, p.env.options(), n, a.Address, a.Password)
		if err == nil {
			defer c.Close()
		}
		return p.end(op, err)
	}
	c, err := client.DialSubmission(ctx, p.env.options(), n, a.Address, a.Password)
	if err == nil {
		defer c.Close()
	}
	return p.end(op, err)
}

// Final implements Workload. Each account gets a last password, with which it must be readable at every node, and without which not.
func (w *accounts) Final(ctx context.Context, env *Env) error {
	ctx, cancel := context.WithTimeout(ctx, env.finalWait())
	defer cancel()
	p := newProc(env, w.Name(), finals-len(env.Nodes()))
	var boxes []mailboxOf
	for _, o := range w.list {
		m, err := w.lastPassword(ctx, p, o)
		if err != nil {
			return err
		}
		boxes = append(boxes, m)
		for _, n := range env.Nodes() {
			_ = p.login(ctx, n, Account{o.address, o.passwords[len(o.passwords)-2]}, true) // recorded: it must be refused
		}
	}
	return finalReads(ctx, env, w.Name(), boxes)
}

func (w *accounts) lastPassword(ctx context.Context, p *proc, o *owner) (mailboxOf, error) {
	for {
		admin, err := p.admin()
		if err == nil {
			err = w.change(ctx, p, o, admin.SetPassword)
		}
		if err == nil {
			return mailboxOf{Account{o.address, o.passwords[len(o.passwords)-1]}, inbox}, nil
		}
		if p.sleep(ctx, 200*time.Millisecond); ctx.Err() != nil {
			return mailboxOf{}, fmt.Errorf("give %s its last password: %w", o.address, err)
		}
		p.moveOn()
	}
}
