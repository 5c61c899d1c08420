package workload

import (
	"context"
	"errors"
	"slices"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// errNothing is a MOVE that the server carried out on nothing: the message is not there any more.
var errNothing = errors.New("nothing to move")

// gone is the Value of a Store whose answer did not show the message.
const gone = "gone"

// append stores a message of about sizeBytes in a mailbox, at the process's node, and if that certainly failed at the next. The mailbox need
// not be selected.
func (p *proc) append(ctx context.Context, m mailboxOf, sizeBytes int) error {
	id := p.newID()
	msg := client.Message(id, m.account.Address, sizeBytes, p.rng)
	var err error
	for attempt := 1; attempt <= 2; attempt++ {
		var n client.Node
		if n, err = p.node(); err != nil {
			return err
		}
		if err = p.appendAt(ctx, n, m, id, msg, attempt); client.Outcome(err) != history.Fail {
			return err
		}
		p.moveOn()
	}
	return err
}

func (p *proc) appendAt(ctx context.Context, n client.Node, m mailboxOf, id string, msg []byte, attempt int) error {
	op := p.begin(history.Append, n.Name)
	op.Box, op.ID, op.Attempt = m.String(), id, attempt
	s, err := p.session(ctx, n, m.account)
	if err == nil {
		op.Session = s.number
		op.UID, err = s.Append(ctx, m.name, msg)
	}
	return p.end(op, err)
}

// retried makes a change to a message in the session's view, and if that certainly failed at the next node, if the message is there.
func (p *proc) retried(ctx context.Context, s *session, m mailboxOf, uid uint32, change func(s *session, attempt int) error) error {
	err := change(s, 1)
	if client.Outcome(err) != history.Fail {
		return err
	}
	p.moveOn()
	n, none := p.node()
	if none != nil {
		return err
	}
	again, failed := p.readAt(ctx, n, m, 1)
	if failed != nil || !slices.ContainsFunc(again.view.Messages, func(msg history.Message) bool { return msg.UID == uid }) {
		return err
	}
	return change(again, 2)
}

// store sets or takes a flag of a message in the session's view.
func (p *proc) store(ctx context.Context, s *session, m mailboxOf, uid uint32, flag string, add bool, attempt int) error {
	op := p.change(history.Store, s, m, uid, attempt)
	op.Flag, op.Add = flag, add
	modSeq, seen, err := s.Store(ctx, uid, flag, add)
	op.ModSeq = modSeq
	if err == nil && !seen {
		op.Value = gone
	}
	return p.end(op, err)
}

// expunge removes a message in the session's view. Marking it and removing it are operations of their own, for what others see in between.
func (p *proc) expunge(ctx context.Context, s *session, m mailboxOf, uid uint32, attempt int) error {
	if err := p.store(ctx, s, m, uid, `\deleted`, true, attempt); err != nil {
		return err
	}
	op := p.change(history.Expunge, s, m, uid, attempt)
	return p.end(op, s.Expunge(ctx, uid))
}

// move moves a message in the session's view to another mailbox of the account.
func (p *proc) move(ctx context.Context, s *session, m mailboxOf, uid uint32, dest mailboxOf, attempt int) error {
	op := p.change(history.Move, s, m, uid, attempt)
	op.Dest = dest.String()
	to, err := s.Move(ctx, uid, dest.name)
	op.DestUID = to
	if err == nil && to == 0 {
		_ = p.end(op, &client.OpError{Outcome: history.Fail, Err: errNothing}) // no reason to go to another node
		return nil
	}
	return p.end(op, err)
}

func (p *proc) change(kind history.Kind, s *session, m mailboxOf, uid uint32, attempt int) history.Op {
	op := p.begin(kind, s.node.Name)
	op.Box, op.UID, op.Session, op.Attempt = m.String(), uid, s.number, attempt
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
