package replica

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorumail/quorumail/store"
)

// TestReconcileFetchesWhatIsGone: a body that vanished from a node's store altogether is found, declared lost and fetched.
func TestReconcileFetchesWhatIsGone(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[1]
	kept, gone := c.nodes[0].mustAdd(account, message(30_000)), c.nodes[0].mustAdd(account, message(100))
	c.everywhere()
	c.wait("all copies", func() bool { return n.has(kept) && n.has(gone) })
	if err := n.blobs.Delete(gone); err != nil {
		t.Fatal(err)
	}
	if err := n.reconcile(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.wait("the repair", func() bool { return n.has(gone) && c.nodes[0].missing("n2") == 0 })
	if !n.has(kept) {
		t.Error("a live body was deleted")
	}
}

// TestCompareFindsBothDifferences: of random sets, whatever is at their ends.
func TestCompareFindsBothDifferences(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	var all []store.BodyID
	for range 40 {
		all = append(all, n.mustAdd(account, message(100+r.IntN(100))))
	}
	c.everywhere()
	slices.SortFunc(all, func(a, b store.BodyID) int { return slices.Compare(a[:], b[:]) })
	for range 20 {
		var want, absent, unknown []store.BodyID
		v := n.View()
		for _, id := range all {
			if r.IntN(3) == 0 {
				want = append(want, id)
			}
		}
		err := n.compare(v, func(id store.BodyID) error { absent = append(absent, id); return nil },
			func(b stored) error { unknown = append(unknown, b.id); return nil })
		if err != nil || len(absent) != 0 || len(unknown) != 0 {
			t.Fatalf("equal sets: %v, %d, %d", err, len(absent), len(unknown))
		}
		kept := map[store.BodyID][]byte{}
		for _, id := range want {
			kept[id] = n.takeAway(t, id)
		}
		err = n.compare(v, func(id store.BodyID) error { absent = append(absent, id); return nil }, nil)
		v.Close()
		if err != nil || !slices.Equal(absent, want) {
			t.Fatalf("%v, absent %d, want %d", err, len(absent), len(want))
		}
		for _, id := range want {
			n.giveBack(t, id, kept[id])
		}
	}
}

// takeAway deletes a body from the node's store and returns its container.
func (n *testNode) takeAway(t *testing.T, id store.BodyID) []byte {
	t.Helper()
	in, size, err := n.blobs.OpenEncoded(id)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	raw := make([]byte, size)
	if _, err := io.ReadFull(in, raw); err != nil {
		t.Fatal(err)
	}
	if err := n.blobs.Delete(id); err != nil {
		t.Fatal(err)
	}
	return raw
}

func (n *testNode) giveBack(t *testing.T, id store.BodyID, raw []byte) {
	t.Helper()
	if err := n.blobs.Put(context.Background(), id, 1, bytes.NewReader(raw), int64(len(raw)), false); err != nil {
		t.Fatal(err)
	}
}
