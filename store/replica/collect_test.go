package replica

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

func decode(t *testing.T, raw []byte) *storepb.Command {
	t.Helper()
	c := &storepb.Command{}
	if err := proto.Unmarshal(raw, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *testNode) tickBy(d time.Duration) {
	n.c.t.Helper()
	if err := n.maintain(context.Background(), func(c *storepb.Command) {
		c.Op = &storepb.Command_Tick{Tick: &storepb.Tick{Ms: uint64(d.Milliseconds())}}
	}); err != nil {
		n.c.t.Fatal(err)
	}
}

// TestB7Tombstone: what nothing refers to stays for the undelete window of the replicated clock, then goes everywhere.
func TestB7Tombstone(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	id, inline := n.mustAdd(account, message(30_000)), n.mustAdd(account, message(50))
	c.wait("all copies", func() bool { return c.nodes[1].has(id) && c.nodes[2].has(id) })
	n.tickBy(time.Hour)
	n.expunge(account)
	if err := n.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !n.has(id) || n.known(id) != nil {
		t.Fatal("swept within the undelete window")
	}
	for range 7 * 24 {
		n.tickBy(time.Hour)
	}
	if err := n.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := n.known(id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after the window the state still knows the body: %v", err)
	}
	for _, p := range c.nodes {
		c.wait("deletion at "+string(p.id), func() bool { return !p.has(id) && !p.has(inline) })
	}
}

// TestB7Orphan: an upload that no command names goes after two epochs and not before; what a message has stays.
func TestB7Orphan(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	ctx := context.Background()
	live := n.mustAdd(account, message(30_000))
	up, err := n.NewBody()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Abort()
	if _, err := up.Write(message(30_000)); err != nil {
		t.Fatal(err)
	}
	ref, err := up.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	orphan := store.BodyID(ref.Id)
	for epochs := range 3 {
		if err := n.reconcile(ctx); err != nil {
			t.Fatal(err)
		}
		if want := epochs < 2; n.has(orphan) != want || !n.has(live) {
			t.Errorf("after %d epochs: orphan there %v, live there %v", epochs, n.has(orphan), n.has(live))
		}
		if err := n.advanceEpoch(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// Its command comes too late: everybody rejects it.
	res, err := n.propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Body: ref, Targets: []*storepb.Target{{Account: uint64(account)}}}}
	})
	if err != nil || res.Code == 0 {
		t.Errorf("a command of an old epoch: %v, %v", res, err)
	}
}

// TestScrubRepairs: a scrub finds what no reader touches.
func TestScrubRepairs(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[1]
	id := c.nodes[0].mustAdd(account, message(30_000))
	c.wait("all copies", func() bool { return n.has(id) })
	c.everywhere()
	if err := n.blobs.Damage(id); err != nil {
		t.Fatal(err)
	}
	if err := n.scrub(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.wait("the repair", func() bool { return n.has(id) && c.nodes[0].missing("n2") == 0 })
}

// TestTickNeedsAgreement: the replicated clock advances by what a majority of clocks says, and not at all when the leader's runs fast.
func TestTickNeedsAgreement(t *testing.T) {
	c := newTestCluster(t)
	ctx := context.Background()
	leader := c.nodes[0]
	// Two ticks of 1 ms give all nodes a common beginning.
	for range 2 {
		if err := leader.tick(ctx); err != nil {
			t.Fatal(err)
		}
		c.everywhere()
	}
	before, err := leader.replicatedTime()
	if err != nil || before < 1 || before > 10_000 {
		t.Fatalf("replicated time %d, %v", before, err)
	}
	pass := func(d time.Duration, nodes ...*testNode) {
		for _, n := range nodes {
			n.offset.Add(int64(d))
		}
	}
	pass(time.Minute, leader, c.nodes[1])
	if err := leader.tick(ctx); err != nil {
		t.Fatal(err)
	}
	now, _ := leader.replicatedTime()
	if d := now - before; d < 60_000 || d > 70_000 {
		t.Errorf("a majority says one minute, the clock advanced by %d ms", d)
	}
	c.everywhere()
	pass(time.Hour, leader)
	if err := leader.tick(ctx); !errors.Is(err, errClocks) {
		t.Errorf("the leader's clock alone jumped: %v", err)
	}
	if err := leader.ClocksDisagree(); !errors.Is(err, errClocks) || value(leader.cfg.Metrics.Clocks) != 1 {
		t.Errorf("that the clocks disagree is not told: %v", err)
	}
	if again, _ := leader.replicatedTime(); again != now {
		t.Errorf("the clock advanced by %d ms though the clocks disagree", again-now)
	}
	pass(time.Hour, c.nodes[1], c.nodes[2])
	if err := leader.tick(ctx); err != nil || leader.ClocksDisagree() != nil || value(leader.cfg.Metrics.Clocks) != 0 {
		t.Errorf("the clocks agree again: %v, %v", err, leader.ClocksDisagree())
	}
	leader.noteClocks(errClocks)
	c.mu.Lock()
	c.leader = 1
	c.mu.Unlock()
	if err := leader.tickWhereLeading(ctx); err != nil || leader.ClocksDisagree() != nil {
		t.Errorf("a node that does not lead any more still complains: %v, %v", err, leader.ClocksDisagree())
	}
	c.everywhere()
	c.nodes[1].down.Store(true)
	c.nodes[2].down.Store(true)
	if err := leader.tick(ctx); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("no majority of clocks answers: %v", err)
	}
}

// TestReplacedDataIsRefused: a node whose data folder is not the one that the cluster knows must not go on (B5).
func TestReplacedDataIsRefused(t *testing.T) {
	c := newTestCluster(t)
	n := c.nodes[0]
	c.everywhere()
	n.cfg.DataIncarnation[5]++ // only registration reads it in this test
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := n.register(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("registered with another mark: %v", err)
	}
}

// TestNewRefusesIncompleteConfig: what is required is said.
func TestNewRefusesIncompleteConfig(t *testing.T) {
	if _, err := New(Config{Blobs: blob.NewMemory()}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
