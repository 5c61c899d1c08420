package imapd

import (
	"context"
	"fmt"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// copy is COPY and MOVE (RFC 9051 §6.4.7, §6.4.8). A moved message is never in both mailboxes or in neither.
func (s *session) copy(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.CopyArgs)
	ranges, err := s.sel.resolve(args.Set, cmd.UID)
	if err != nil {
		return answer{}, err
	}
	to, err := s.destination(ctx, args.Mailbox)
	if err != nil || len(ranges) == 0 {
		return answer{}, err
	}
	op := &storepb.CopyMessages{Account: uint64(s.account()), Mailbox: uint64(s.sel.id), DestMailbox: to.GetId()}
	if cmd.Name == "MOVE" {
		some, err := s.moveSet(ctx, op, s.sel.uidSet(ranges))
		return answer{highest: some}, err
	}
	return s.copySet(ctx, op, s.sel.uidSet(ranges))
}

// copySet copies all messages of a set or none. That takes one command of the store, and so there is a limit.
func (s *session) copySet(ctx context.Context, op *storepb.CopyMessages, set store.UIDSet) (answer, error) {
	if set.Len() > replica.MaxCopies {
		return answer{}, no(imap.CodeLimit, fmt.Sprintf("At most %d messages can be copied at once, nothing was done", replica.MaxCopies))
	}
	op.Uids = store.PackUIDs(set)
	res, err := s.propose(ctx, "copy messages", func(c *storepb.Command) { c.Op = &storepb.Command_CopyMessages{CopyMessages: op} })
	if err != nil || len(res.GetPlaced()) == 0 {
		return answer{}, err
	}
	return answer{code: copyUID(res)}, nil
}

// moveSet moves the messages of a set. Where that ends early, the client learns which were moved (RFC 6851 §3.3, §4.3). some is whether
// any were.
func (s *session) moveSet(ctx context.Context, op *storepb.CopyMessages, set store.UIDSet) (some bool, err error) {
	res, err := replica.Move(ctx, s.proposer("move messages"), op, set)
	some = len(res.GetPlaced()) > 0
	if some {
		// RFC 9051 §6.4.8: before the EXPUNGE responses, while the numbers still are what the client thinks.
		s.w.Status("", imap.StatusOK, copyUID(res), "Moved")
	}
	return some, err
}

// copyUID pairs the UIDs of the sources with those of the copies (RFC 4315 §3).
func copyUID(res *storepb.Result) imap.Code {
	var from, to imap.NumSet
	for i, p := range res.GetPlaced() {
		if i < len(res.GetSrcUids()) {
			from.Add(res.GetSrcUids()[i])
			to.Add(p.GetUid())
		}
	}
	return imap.CodeCopyUID(res.GetPlaced()[0].GetUidValidity(), from, to)
}
