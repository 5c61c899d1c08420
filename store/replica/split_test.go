package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestSplit(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		var set store.UIDSet
		for range r.IntN(20) {
			first := store.UID(1 + r.IntN(300))
			set.AddRange(first, first+store.UID(r.IntN(40)))
		}
		n := uint64(1 + r.IntN(50))
		var joined store.UIDSet
		parts := split(set, n)
		for i, p := range parts {
			if p.Len() > n || p.Len() < n && i < len(parts)-1 || p.Len() == 0 {
				t.Fatalf("%v in parts of %d: %v", set, n, parts)
			}
			for _, x := range p {
				if len(joined) > 0 && x.First <= joined[len(joined)-1].Last {
					t.Fatalf("%v in parts of %d: not in order: %v", set, n, parts)
				}
				joined.AddRange(x.First, x.Last)
			}
		}
		if !slices.Equal(joined, set) {
			t.Fatalf("%v in parts of %d: %v", set, n, parts)
		}
	}
	// The ends of what a UID can be.
	parts := split(store.UIDSet{{First: 1<<32 - 10, Last: 1<<32 - 1}}, 5)
	if want := (store.UIDSet{{First: 1<<32 - 5, Last: 1<<32 - 1}}); len(parts) != 2 || !slices.Equal(parts[1], want) {
		t.Errorf("the last UIDs: %v", parts)
	}
}

// crowd makes a mailbox of n messages in the account's INBOX: copies of one.
func (c *testCluster) crowd(account store.AccountID, n int) *storepb.Mailbox {
	c.t.Helper()
	node := c.nodes[0]
	node.mustAdd(account, []byte("Subject: x\r\n\r\ny\r\n"))
	mb := node.inbox(account)
	for have := 1; have < n; {
		more := min(have, n-have)
		_, err := node.Propose(c.t.Context(), func(cmd *storepb.Command) {
			cmd.Op = &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: uint64(account), Mailbox: mb.Id, DestMailbox: mb.Id,
				Uids: store.PackUIDs(store.UIDSet{{First: 1, Last: store.UID(more)}})}}
		})
		if err != nil {
			c.t.Fatal(err)
		}
		have += more
	}
	return node.inbox(account)
}

// Commands about many messages are done in parts at a real replica, and end as one would have.
func TestManyMessagesInParts(t *testing.T) {
	patient := func(c *Config) { c.Intervals.ReadyLimit, c.Intervals.Propose = time.Minute, time.Minute } // three nodes share a slow machine
	c := newTestCluster(t, patient)
	account := c.account()
	n := PartMessages + 7
	inbox := c.crowd(account, n)
	node, ctx := c.nodes[0], t.Context()
	read := func(f func(MailboxReader) error) error {
		v := node.View()
		defer v.Close()
		return f(v)
	}
	var trash *storepb.Mailbox
	if err := read(func(v MailboxReader) (err error) {
		trash, err = v.(*state.View).MailboxByName(account, "Trash")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	all := store.UIDSet{{First: 1, Last: store.UID(n)}}

	results, err := StoreFlags(ctx, node.Propose, &storepb.StoreFlags{Account: uint64(account), Mailbox: inbox.Id, Mode: state.FlagsAdd, Flags: uint32(store.FlagDeleted)}, all)
	if err != nil || len(results) != 2 || node.inbox(account).Deleted != uint32(n) {
		t.Fatalf("store flags: %d results, %d marked (%v)", len(results), node.inbox(account).Deleted, err)
	}
	moved, err := Move(ctx, node.Propose, &storepb.CopyMessages{Account: uint64(account), Mailbox: inbox.Id, DestMailbox: trash.Id}, store.UIDSet{{First: 2, Last: store.UID(n - 1)}})
	if err != nil || len(moved.Placed) != n-2 || len(moved.SrcUids) != n-2 {
		t.Fatalf("move: %d placed of %d (%v)", len(moved.GetPlaced()), len(moved.GetSrcUids()), err)
	}
	for i, p := range moved.Placed {
		if moved.SrcUids[i] != uint32(i+2) || p.Uid != uint32(i+1) {
			t.Fatalf("message %d became %d", moved.SrcUids[i], p.Uid)
		}
	}
	if _, err := Expunge(ctx, node.Propose, &storepb.Expunge{Account: uint64(account), Mailbox: inbox.Id, OnlyDeleted: true}, all); err != nil || node.inbox(account).Messages != 0 {
		t.Fatalf("expunge: %d left (%v)", node.inbox(account).Messages, err)
	}
	if err := Empty(ctx, node.Propose, read, account, store.MailboxID(trash.Id)); err != nil {
		t.Fatal(err)
	}
	v := node.View()
	defer v.Close()
	if mb, err := v.Mailbox(account, store.MailboxID(trash.Id)); err != nil || mb.Messages != 0 {
		t.Errorf("emptied, there are %d messages (%v)", mb.GetMessages(), err)
	}
}

// A part that fails ends the change: what was done before stays, and the error says how much that is.
func TestPartThatFails(t *testing.T) {
	var seen []store.UIDSet
	propose := func(_ context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
		cmd := &storepb.Command{}
		fill(cmd)
		set, err := store.UnpackUIDs(cmd.GetCopyMessages().GetUids())
		if err != nil || !cmd.GetCopyMessages().GetMove() {
			t.Fatalf("%v: %v", cmd, err)
		}
		if len(seen) == 2 {
			return nil, store.ErrUnknownOutcome
		}
		seen = append(seen, set)
		return &storepb.Result{SrcUids: []uint32{uint32(set[0].First)}, Placed: []*storepb.PlacedMessage{{Uid: uint32(len(seen))}}}, nil
	}
	res, err := Move(t.Context(), propose, &storepb.CopyMessages{}, store.UIDSet{{First: 1, Last: 3 * PartMessages}})
	var partial *PartialError
	if !errors.As(err, &partial) || partial.Done != 2*PartMessages || !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("it ended with %v", err)
	}
	if !slices.Equal(res.SrcUids, []uint32{1, PartMessages + 1}) || len(res.Placed) != 2 {
		t.Errorf("the parts before: %v", res)
	}
	// Where nothing was done, the error says just what it is.
	if _, err := Move(t.Context(), propose, &storepb.CopyMessages{}, store.UIDSet{{First: 1, Last: 3 * PartMessages}}); errors.As(err, &partial) || !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("the first part's failure: %v", err)
	}
}

// RemoveWhole empties only where it must, and does not go on for ever.
func TestRemoveWhole(t *testing.T) {
	for _, tt := range []struct{ refusals, want int }{{0, 0}, {2, 2}, {100, removeTries}} {
		tries, emptied := 0, 0
		err := RemoveWhole(t.Context(), func(context.Context, func(*storepb.Command)) (*storepb.Result, error) {
			if tries++; tries <= tt.refusals {
				return nil, store.ErrTooLarge
			}
			return &storepb.Result{}, nil
		}, func(*storepb.Command) {}, func(context.Context) error { emptied++; return nil })
		if emptied != tt.want || (err == nil) != (tt.refusals <= removeTries) {
			t.Errorf("%d refusals: emptied %d times, %v", tt.refusals, emptied, err)
		}
	}
}
