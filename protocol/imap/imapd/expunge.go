package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// expunge is EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9). The updates that follow every command tell what is gone.
func (s *session) expunge(ctx context.Context, cmd *imap.Command) (answer, error) {
	if !cmd.UID {
		return answer{}, s.expungeSet(ctx, nil)
	}
	ranges, err := s.sel.resolve(cmd.Args.(*imap.ExpungeArgs).UIDs, true)
	if err != nil || len(ranges) == 0 {
		return answer{}, err
	}
	return answer{}, s.expungeSet(ctx, s.sel.uidSet(ranges))
}

// expungeSet removes the messages of a set that are marked as deleted; of the whole mailbox where the set is nil.
func (s *session) expungeSet(ctx context.Context, set store.UIDSet) error {
	var deleted uint32
	err := s.view(func(v View) error {
		mb, err := v.Mailbox(s.account(), s.sel.id)
		deleted = mb.GetDeleted()
		return err
	})
	if err != nil || deleted == 0 { // as far as this node knows, which suffices: the session sees its own writes
		return err
	}
	_, err = s.propose(ctx, "expunge", func(c *storepb.Command) {
		c.Op = &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: uint64(s.account()), Mailbox: uint64(s.sel.id),
			Uids: store.PackUIDs(set), OnlyDeleted: true, All: set == nil}}
	})
	return err
}
