package workload

import (
	"context"
	"errors"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// errNothing is a MOVE that the server carried out on nothing: the message is not there any more.
var errNothing = errors.New("nothing to move")

// gone is the Value of a Store whose answer did not show the message.
const gone = "gone"

// append stores a message of about sizeBytes in a mailbox. It need not be selected.
func (p *proc) append(ctx context.Context, n client.Node, m mailboxOf, sizeBytes int) error {
	op := p.begin(history.Append, n.Name)
	op.Box, op.ID, op.Attempt = m.String(), p.newID(), 1
	s, err := p.session(ctx, n, m.account)
	if err == nil {
		op.Session = s.number
		op.UID, err = s.Append(ctx, m.name, client.Message(op.ID, m.account.Address, sizeBytes, p.rng))
	}
	return p.end(op, err)
}

// store sets or takes a flag of a message in the session's view.
func (p *proc) store(ctx context.Context, s *session, m mailboxOf, uid uint32, flag string, add bool) error {
	op := p.change(history.Store, s, m, uid)
	op.Flag, op.Add = flag, add
	modSeq, seen, err := s.Store(ctx, uid, flag, add)
	op.ModSeq = modSeq
	if err == nil && !seen {
		op.Value = gone
	}
	return p.end(op, err)
}

// expunge removes a message in the session's view. Marking it and removing it are operations of their own, for what others see in between.
func (p *proc) expunge(ctx context.Context, s *session, m mailboxOf, uid uint32) error {
	if err := p.store(ctx, s, m, uid, `\deleted`, true); err != nil {
		return err
	}
	op := p.change(history.Expunge, s, m, uid)
	return p.end(op, s.Expunge(ctx, uid))
}

// move moves a message in the session's view to another mailbox of the account.
func (p *proc) move(ctx context.Context, s *session, m mailboxOf, uid uint32, dest mailboxOf) error {
	op := p.change(history.Move, s, m, uid)
	op.Dest = dest.String()
	to, err := s.Move(ctx, uid, dest.name)
	op.DestUID = to
	if err == nil && to == 0 {
		_ = p.end(op, &client.OpError{Outcome: history.Fail, Err: errNothing}) // no reason to go to another node
		return nil
	}
	return p.end(op, err)
}

func (p *proc) change(kind history.Kind, s *session, m mailboxOf, uid uint32) history.Op {
	op := p.begin(kind, s.node.Name)
	op.Box, op.UID, op.Session = m.String(), uid, s.number
	for _, seen := range s.view.Messages {
		if seen.UID == uid {
			op.ID = seen.ID
		}
	}
	return op
}

// anyUID draws a message of the session's view; 0: there is none.
func (p *proc) anyUID(s *session) uint32 {
	if s.view == nil || len(s.view.Messages) == 0 {
		return 0
	}
	return s.view.Messages[p.rng.IntN(len(s.view.Messages))].UID
}
