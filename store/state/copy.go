package state

import (
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func (b *batch) copyMessages(op *storepb.CopyMessages) (*storepb.Result, error) {
	src, uids, res, err := b.selected(op.Account, op.Mailbox, op.Uids)
	if res != nil || err != nil {
		return res, err
	}
	dst, err := b.mailbox(op.Account, op.DestMailbox)
	if err != nil {
		return nil, err
	}
	if dst == nil {
		return refuse(store.ErrNotFound, "there is no such destination"), nil
	}
	if src.Id == dst.Id {
		dst = src // one record, for both are changed
	}
	return b.copyTo(op.Account, src, dst, uids, op.Move)
}

// copyTo copies or moves messages, all or none of them (RFC 9051 §6.4.7).
func (b *batch) copyTo(account uint64, src, dst *storepb.Mailbox, uids store.UIDSet, move bool) (*storepb.Result, error) {
	a := &storepb.Account{}
	if err := must(b, key(tabAccount, account), a); err != nil {
		return nil, err
	}
	if res, err := b.checkCopy(a, src, dst, uids, move); res != nil || err != nil {
		return res, err
	}
	res := &storepb.Result{}
	var moved store.UIDSet
	err := b.entries(account, src.Id, uids, func(uid store.UID, e *storepb.Entry) error {
		if _, err := b.room(a, e.RawBytes, false); err != nil {
			return err
		}
		if err := b.reference(e.Email, 1); err != nil {
			return err
		}
		e.SaveDateUnixMs = b.cmd.TimeUnixMs
		to, err := b.enter(account, dst, e)
		if err != nil {
			return err
		}
		moved.Add(uid)
		res.SrcUids = append(res.SrcUids, uint32(uid))
		res.Placed = append(res.Placed, &storepb.PlacedMessage{Account: account, Mailbox: dst.Id, Uid: uint32(to), UidValidity: dst.UidValidity, Email: e.Email, Modseq: e.Modseq})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if move {
		if _, err := b.removeEntries(account, src, moved, false); err != nil {
			return nil, err
		}
	}
	res.Modseq = src.HighestModseq
	return res, nil
}

// checkCopy refuses copies that would not all fit. A move changes nothing of what the account uses.
func (b *batch) checkCopy(a *storepb.Account, src, dst *storepb.Mailbox, uids store.UIDSet, move bool) (*storepb.Result, error) {
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, a.Id), u); err != nil {
		return nil, err
	}
	l, err := b.limits()
	if err != nil {
		return nil, err
	}
	n := int64(0)
	if err := b.entries(a.Id, src.Id, uids, func(_ store.UID, e *storepb.Entry) error {
		n++
		u.Bytes, u.Messages = u.Bytes+e.RawBytes, u.Messages+1
		return nil
	}); err != nil {
		return nil, err
	}
	switch {
	case n > maxCopies:
		return refuse(store.ErrTooLarge, "%d messages, of which one command may copy %d", n, maxCopies), nil
	case !fits(dst, n):
		return refuse(store.ErrTooLarge, "the mailbox %s has no more UIDs", dst.Name), nil
	case !move && l.over(a, u):
		return refuse(store.ErrOverQuota, "the copies would exceed the quota"), nil
	}
	return nil, nil
}

// fits tells whether a mailbox has UIDs for n more messages (RFC 9051 §2.3.1.1: they are 32 bits wide, and never used again).
func fits(mb *storepb.Mailbox, n int64) bool { return int64(mb.UidNext)+n < 1<<32 }
