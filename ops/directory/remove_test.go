package directory

import (
	"context"
	"errors"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// failing is a node that takes only so many commands more.
type failing struct {
	*node
	left int // below zero: all
}

func (f *failing) Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	if f.left == 0 {
		return nil, store.ErrUnavailable
	}
	f.left--
	return f.node.Propose(ctx, fill)
}

// crowd brings an account's INBOX to n messages: copies of one.
func (n *node) crowd(account store.AccountID, messages int) {
	n.t.Helper()
	do := func(fill func(*storepb.Command)) {
		if _, err := n.Propose(context.Background(), fill); err != nil {
			n.t.Fatal(err)
		}
	}
	v := n.View()
	mb, err := v.MailboxByName(account, "INBOX")
	v.Close()
	if err != nil {
		n.t.Fatal(err)
	}
	enc := blob.NewEncoder(n.t.TempDir())
	if _, err := enc.Write([]byte("Subject: x\r\n\r\ny\r\n")); err != nil {
		n.t.Fatal(err)
	}
	done, err := enc.Finish()
	if err != nil {
		n.t.Fatal(err)
	}
	id := done.ID([store.NonceBytes]byte{1})
	do(func(c *storepb.Command) {
		c.Op = &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Targets: []*storepb.Target{{Account: uint64(account)}},
			Body: &storepb.BodyRef{Id: id[:], RawBytes: 17, EncodedBytes: done.CompressedBytes, Inline: done.Bytes(), Epoch: 1}}}
	})
	for have := 1; have < messages; {
		more := min(have, messages-have, state.MaxMessages)
		do(func(c *storepb.Command) {
			c.Op = &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: uint64(account), Mailbox: mb.Id, DestMailbox: mb.Id,
				Uids: store.PackUIDs(store.UIDSet{{First: 1, Last: store.UID(more)}})}}
		})
		have += more
	}
}

// An account with more mail than one command may remove goes in parts. Where that ends early it is suspended, and the next attempt goes on.
func TestRemoveALargeAccount(t *testing.T) {
	var f *failing
	d, n := testDirectory(t, func(c *Config) {
		f = &failing{node: c.Store.(*node), left: -1}
		c.Store = f
	})
	n.crowd(1, state.MaxMessages+1)
	f.left = 3 // the refused removal, the suspension, one part
	var partial *replica.PartialError
	if err := d.RemoveAccount(t.Context(), "alice@example.test"); !errors.Is(err, store.ErrUnavailable) || !errors.As(err, &partial) {
		t.Fatalf("a removal that is cut off: %v", err)
	}
	f.left = -1
	info, err := d.Account(t.Context(), "alice@example.test")
	must(t, err)
	if !info.Suspended || info.UsedMessages != state.MaxMessages+1-replica.PartMessages {
		t.Errorf("cut off, it is %+v", info)
	}
	must(t, d.RemoveAccount(t.Context(), "alice@example.test"))
	if _, err := d.Account(t.Context(), "alice@example.test"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed, it is still there: %v", err)
	}
}
