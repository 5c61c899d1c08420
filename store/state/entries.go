package state

import (
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// entriesPage is how many entries of a mailbox are in memory at a time while a command goes through it.
const entriesPage = 1000

// selected finds a mailbox and the UIDs that a command is about, of those that were given out until now.
func (b *batch) selected(account, mailbox uint64, packed []byte) (*storepb.Mailbox, store.UIDSet, *storepb.Result, error) {
	mb, err := b.mailbox(account, mailbox)
	if err != nil {
		return nil, nil, nil, err
	}
	if mb == nil {
		return nil, nil, refuse(store.ErrNotFound, "there is no such mailbox"), nil
	}
	uids, err := store.UnpackUIDs(packed)
	if err != nil {
		return nil, nil, refuse(store.ErrInvalid, "a bad set of UIDs"), nil
	}
	return mb, below(uids, mb.UidNext), nil, nil
}

// below cuts a set at the next UID, which a command that copies into the same mailbox gives out while it goes through the set.
func below(uids store.UIDSet, next uint32) store.UIDSet {
	for i, r := range uids {
		if uint32(r.First) >= next {
			return uids[:i]
		}
		if uint32(r.Last) >= next {
			uids[i].Last = store.UID(next - 1)
			return uids[:i+1]
		}
	}
	return uids
}

// everyUID is the set of the UIDs that a mailbox has given out.
func everyUID(mb *storepb.Mailbox) store.UIDSet {
	if mb.UidNext <= 1 {
		return nil
	}
	return store.UIDSet{{First: 1, Last: store.UID(mb.UidNext - 1)}}
}

// entries walks the entries of a mailbox that are in the set, in UID order.
func (b *batch) entries(account, mailbox uint64, uids store.UIDSet, f func(store.UID, *storepb.Entry) error) error {
	for _, r := range uids {
		for {
			next, err := b.entriesOf(account, mailbox, r, f)
			if err != nil {
				return err
			}
			if next == 0 || next > r.Last {
				break
			}
			r.First = next
		}
	}
	return nil
}

// entriesOf walks one page of a range, and returns where the next one begins; 0 for none.
func (b *batch) entriesOf(account, mailbox uint64, r store.UIDRange, f func(store.UID, *storepb.Entry) error) (next store.UID, err error) {
	type found struct {
		uid store.UID
		e   *storepb.Entry
	}
	var list []found // collected first: f changes what is walked
	err = eachEntry(b, account, mailbox, r, func(uid store.UID, e *storepb.Entry) bool {
		list = append(list, found{uid, e})
		return len(list) < entriesPage
	})
	if err != nil {
		return 0, err
	}
	for _, x := range list {
		if err := f(x.uid, x.e); err != nil {
			return 0, err
		}
	}
	if len(list) < entriesPage {
		return 0, nil
	}
	return list[len(list)-1].uid + 1, nil
}
