package state

import (
	"fmt"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func (b *batch) expunge(op *storepb.Expunge) (*storepb.Result, error) {
	mb, uids, res, err := b.selected(op.Account, op.Mailbox, op.Uids)
	if res != nil || err != nil {
		return res, err
	}
	if op.All {
		uids = everyUID(mb)
	}
	gone, err := b.removeEntries(op.Account, mb, uids, op.OnlyDeleted)
	if err != nil {
		return nil, err
	}
	return &storepb.Result{Modseq: mb.HighestModseq, Uids: store.PackUIDs(gone)}, nil
}

// removeEntries takes messages out of a mailbox and counts down their references.
func (b *batch) removeEntries(account uint64, mb *storepb.Mailbox, uids store.UIDSet, onlyDeleted bool) (store.UIDSet, error) {
	var gone store.UIDSet
	next := mb.HighestModseq + 1
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, account), u); err != nil {
		return nil, err
	}
	err := b.entries(account, mb.Id, uids, func(uid store.UID, e *storepb.Entry) error {
		if onlyDeleted && store.Flags(e.Flags)&store.FlagDeleted == 0 {
			return nil
		}
		gone.Add(uid)
		count(mb, e, -1)
		u.Bytes, u.Messages = u.Bytes-e.RawBytes, u.Messages-1
		if err := b.Delete(entryKey(account, mb.Id, uid)); err != nil {
			return err
		}
		if err := b.Delete(changeKey(account, mb.Id, e.Modseq, uid)); err != nil {
			return err
		}
		if err := b.Set(changeKey(account, mb.Id, next, uid), []byte{changeExpunged}); err != nil {
			return err
		}
		return b.reference(e.Email, -1)
	})
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	mb.HighestModseq = next
	if err := b.save(key(tabUsage, account), u); err != nil {
		return nil, err
	}
	return gone, b.saveMailbox(account, mb)
}

// reference counts how many entries show an email. The last one's end begins its tombstone, and a new one ends it (B7).
func (b *batch) reference(email uint64, by int64) error {
	r := &storepb.EmailRefs{}
	found, err := load(b, key(tabRefs, email), r)
	if err != nil {
		return err
	}
	refs := int64(r.Refs) + by
	if !found || refs < 0 {
		return fmt.Errorf("email %d would be shown %d times: the state is damaged", email, refs)
	}
	switch {
	case refs == 0:
		cr, err := b.cluster()
		if err != nil {
			return err
		}
		r.TombstoneTick = cr.TicksMs
		if err := b.Set(key(tabTombstone, cr.TicksMs, email), nil); err != nil {
			return err
		}
	case r.Refs == 0:
		if err := b.Delete(key(tabTombstone, r.TombstoneTick, email)); err != nil {
			return err
		}
		r.TombstoneTick = 0
	}
	r.Refs = uint32(refs)
	return b.save(key(tabRefs, email), r)
}
