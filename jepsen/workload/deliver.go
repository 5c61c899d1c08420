package workload

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// maxAttempts is how often a message is tried that was refused each time; a sending server would wait longer in between.
const maxAttempts = 8

// inbox is where mail is delivered.
const inbox = "INBOX"

// stranger sends mail from elsewhere.
const stranger = "stranger@jepsen.invalid"

// deliver sends mail by SMTP and submission, and looks at once whether other nodes show it.
type deliver struct{}

// NewDeliver makes the workload "deliver": mail of all sizes by SMTP and submission to one or several of the accounts, with reads of the
// inboxes at other nodes right after acknowledgements.
func NewDeliver() Workload { return deliver{} }

// Name implements Workload.
func (deliver) Name() string { return "deliver" }

// Setup implements Workload.
func (deliver) Setup(_ context.Context, env *Env) error {
	if len(env.Accounts) == 0 {
		return errors.New("deliver: there are no accounts")
	}
	return nil
}

// Process implements Workload.
func (d deliver) Process(ctx context.Context, env *Env, p int) {
	s := &sender{proc: newProc(env, d.Name(), p), self: env.Accounts[p%len(env.Accounts)]}
	defer s.hangUp()
	s.run(ctx, func(whole context.Context) error { return s.step(ctx, whole) })
}

// Final implements Workload.
func (d deliver) Final(ctx context.Context, env *Env) error {
	return env.finalInboxes(ctx, d.Name())
}

// finalInboxes does the final reads of the inboxes once for all workloads whose mail goes there.
func (e *Env) finalInboxes(ctx context.Context, workload string) error {
	e.inboxesOnce.Do(func() { e.inboxesErr = finalReads(ctx, e, workload, inboxes(e)) })
	return e.inboxesErr
}

func inboxes(env *Env) []mailboxOf {
	var list []mailboxOf
	for _, a := range env.Accounts {
		list = append(list, mailboxOf{a, inbox})
	}
	return list
}

// sender is a process of deliver.
type sender struct {
	*proc
	self   Account         // who logs in for submission
	conns  [2]*client.SMTP // SMTP, submission
	number [2]int          // their sessions
	node   [2]string       // where they go
	again  bool            // send a message again when its outcome is unknown
	deaf   bool            // do not wait for the answer to the next message
}

func (s *sender) hangUp() {
	for _, c := range s.conns {
		if c != nil {
			c.Close()
		}
	}
}

func (s *sender) step(ctx, whole context.Context) error {
	return s.send(ctx, whole, s.rng.IntN(2), s.recipients())
}

// send sends a message, by submission if submit is 1, until every recipient has it, or nobody knows, or the patience or ctx ends.
func (s *sender) send(ctx, whole context.Context, submit int, to []Account) error {
	id := s.newID()
	from := [2]string{stranger, s.self.Address}[submit]
	msg := client.Message(id, from, s.size(), s.rng)
	var err error
	for attempt := 1; attempt <= maxAttempts && len(to) > 0; attempt++ {
		if attempt > 1 {
			s.moveOn()
			if ctx.Err() != nil {
				return err
			}
		}
		var left []Account
		left, err = s.attempt(whole, submit, attempt, id, from, to, msg)
		if len(left) < len(to) && err == nil && s.rng.IntN(4) == 0 {
			s.look(whole, to[s.rng.IntN(len(to))])
		}
		to = left
	}
	return err
}

// attempt sends a message once, at the process's node. left are those to whom it must be sent again; err is that of the last one.
func (s *sender) attempt(ctx context.Context, submit, attempt int, id, from string, to []Account, msg []byte) (left []Account, err error) {
	n, err := s.proc.node()
	if err != nil {
		return to, err
	}
	op := s.begin(history.Deliver, n.Name)
	op.ID, op.Attempt = id, attempt
	errs := make([]error, len(to))
	c, dialled := s.connect(ctx, submit, n)
	if dialled != nil {
		for i := range errs {
			errs[i] = &client.OpError{Outcome: history.Fail, Err: dialled}
		}
	} else {
		op.Session = s.number[submit]
		var addresses []string
		for _, a := range to {
			addresses = append(addresses, a.Address)
		}
		c.Deaf, s.deaf = s.deaf, false
		errs = c.Deliver(ctx, from, addresses, msg)
		op.Value = c.QueueID()
	}
	for i, a := range to {
		switch s.end(s.about(op, a), errs[i]); client.Outcome(errs[i]) {
		case history.Fail:
			left, err = append(left, a), errs[i]
		case history.Unknown:
			if err = errs[i]; s.again {
				left = append(left, a)
			}
		}
	}
	return left, err
}

// about makes an operation that of one recipient: one here, or one at another site.
func (s *sender) about(op history.Op, a Account) history.Op {
	if s.env.elsewhere(a.Address) {
		op.Kind, op.Dest = history.Accept, a.Address
	} else {
		op.Box = box(a.Address, inbox)
	}
	return op
}

// connect is the connection that there is if it works and goes to this node, else a new one.
func (s *sender) connect(ctx context.Context, submit int, n client.Node) (*client.SMTP, error) {
	if c := s.conns[submit]; c != nil {
		if c.Alive() && s.node[submit] == n.Name {
			return c, nil
		}
		c.Close()
		s.conns[submit] = nil
	}
	var c *client.SMTP
	var err error
	if submit == 1 {
		c, err = client.DialSubmission(ctx, s.env.options(), n, s.self.Address, s.self.Password)
	} else {
		c, err = client.DialSMTP(ctx, s.env.options(), n)
	}
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s.conns[submit], s.number[submit], s.node[submit] = c, s.env.newSession(), n.Name
	return c, nil
}

// look reads a recipient's inbox at another node, where the message must be by now. That it cannot be read is no reason to send elsewhere.
func (s *sender) look(ctx context.Context, a Account) {
	n, err := s.other(s.at)
	if err != nil {
		return
	}
	_ = s.readAfter(ctx, n, mailboxOf{a, inbox}) // recorded
}

// recipients are mostly one.
func (s *sender) recipients() []Account {
	all := s.env.Accounts
	n := 1
	if s.rng.IntN(8) == 0 {
		n = min(2+s.rng.IntN(3), len(all))
	}
	var to []Account
	for _, i := range s.rng.Perm(len(all))[:n] {
		to = append(to, all[i])
	}
	return to
}

// size draws how large a message is: mostly small, some so large that bodies go beside the log, up to 1 MiB.
func (s *sender) size() int {
	between := func(low, high int) int { return low + s.rng.IntN(high-low) }
	switch r := s.rng.IntN(100); {
	case r < 70:
		return between(300, 2<<10)
	case r < 85:
		return between(2<<10, 8<<10)
	case r < 96:
		return between(8<<10, 64<<10)
	case r < 99:
		return between(64<<10, 256<<10)
	}
	return between(256<<10, 1<<20)
}
