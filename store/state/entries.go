package state

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

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

// chosen is an entry that a command is about.
type chosen struct {
	uid   store.UID
	entry *storepb.Entry
}

// choose reads the entries of a mailbox that are in a set, in UID order. Nothing is changed before it has found all of them, so a command
// over MaxMessages is refused as a whole. A set of more ranges is refused too: to look for each costs something, also where there is none.
func (b *batch) choose(account, mailbox uint64, uids store.UIDSet) ([]chosen, *storepb.Result, error) {
	if len(uids) > MaxMessages {
		return nil, refuse(store.ErrTooLarge, "a set of %d ranges of UIDs, at most %d", len(uids), MaxMessages), nil
	}
	if len(uids) == 0 {
		return nil, nil, nil
	}
	prefix := key(tabEntry, account, mailbox)
	it, err := b.Iter(entryKey(account, mailbox, uids[0].First), after(prefix))
	if err != nil {
		return nil, nil, err
	}
	defer it.Close()
	var list []chosen
	for _, r := range uids {
		for ok := it.SeekGE(entryKey(account, mailbox, r.First)); ok; ok = it.Next() {
			uid := store.UID(binary.BigEndian.Uint32(it.Key()[len(prefix):]))
			if uid > r.Last {
				break
			}
			if len(list) == MaxMessages {
				return nil, refuse(store.ErrTooLarge, "a command about more than %d messages", MaxMessages), nil
			}
			e := &storepb.Entry{}
			if err := proto.Unmarshal(it.Value(), e); err != nil {
				return nil, nil, fmt.Errorf("decode an entry: %w", err)
			}
			list = append(list, chosen{uid, e})
		}
		if err := it.Err(); err != nil {
			return nil, nil, fmt.Errorf("read the entries of mailbox %d: %w", mailbox, err)
		}
	}
	return list, nil, nil
}
