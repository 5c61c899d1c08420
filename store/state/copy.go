package state

import (
	"google.golang.org/protobuf/proto"

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
	list, res, err := b.choose(account, src.Id, uids)
	if res != nil || err != nil {
		return res, err
	}
	if res, err := b.checkCopy(a, dst, list, move); res != nil || err != nil {
		return res, err
	}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	res = &storepb.Result{}
	for _, c := range list {
		if err := b.reference(c.entry.Email, 1, cr.TicksMs); err != nil {
			return nil, err
		}
		e := proto.CloneOf(c.entry) // a move still needs to know what the source was
		e.SaveDateUnixMs = b.cmd.TimeUnixMs
		to, err := b.enter(account, dst, e)
		if err != nil {
			return nil, err
		}
		res.SrcUids = append(res.SrcUids, uint32(c.uid))
		res.Placed = append(res.Placed, &storepb.PlacedMessage{Account: account, Mailbox: dst.Id, Uid: uint32(to), UidValidity: dst.UidValidity, Email: e.Email, Modseq: e.Modseq})
	}
	if len(list) > 0 {
		if err := b.saveMailbox(account, dst); err != nil {
			return nil, err
		}
	}
	if move {
		if err := b.removeEntries(account, src, list); err != nil {
			return nil, err
		}
	}
	res.Modseq = src.HighestModseq
	return res, nil
}

// checkCopy refuses copies that would not all fit, and counts the others as used. A move is counted down again.
func (b *batch) checkCopy(a *storepb.Account, dst *storepb.Mailbox, list []chosen, move bool) (*storepb.Result, error) {
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, a.Id), u); err != nil {
		return nil, err
	}
	for _, c := range list {
		u.Bytes, u.Messages = u.Bytes+c.entry.RawBytes, u.Messages+1
	}
	l, err := b.limits()
	if err != nil {
		return nil, err
	}
	switch {
	case !fits(dst, int64(len(list))):
		return refuse(store.ErrTooLarge, "the mailbox %s has no more UIDs", dst.Name), nil
	case !move && l.over(a, u):
		return refuse(store.ErrOverQuota, "the copies would exceed the quota"), nil
	case len(list) == 0:
		return nil, nil
	}
	return nil, b.save(key(tabUsage, a.Id), u)
}

// fits tells whether a mailbox has UIDs for n more messages (RFC 9051 §2.3.1.1: they are 32 bits wide, and never used again).
func fits(mb *storepb.Mailbox, n int64) bool { return int64(mb.UidNext)+n < 1<<32 }
