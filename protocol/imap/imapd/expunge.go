package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// expunge is EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9). The updates that follow every command tell what is gone.
func (s *session) expunge(ctx context.Context, cmd *imap.Command) (answer, error) {
	// Another node may have acknowledged some that are marked as deleted, and this one must know which, to expunge them in parts.
	if err := s.barrier(ctx); err != nil {
		return answer{}, err
	}
	if !cmd.UID {
		some, err := s.expungeSet(ctx, nil)
		return answer{highest: some}, err
	}
	ranges, err := s.sel.resolve(cmd.Args.(*imap.ExpungeArgs).UIDs, true)
	if err != nil || len(ranges) == 0 {
		return answer{}, err
	}
	some, err := s.expungeSet(ctx, s.sel.uidSet(ranges))
	return answer{highest: some}, err
}

// expungeSet removes the messages of a set that are marked as deleted; of the whole mailbox where the set is nil: those that are
// marked as far as this node knows, and still are when the command is applied. some is whether there were any.
func (s *session) expungeSet(ctx context.Context, set store.UIDSet) (some bool, err error) {
	deleted, err := s.deleted(set)
	if err != nil || len(deleted) == 0 { // spares the log an entry
		return false, err
	}
	op := &storepb.Expunge{Account: uint64(s.account()), Mailbox: uint64(s.sel.id), OnlyDeleted: true}
	_, err = replica.Expunge(ctx, s.proposer("expunge"), op, deleted)
	return true, err
}

// deleted is which messages of a set are marked as deleted; of the whole mailbox where the set is nil.
func (s *session) deleted(set store.UIDSet) (deleted store.UIDSet, err error) {
	err = s.view(func(v View) error {
		mb, err := v.Mailbox(s.account(), s.sel.id)
		left := mb.GetDeleted()
		if err != nil || left == 0 { // most often: without a look at the messages
			return err
		}
		return v.Entries(s.account(), s.sel.id, 1, func(uid store.UID, e *storepb.Entry) bool {
			if !store.Flags(e.GetFlags()).Has(store.FlagDeleted) {
				return true
			}
			if set == nil || set.Contains(uid) {
				deleted.Add(uid)
			}
			left--
			return left > 0
		})
	})
	return deleted, err
}
