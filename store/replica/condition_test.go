package replica

import (
	"context"
	"sync"
	"testing"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Of conditional changes that every node proposes at once with the same knowledge exactly one is made, and the others learn that they were
// kept from theirs (RFC 7162 §3.1.3).
func TestOneConditionalChangePasses(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	c.nodes[0].mustAdd(account, []byte("Subject: x\r\n\r\ny\r\n"))
	mb := c.nodes[0].inbox(account)
	uids := store.UIDSet{{First: 1, Last: 1}}
	for known := mb.HighestModseq; known < mb.HighestModseq+5; known++ {
		passed := make([]bool, len(c.nodes))
		var proposals sync.WaitGroup
		for i, node := range c.nodes {
			proposals.Go(func() {
				op := &storepb.StoreFlags{Account: uint64(account), Mailbox: mb.Id, Flags: uint32(known % 2), Keywords: []string{string(rune('a' + i))},
					HasUnchangedSince: true, UnchangedSince: known}
				propose := func(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
					return node.Propose(ctx, fill)
				}
				parts, err := StoreFlags(t.Context(), propose, op, uids)
				if err != nil || len(parts) != 1 || parts[0].Modseq != known+1 {
					t.Errorf("node %d: %v, %v; want mod-sequence %d", i, parts, err, known+1)
					return
				}
				passed[i] = len(parts[0].Uids) == 0
			})
		}
		proposals.Wait()
		n := 0
		for _, p := range passed {
			if p {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%d changes passed that were to be made only if nobody had changed the message since %d", n, known)
		}
	}
}
