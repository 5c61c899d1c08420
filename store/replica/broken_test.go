//go:build broken

package replica

import (
	"bytes"
	"context"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/storepb"
)

func TestWithoutQuorumSetTheAcceptingNodeAloneHasTheBody(t *testing.T) {
	t.Setenv("QUORUMAIL_BROKEN", string(broken.QuorumSet))
	c := newTestCluster(t)
	account := c.account()
	for _, n := range c.nodes[1:] {
		n.down.Store(true) // for bodies: they would fetch it soon
	}
	_, msg, err := c.nodes[0].add(context.Background(), account, message(20_000))
	if err != nil {
		t.Fatal(err)
	}
	if len(msg.Body.Quorum) != 1 || !c.nodes[0].has(store.BodyID(msg.Body.Id)) {
		t.Errorf("%d acknowledgements, want that of the accepting node alone", len(msg.Body.Quorum))
	}
	for _, n := range c.nodes[1:] {
		if n.has(store.BodyID(msg.Body.Id)) {
			t.Errorf("%s has the body too", n.id)
		}
	}
}

// A command whose outcome got lost is handed over again with the same id, so that without dedupe it is executed twice.
func TestWithoutDedupeARetryIsExecutedTwice(t *testing.T) {
	copies := func(t *testing.T) uint32 {
		c := newTestCluster(t)
		account := c.account()
		n := c.nodes[0]
		n.mustAdd(account, message(500))
		inbox := n.inbox(account).Id
		c.setFaults(func(attempt int) fault { return fault{noReply: attempt == 1} })
		n.holdApply(true) // else the first copy's result would come in before the retry
		done := make(chan error, 1)
		go func() {
			_, err := n.Propose(context.Background(), func(cmd *storepb.Command) {
				cmd.Op = &storepb.Command_CopyMessages{CopyMessages: &storepb.CopyMessages{Account: uint64(account), Mailbox: inbox, DestMailbox: inbox,
					Uids: store.PackUIDs(store.UIDSet{{First: 1, Last: 1}})}}
			})
			done <- err
		}()
		c.wait("the retry is in the log", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.entries) > 1 && bytes.Equal(c.entries[len(c.entries)-1].Command, c.entries[len(c.entries)-2].Command)
		})
		n.holdApply(false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c.everywhere()
		return c.nodes[1].inbox(account).Messages - 1
	}
	if n := copies(t); n != 1 {
		t.Fatalf("whole: %d copies", n)
	}
	t.Setenv("QUORUMAIL_BROKEN", string(broken.Dedupe))
	if n := copies(t); n != 2 {
		t.Errorf("without dedupe: %d copies, want 2", n)
	}
}
