package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// expunge is EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9). The updates that follow every command tell what is gone.
func (s *session) expunge(ctx context.Context, cmd *imap.Command) (answer, error) {
	if deleted, err := s.deleted(); err != nil {
		return answer{}, err
	} else if deleted == 0 { // here; another node may have acknowledged some
		if err := s.barrier(ctx); err != nil {
			return answer{}, err
		}
	}
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
	deleted, err := s.deleted()
	if err != nil || deleted == 0 { // spares the log an entry; the session sees its own writes
		return err
	}
	_, err = s.propose(ctx, "expunge", func(c *storepb.Command) {
		c.Op = &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: uint64(s.account()), Mailbox: uint64(s.sel.id),
			Uids: store.PackUIDs(set), OnlyDeleted: true, All: set == nil}}
	})
	return err
}

// deleted is how many messages are marked as deleted, as far as this node knows.
func (s *session) deleted() (n uint32, err error) {
	err = s.view(func(v View) error {
		mb, err := v.Mailbox(s.account(), s.sel.id)
		n = mb.GetDeleted()
		return err
	})
	return n, err
}
