package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// copy is COPY and MOVE (RFC 9051 §6.4.7, §6.4.8): one command of the store, so that all messages are copied or none is, and a moved
// message is never in both mailboxes or in neither.
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
	move := cmd.Name == "MOVE"
	res, err := s.propose(ctx, "copy messages", func(c *storepb.Command) {
		c.Op = &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: uint64(s.account()), Mailbox: uint64(s.sel.id),
			Uids: store.PackUIDs(s.sel.uidSet(ranges)), DestMailbox: to.GetId(), Move: move}}
	})
	if err != nil || len(res.GetPlaced()) == 0 {
		return answer{}, err
	}
	code := copyUID(res)
	if move {
		// RFC 9051 §6.4.8: before the EXPUNGE responses, while the numbers still are what the client thinks.
		s.w.Status("", imap.StatusOK, code, "Moved")
		return answer{}, nil
	}
	return answer{code: code}, nil
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
