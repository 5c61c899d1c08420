package state

import (
	"slices"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// A conditional StoreFlags is tested message by message where it is applied: of two that were proposed with the same knowledge the second
// changes nothing but what the first left, and says which it was kept from (RFC 7162 §3.1.3).
func TestStoreFlagsUnchangedSince(t *testing.T) {
	b := newBench(t, "")
	account := b.account("an@example.test")
	mb := b.crowd(account, 3) // UIDs 1 to 3
	known := mb.HighestModseq
	flag := func(since uint64, flags store.Flags, uids ...store.UID) (uint64, []store.UID) {
		t.Helper()
		var set store.UIDSet
		for _, uid := range uids {
			set.Add(uid)
		}
		res := b.do(&storepb.Command{Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: account, Mailbox: mb.Id,
			Uids: store.PackUIDs(set), Mode: FlagsAdd, Flags: uint32(flags), HasUnchangedSince: true, UnchangedSince: since}}})
		failed, err := store.UnpackUIDs(res.Uids)
		if err != nil {
			t.Fatal(err)
		}
		var out []store.UID
		for _, r := range failed {
			for uid := r.First; uid <= r.Last; uid++ {
				out = append(out, uid)
			}
		}
		return res.Modseq, out
	}
	if n, failed := flag(known, store.FlagSeen, 1, 2); n != known+1 || len(failed) > 0 {
		t.Errorf("the first: mod-sequence %d after %d, kept from %v", n, known, failed)
	}
	if n, failed := flag(known, store.FlagDeleted, 2, 3, 99); n != known+2 || !slices.Equal(failed, []store.UID{2}) {
		t.Errorf("the second: mod-sequence %d after %d, kept from %v", n, known+1, failed)
	}
	if n, failed := flag(0, store.FlagDraft, 1, 2, 3); n != known+2 || !slices.Equal(failed, []store.UID{1, 2, 3}) {
		t.Errorf("unchanged since 0: mod-sequence %d, kept from %v", n, failed)
	}
	if n, failed := flag(known+1, store.FlagSeen, 1); n != known+2 || len(failed) > 0 {
		t.Errorf("nothing to change: mod-sequence %d, kept from %v", n, failed)
	}
	v := b.View()
	defer v.Close()
	for uid, want := range map[store.UID]struct {
		flags  store.Flags
		modseq uint64
	}{1: {store.FlagSeen, known + 1}, 2: {store.FlagSeen, known + 1}, 3: {store.FlagDeleted, known + 2}} {
		e, err := v.Entry(store.AccountID(account), store.MailboxID(mb.Id), uid)
		if err != nil {
			t.Fatal(err)
		}
		if store.Flags(e.Flags) != want.flags || e.Modseq != want.modseq {
			t.Errorf("message %d has flags %v, mod-sequence %d; want %v", uid, e.Flags, e.Modseq, want)
		}
	}
}
