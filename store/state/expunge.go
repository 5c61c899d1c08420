package state

import (
	"fmt"
	"slices"

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
	list, res, err := b.choose(op.Account, mb.Id, uids)
	if res != nil || err != nil {
		return res, err
	}
	if op.OnlyDeleted {
		list = slices.DeleteFunc(list, func(c chosen) bool { return store.Flags(c.entry.Flags)&store.FlagDeleted == 0 })
	}
	if err := b.removeEntries(op.Account, mb, list); err != nil {
		return nil, err
	}
	var gone store.UIDSet
	for _, c := range list {
		gone.Add(c.uid)
	}
	return &storepb.Result{Modseq: mb.HighestModseq, Uids: store.PackUIDs(gone)}, nil
}

// removeEntries takes messages out of a mailbox and counts down their references.
func (b *batch) removeEntries(account uint64, mb *storepb.Mailbox, list []chosen) error {
	if len(list) == 0 {
		return nil
	}
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, account), u); err != nil {
		return err
	}
	cr, err := b.cluster()
	if err != nil {
		return err
	}
	mb.HighestModseq++
	for _, c := range list {
		count(mb, c.entry, -1)
		u.Bytes, u.Messages = u.Bytes-c.entry.RawBytes, u.Messages-1
		if err := b.removeEntry(account, mb, c); err != nil {
			return err
		}
		if err := b.reference(c.entry.Email, -1, cr.TicksMs); err != nil {
			return err
		}
	}
	if err := b.save(key(tabUsage, account), u); err != nil {
		return err
	}
	return b.saveMailbox(account, mb)
}

// removeEntry replaces an entry by the note that it is gone, under the mailbox's newest mod-sequence.
func (b *batch) removeEntry(account uint64, mb *storepb.Mailbox, c chosen) error {
	if err := b.Delete(entryKey(account, mb.Id, c.uid)); err != nil {
		return err
	}
	if err := b.Delete(changeKey(account, mb.Id, c.entry.Modseq, c.uid)); err != nil {
		return err
	}
	return b.Set(changeKey(account, mb.Id, mb.HighestModseq, c.uid), []byte{changeExpunged})
}

// reference counts how many entries show an email. The last one's end begins its tombstone, at the tick
// that it is now, and a new one ends it (B7).
func (b *batch) reference(email uint64, by int64, tick uint64) error {
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
		r.TombstoneTick = tick
		if err := b.Set(key(tabTombstone, tick, email), nil); err != nil {
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
