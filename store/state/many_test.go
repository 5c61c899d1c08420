package state

import (
	"errors"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// crowd brings an account's INBOX to n messages, as copies of one.
func (b *bench) crowd(account uint64, n int) *storepb.Mailbox {
	b.t.Helper()
	mb := b.inbox(account)
	if mb.Messages == 0 {
		b.do(add(b.body("hello"), account))
	}
	for mb = b.inbox(account); int(mb.Messages) < n; mb = b.inbox(account) {
		last := store.UID(min(int(mb.Messages), n-int(mb.Messages), MaxMessages))
		b.do(&storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: account, Mailbox: mb.Id, DestMailbox: mb.Id,
			Uids: store.PackUIDs(store.UIDSet{{First: 1, Last: last}})}}})
	}
	return mb
}

// No command makes all nodes wait for long: what is about too many messages is refused as a whole, with nothing changed, and what is at
// the bound is done.
func TestNoCommandIsAboutTooManyMessages(t *testing.T) {
	b := newBench(t, "")
	an := b.account("an@example.test")
	inbox := b.crowd(an, MaxMessages+1)
	archive := b.do(&storepb.Command{Op: &storepb.Command_CreateMailbox{CreateMailbox: &storepb.CreateMailbox{Account: an, Name: "big"}}}).Id
	sets := func(last store.UID) map[string]*storepb.Command {
		uids := store.PackUIDs(store.UIDSet{{First: 1, Last: last}})
		return map[string]*storepb.Command{
			"store":           {Op: &storepb.Command_StoreFlags{StoreFlags: &storepb.StoreFlags{Account: an, Mailbox: inbox.Id, Uids: uids, Mode: FlagsAdd, Flags: uint32(store.FlagSeen)}}},
			"expunge nothing": {Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: inbox.Id, Uids: uids, OnlyDeleted: true}}},
			"copy":            {Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: an, Mailbox: inbox.Id, DestMailbox: archive, Uids: uids}}},
		}
	}
	refused := func(name string, c *storepb.Command) {
		t.Helper()
		if _, err := b.try(c); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range sets(1<<32 - 1) {
		refused(name, c)
	}
	refused("expunge all", &storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: inbox.Id, All: true}}})
	refused("move", &storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: an, Mailbox: inbox.Id, DestMailbox: archive,
		Uids: store.PackUIDs(everyUID(inbox)), Move: true}}})
	refused("rename INBOX", &storepb.Command{Op: &storepb.Command_RenameMailbox{RenameMailbox: &storepb.RenameMailbox{Account: an, Mailbox: inbox.Id, Name: "old"}}})
	refused("remove the account", &storepb.Command{Op: &storepb.Command_RemoveAccount{RemoveAccount: &storepb.RemoveAccount{Account: an}}})
	var gaps store.UIDSet
	for i := range store.UID(MaxMessages + 1) {
		gaps.Add(2*i + 1)
	}
	if _, res, err := (&batch{}).choose(an, inbox.Id, gaps); err != nil || res.GetCode() != codeOf(store.ErrTooLarge) {
		t.Errorf("a set of too many ranges: %v, %v", res, err)
	}
	if mb := b.inbox(an); mb.HighestModseq != inbox.HighestModseq || mb.Messages != MaxMessages+1 || mb.Unseen != MaxMessages+1 {
		t.Errorf("refused commands made %v of %v", mb, inbox)
	}

	for name, c := range sets(MaxMessages) {
		if _, err := b.try(c); err != nil {
			t.Errorf("%s of as many as may be: %v", name, err)
		}
	}
	if mb := b.inbox(an); mb.Unseen != 1 {
		t.Errorf("%d are unseen", mb.Unseen)
	}
	deleteBig := &storepb.Command{Op: &storepb.Command_DeleteMailbox{DeleteMailbox: &storepb.DeleteMailbox{Account: an, Mailbox: archive}}}
	b.do(&storepb.Command{Op: &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: an, Mailbox: inbox.Id, DestMailbox: archive, Uids: store.PackUIDs(store.UIDSet{{First: 7, Last: 7}})}}})
	refused("delete the mailbox", deleteBig)
	b.do(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: archive, Uids: store.PackUIDs(store.UIDSet{{First: 1, Last: 1}})}}})
	b.do(deleteBig)
	b.do(&storepb.Command{Op: &storepb.Command_Expunge{Expunge: &storepb.Expunge{Account: an, Mailbox: inbox.Id, Uids: store.PackUIDs(store.UIDSet{{First: MaxMessages + 1, Last: MaxMessages + 1}})}}})
	b.do(&storepb.Command{Op: &storepb.Command_RemoveAccount{RemoveAccount: &storepb.RemoveAccount{Account: an}}})
}
