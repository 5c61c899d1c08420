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

// readShare is how many times longer than a read took a process that reads large mailboxes waits before the next.
const readShare = 8

// mailboxOf is a mailbox of an account.
type mailboxOf struct {
	account Account
	name    string
}

func (m mailboxOf) String() string { return box(m.account.Address, m.name) }

// read looks at a whole mailbox at the process's node, and if that fails at the next. Only the UIDs in the session's view may be used in
// it: a server takes no notice of others, even if they exist by now.
func (p *proc) read(ctx context.Context, m mailboxOf) (s *session, err error) {
	for attempt := 1; attempt <= 2; attempt++ {
		var n client.Node
		if n, err = p.node(); err != nil {
			return nil, err
		}
		s, err = p.readAt(ctx, n, m, attempt)
		if err == nil || errors.Is(err, client.ErrRestless) {
			return s, err
		}
		p.moveOn()
	}
	return nil, err
}

// readAt looks at a whole mailbox at a node: with a NOOP in a session that has it selected, now and then, else with a SELECT.
func (p *proc) readAt(ctx context.Context, n client.Node, m mailboxOf, attempt int) (*session, error) {
	op := p.begin(history.Read, n.Name)
	op.Box, op.Attempt = m.String(), attempt
	s, err := p.session(ctx, n, m.account)
	if err != nil {
		return nil, p.end(op, err)
	}
	op.Session = s.number
	if s.Selected() == m.name && p.rng.IntN(2) == 0 {
		s.view, err = s.Refresh(ctx)
	} else {
		s.view, err = s.Look(ctx, m.name)
	}
	if errors.Is(err, client.ErrRestless) {
		return nil, err // not recorded: it says nothing of the system
	}
	p.env.own(s.view)
	op.Mailbox = s.view
	return s, p.end(op, err)
}

// own leaves the ids of this run's messages alone: those of earlier runs on the same cluster are mail of others.
func (e *Env) own(seen *history.Mailbox) {
	if seen == nil {
		return
	}
	for i := range seen.Messages {
		if m := &seen.Messages[i]; !strings.HasSuffix(m.ID, "."+e.tag()) {
			m.ID = ""
		}
	}
}

// readAfter is read for mailboxes that grow: so seldom that it takes a small share of the process's time.
func (p *proc) readAfter(ctx context.Context, n client.Node, m mailboxOf) error {
	began := time.Now()
	if began.Before(p.nextRead) {
		return nil
	}
	s, err := p.readAt(ctx, n, m, 1)
	if err == nil {
		p.sample(ctx, s, m)
	}
	p.nextRead = time.Now().Add(readShare * time.Since(began))
	return err
}

const (
	sampled    = 3               // messages whose bodies are read with a mailbox that grows
	sampleWait = 5 * time.Second // for them
)

// sample reads a few of the messages in the session's view whole: a disk that gives wrong bytes is noticed only by who reads them. That they
// cannot be read just now says nothing.
func (p *proc) sample(ctx context.Context, s *session, m mailboxOf) {
	var own []history.Message
	for _, i := range p.rng.Perm(len(s.view.Messages)) {
		if msg := s.view.Messages[i]; msg.ID != "" && len(own) < sampled {
			own = append(own, msg)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, sampleWait)
	defer cancel()
	corrupt, err := s.Bodies(ctx, own)
	if err != nil {
		p.drop(s)
	}
	p.noteCorrupt(s.node.Name, m, corrupt)
}

func (p *proc) noteCorrupt(node string, m mailboxOf, list []client.Corruption) {
	for _, c := range list {
		p.env.History.Note(history.Note{At: p.env.History.Now(), Node: node, Kind: "corrupt", Text: fmt.Sprintf("uid %d of %s: %v", c.UID, m, c.Err)})
	}
}

// finals are the numbers of the processes that do final reads, downwards.
const finals = -1

// finalReads reads mailboxes whole at every node, until each was read or the time is over.
func finalReads(ctx context.Context, env *Env, workload string, boxes []mailboxOf) error {
	ctx, cancel := context.WithTimeout(ctx, env.finalWait())
	defer cancel()
	nodes := env.Nodes()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			p := newProc(env, workload, finals-i)
			defer p.close()
			errs[i] = p.finalReadsAt(ctx, n, boxes)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *proc) finalReadsAt(ctx context.Context, n client.Node, boxes []mailboxOf) error {
	for _, m := range boxes {
		for {
			err := p.finalRead(ctx, n, m)
			if err == nil {
				break
			}
			p.sleep(ctx, 200*time.Millisecond)
			if ctx.Err() != nil {
				return fmt.Errorf("final read of %s at %s: %w", m, n.Name, err)
			}
			if now, ok := byName(p.env.Nodes(), n.Name); ok {
				n = now // it may have started again elsewhere
			}
		}
	}
	return nil
}

func byName(nodes []client.Node, name string) (client.Node, bool) {
	for _, n := range nodes {
		if n.Name == name {
			return n, true
		}
	}
	return client.Node{}, false
}

// notices records what an inbox tells of messages to other sites that did not arrive.
func (p *proc) notices(ctx context.Context, s *session, m mailboxOf, seen *history.Mailbox) error {
	if m.name != inbox || len(p.env.Elsewhere) == 0 {
		return nil
	}
	op := p.begin(history.Notice, s.node.Name)
	op.Box, op.Session = m.String(), s.number
	found, err := s.Notices(ctx, seen.Messages)
	if err != nil {
		p.drop(s)
		return err
	}
	for _, n := range found {
		if n.ID != "" && !strings.HasSuffix(n.ID, "."+p.env.tag()) {
			continue // of an earlier run
		}
		for _, to := range n.Dest {
			op.ID, op.Dest, op.UID = n.ID, to, n.UID
			_ = p.end(op, nil)
		}
	}
	return nil
}

// finalRead reads one mailbox with all its bodies.
func (p *proc) finalRead(ctx context.Context, n client.Node, m mailboxOf) error {
	op := p.begin(history.Read, n.Name)
	op.Box = m.String()
	s, err := p.session(ctx, n, m.account)
	if err != nil {
		return p.end(op, err)
	}
	op.Session = s.number
	seen, corrupt, err := s.LookWhole(ctx, m.name)
	if errors.Is(err, client.ErrRestless) {
		return err
	}
	if err != nil {
		return p.end(op, err)
	}
	p.env.own(seen)
	seen.Final = true
	op.Mailbox = seen
	op.Return, op.Outcome = p.env.History.Now(), history.OK
	if len(corrupt) > 0 {
		op.Error = fmt.Sprintf("corrupt: uid %d of %s: %v", corrupt[0].UID, m, corrupt[0].Err)
	}
	p.noteCorrupt(n.Name, m, corrupt)
	p.env.History.Op(op)
	return p.notices(ctx, s, m, seen)
}
