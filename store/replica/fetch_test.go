package replica

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumail/quorumail/store"
)

// TestMemberThatDoesNotVoteGetsBodies: they are streamed to it, so that the state does not note each as missing there; it counts towards no
// majority.
func TestMemberThatDoesNotVoteGetsBodies(t *testing.T) {
	c := newTestCluster(t, func(c *Config) { c.Intervals.Straggler = 5 * time.Second })
	account := c.account()
	c.setVoters([]store.ServerID{"n1", "n2"}, "n3")
	c.everywhere()
	_, msg, err := c.nodes[0].add(context.Background(), account, message(30_000))
	if err != nil {
		t.Fatal(err)
	}
	id := store.BodyID(msg.Body.Id)
	if len(msg.Body.Quorum) != 3 || !c.nodes[2].has(id) || c.nodes[0].missing("n3") != 0 {
		t.Errorf("%d acknowledgements, copy on n3 %v, %d noted as missing", len(msg.Body.Quorum), c.nodes[2].has(id), c.nodes[0].missing("n3"))
	}
	c.nodes[1].down.Store(true)
	if _, _, err := c.nodes[0].add(context.Background(), account, message(30_000)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("one of two voters and a member that does not vote: %v, want unavailable", err)
	}
}

// TestMissingAtUnderLoad: a server that always lacks the latest bodies for a moment lacks none of those that were there when it was asked.
func TestMissingAtUnderLoad(t *testing.T) {
	c := newTestCluster(t, func(c *Config) { c.Intervals.Fetch, c.Intervals.Straggler = 500*time.Millisecond, 20*time.Millisecond })
	account := c.account()
	c.setVoters([]store.ServerID{"n1", "n2"}, "n3")
	n := c.nodes[2]
	if err := n.receive.Acquire(context.Background(), n.cfg.Limits.ReceiveBytes); err != nil { // no copy reaches it in time
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	defer func() { cancel(); g.Wait(); n.receive.Release(n.cfg.Limits.ReceiveBytes) }()
	g.Go(func() {
		for ctx.Err() == nil {
			if _, _, err := c.nodes[0].add(ctx, account, message(20_000)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		c.wait("a body that it lacks", func() bool { return c.nodes[0].missing("n3") > 0 })
		if lacks, _, err := c.nodes[0].MissingAt(context.Background(), "n3"); err != nil || lacks != 0 {
			t.Errorf("%d bodies missing, %v", lacks, err)
		}
	}
}

// TestMissingAtForgetsWhatIsSwept: nobody waits for a body that no message has any longer.
func TestMissingAtForgetsWhatIsSwept(t *testing.T) {
	c := newTestCluster(t)
	if left, err := c.nodes[0].awaitBodies(context.Background(), []store.BodyID{{1}}); err != nil || len(left) != 0 {
		t.Errorf("%d, %v", len(left), err)
	}
}

// TestRepairTakesItsTime: a body on a slow line is fetched however long it takes, as long as it comes forward.
func TestRepairTakesItsTime(t *testing.T) {
	c := newTestCluster(t, func(c *Config) { c.Intervals.Stream = 300 * time.Millisecond })
	account := c.account()
	n := c.nodes[2]
	n.down.Store(true)
	id := c.nodes[0].mustAdd(account, message(1<<20))
	c.nodes[0].pace.Store(int64(30 * time.Millisecond)) // for each of some 64 pieces: 2 s
	c.nodes[1].pace.Store(int64(30 * time.Millisecond))
	n.down.Store(false)
	c.wait("the body to be fetched", func() bool { return n.has(id) })
}

// TestPeerOutOfReachIsAskedLast: not each body waits for a connection to a peer that is down.
func TestPeerOutOfReachIsAskedLast(t *testing.T) {
	c := newTestCluster(t)
	id := c.nodes[0].mustAdd(c.account(), message(20_000))
	c.wait("all copies", func() bool { return c.nodes[2].has(id) })
	c.nodes[1].down.Store(true)
	for range 40 {
		s, err := c.nodes[2].fetch(context.Background(), id, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if got := c.nodes[1].refused.Load(); got > 1 {
		t.Errorf("%d attempts to reach a peer that is down, want one", got)
	}
}

// TestAbsentFromGoesOn: pages of absent bodies meet each once, whatever their borders.
func TestAbsentFromGoesOn(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	gone := map[store.BodyID][]byte{}
	for i := range 20 {
		id := n.mustAdd(account, message(100))
		if i%3 != 0 {
			gone[id] = n.takeAway(t, id)
		}
	}
	for _, limit := range []int{1, 3, 14, 100} {
		met, pages := map[store.BodyID]bool{}, 0
		var last store.BodyID
		for from, more := (store.BodyID{}), true; more; pages++ {
			var ids []store.BodyID
			var err error
			if ids, from, more, err = n.absentFrom(from, limit); err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if gone[id] == nil || bytes.Compare(last[:], id[:]) >= 0 {
					t.Errorf("limit %d: %v is not absent, or not behind %v", limit, id, last)
				}
				met[id], last = true, id
			}
		}
		if len(met) != len(gone) || pages > len(gone)/limit+1 {
			t.Errorf("limit %d: %d of %d in %d pages", limit, len(met), len(gone), pages)
		}
	}
	for id, raw := range gone {
		n.giveBack(t, id, raw)
	}
}

// TestRepairGoesOnBehindAFailure: a whole batch of bodies that no peer has does not keep the others from being fetched.
func TestRepairGoesOnBehindAFailure(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[2]
	n.down.Store(true)
	const bodies = fetchBatch + 3 // so that there is a batch behind the one that fails
	var g errgroup.Group
	g.SetLimit(16)
	for range bodies {
		g.Go(func() error {
			_, _, err := c.nodes[0].add(context.Background(), account, message(17_000))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := n.ReadBarrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	v := n.View()
	missing, err := v.Missing("n3", 2*bodies)
	v.Close()
	if err != nil || len(missing) != bodies {
		t.Fatalf("%d bodies noted as missing, %v", len(missing), err)
	}
	kept := map[store.BodyID][]byte{} // a whole batch, so that all of it fails again and again
	for _, id := range missing[:fetchBatch] {
		c.wait("both copies", func() bool { return c.nodes[0].has(id) && c.nodes[1].has(id) })
		kept[id] = c.nodes[0].takeAway(t, id)
		c.nodes[1].takeAway(t, id)
	}
	n.down.Store(false)
	poke(n.fetchNow) // after so many failures it would look again only in some time
	c.wait("those behind", func() bool {
		return !slices.ContainsFunc(missing[fetchBatch:], func(id store.BodyID) bool { return !n.has(id) }) && c.nodes[0].missing("n3") == fetchBatch
	})
	for id, raw := range kept {
		c.nodes[0].giveBack(t, id, raw)
	}
	poke(n.fetchNow)
	c.wait("those that were nowhere", func() bool { return c.nodes[0].missing("n3") == 0 })
}

// TestMissingAnswer: what is not a list of bodies is refused, and of very many only the first are named.
func TestMissingAnswer(t *testing.T) {
	for _, n := range []int{0, 1, maxNamed, maxNamed + 1} {
		ids := make([]store.BodyID, n)
		for i := range ids {
			ids[i][0], ids[i][1] = byte(i), byte(i>>8)
		}
		total, got, err := decodeMissing(encodeMissing(ids))
		if err != nil || total != int64(n) || !slices.Equal(got, ids[:min(n, maxNamed)]) {
			t.Errorf("%d bodies: %d, %d named, %v", n, total, len(got), err)
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 7), make([]byte, 9), make([]byte, 8+store.BodyIDBytes), bytes.Repeat([]byte{0xff}, 8)} {
		if _, _, err := decodeMissing(bad); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

// TestRepairGivesUpWithoutPeers: where nobody can be reached, not each body tries to reach everybody.
func TestRepairGivesUpWithoutPeers(t *testing.T) {
	c := newTestCluster(t, func(c *Config) { c.Intervals.Fetch = time.Hour })
	n := c.nodes[2]
	n.down.Store(true)
	ids := make([]store.BodyID, fetchBatch)
	for i := range ids {
		ids[i][0], ids[i][1] = byte(i), byte(i>>8)
	}
	err := n.bring(context.Background(), ids, false)
	if tries := c.nodes[0].refused.Load(); !errors.Is(err, errNobody) || tries > 4*fetchWorkers {
		t.Errorf("%d attempts for %d bodies, %v", tries, len(ids), err)
	}
}
