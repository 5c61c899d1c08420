package replica

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// What many messages are about becomes several commands: one that is applied holds up all others, on every node, and a read barrier does
// not wait for long. So do StoreFlags, Expunge and Move, each part on its own done wholly or not at all; Empty makes a mailbox small
// enough to be removed. The state refuses what is far larger (state.MaxMessages), whoever proposes it.

// PartMessages is about how many messages one command is made.
const PartMessages = 5000

// MaxCopies bounds the messages of one COPY, which is never split: either all copies are there, or none (RFC 9051 §6.4.7).
const MaxCopies = state.MaxMessages

// PartialError says that a change of many messages ended before its end. It wraps what ended it.
type PartialError struct {
	Done uint64 // UIDs that the parts before were about, the lowest ones; at least one
	Err  error  // of the part after them; what came of it is as with any command
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("done for the first %d messages, and then: %v", e.Done, e.Err)
}

func (e *PartialError) Unwrap() error { return e.Err }

// Proposer is Replica.Propose. It is called once for each part, so that a deadline in it is that of a part.
type Proposer func(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error)

// StoreFlags carries out op for the UIDs of a set, in ascending order, instead of op.Uids. Each part has a result. After an error, which
// is a *PartialError unless it was the first part's, there are those of the parts before.
func StoreFlags(ctx context.Context, propose Proposer, op *storepb.StoreFlags, set store.UIDSet) ([]*storepb.Result, error) {
	return inParts(ctx, propose, set, func(c *storepb.Command, uids []byte) {
		part := proto.CloneOf(op)
		part.Uids = uids
		c.Op = &storepb.Command_StoreFlags{StoreFlags: part}
	})
}

// Expunge is StoreFlags for op.
func Expunge(ctx context.Context, propose Proposer, op *storepb.Expunge, set store.UIDSet) ([]*storepb.Result, error) {
	return inParts(ctx, propose, set, func(c *storepb.Command, uids []byte) {
		part := proto.CloneOf(op)
		part.Uids, part.All = uids, false
		c.Op = &storepb.Command_Expunge{Expunge: part}
	})
}

// Move is StoreFlags for op, which must be a move: one that is done for some messages only is allowed (RFC 6851 §3.3). Each message is in
// exactly one of the mailboxes at any time. The result says of all parts together what was placed; it is there beside a *PartialError too.
func Move(ctx context.Context, propose Proposer, op *storepb.CopyMessages, set store.UIDSet) (*storepb.Result, error) {
	parts, err := inParts(ctx, propose, set, func(c *storepb.Command, uids []byte) {
		part := proto.CloneOf(op)
		part.Uids, part.Move = uids, true
		c.Op = &storepb.Command_CopyMessages{CopyMessages: part}
	})
	all := &storepb.Result{}
	for _, p := range parts {
		all.Index, all.Modseq = p.Index, p.Modseq
		all.SrcUids = append(all.SrcUids, p.SrcUids...)
		all.Placed = append(all.Placed, p.Placed...)
	}
	return all, err
}

// inParts proposes a command for each part of a set, in order, until one fails.
func inParts(ctx context.Context, propose Proposer, set store.UIDSet, fill func(c *storepb.Command, uids []byte)) ([]*storepb.Result, error) {
	var results []*storepb.Result
	done := uint64(0)
	for _, part := range split(set, PartMessages) {
		res, err := propose(ctx, func(c *storepb.Command) { fill(c, store.PackUIDs(part)) })
		if err != nil {
			if done > 0 {
				err = &PartialError{done, err}
			}
			return results, err
		}
		results = append(results, res)
		done += part.Len()
	}
	return results, nil
}

// split cuts a set into sets of at most n UIDs each, in order.
func split(set store.UIDSet, n uint64) []store.UIDSet {
	var parts []store.UIDSet
	var part store.UIDSet
	room := n
	for _, r := range set {
		for {
			have := uint64(r.Last-r.First) + 1
			if have < room {
				part, room = append(part, r), room-have
				break
			}
			end := r.First + store.UID(room-1)
			parts = append(parts, append(part, store.UIDRange{First: r.First, Last: end}))
			part, room = nil, n
			if have == uint64(end-r.First)+1 {
				break
			}
			r.First = end + 1
		}
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// MailboxReader is what Empty reads of a view of the state.
type MailboxReader interface {
	// Entries calls f for the messages from a UID on, ascending, until f answers false.
	Entries(account store.AccountID, mailbox store.MailboxID, from store.UID, f func(store.UID, *storepb.Entry) bool) error
}

// Empty expunges the messages of a mailbox, in parts, until it has gone through all that are there. What arrives meanwhile may be left.
// After an error, which is a *PartialError if something was expunged, it goes on when it is called again.
func Empty(ctx context.Context, propose Proposer, view func(func(MailboxReader) error) error, account store.AccountID, mailbox store.MailboxID) error {
	next, done := store.UID(1), uint64(0)
	for {
		var part store.UIDSet
		n := uint64(0)
		err := view(func(v MailboxReader) error {
			return v.Entries(account, mailbox, next, func(uid store.UID, _ *storepb.Entry) bool {
				part.Add(uid)
				n++
				return n < PartMessages
			})
		})
		if err == nil && n > 0 {
			_, err = Expunge(ctx, propose, &storepb.Expunge{Account: uint64(account), Mailbox: uint64(mailbox)}, part)
		}
		switch {
		case err != nil && done > 0:
			return &PartialError{done, err}
		case err != nil || n < PartMessages:
			return err
		}
		done += n
		next = part[len(part)-1].Last + 1
		if next == 0 {
			return nil // it was the last UID that there can be
		}
	}
}

// RemoveWhole proposes the end of a mailbox or an account. Where the state finds too many messages to take along in one step, it calls
// empty, which must make them fewer, and tries again; not for ever, for mail may arrive faster.
func RemoveWhole(ctx context.Context, propose Proposer, fill func(*storepb.Command), empty func(context.Context) error) error {
	for try := 0; ; try++ {
		_, err := propose(ctx, fill)
		if !errors.Is(err, store.ErrTooLarge) || try == removeTries {
			return err
		}
		if err := empty(ctx); err != nil {
			return err
		}
	}
}

// removeTries is how often RemoveWhole empties.
const removeTries = 5
