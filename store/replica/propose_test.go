package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// TestExactlyOnce: whatever happens to the hand-overs, each message is there once, and each result tells where.
func TestExactlyOnce(t *testing.T) {
	faults := map[string]func(attempt int) fault{
		"duplicated":         func(int) fault { return fault{times: 2} },
		"reply lost":         func(attempt int) fault { return fault{noReply: attempt < 3} },
		"lost, then arrives": func(attempt int) fault { return fault{lose: attempt < 3} },
		"lost, then refused, then arrives": func(attempt int) fault {
			return fault{lose: attempt == 1, refuse: attempt == 2}
		},
		"reordered": func(int) fault {
			return fault{delay: time.Duration(rand.IntN(10)) * time.Millisecond, times: rand.IntN(2)}
		},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t)
			account := c.account()
			c.setFaults(f)
			const messages = 24
			var g sync.WaitGroup
			var mu sync.Mutex
			uids := map[uint32]bool{}
			for i := range messages {
				g.Go(func() {
					res, _, err := c.nodes[i%3].add(context.Background(), account, []byte(fmt.Sprintf("Subject: %d\r\n\r\n", i)))
					if err != nil {
						t.Errorf("message %d: %v", i, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					uids[res.Placed[0].Uid] = true
				})
			}
			g.Wait()
			c.setFaults(nil)
			c.everywhere()
			for _, n := range c.nodes {
				if got := n.inbox(account).Messages; got != messages || len(uids) != messages {
					t.Errorf("%s has %d messages, %d UIDs were told, want %d", n.id, got, len(uids), messages)
				}
			}
		})
	}
}

// TestUnknownOutcome: when the deadline passes after something may have been appended, that is what is said, also if it then happens.
func TestUnknownOutcome(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	c.setFaults(func(int) fault { return fault{lose: true} })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.nodes[0].add(ctx, account, []byte("x")); !errors.Is(err, store.ErrUnknownOutcome) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("lost: %v, want an unknown outcome", err)
	}

	c.setFaults(nil)
	c.nodes[0].holdApply(true) // it is committed, but this node does not see it
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.nodes[0].add(ctx, account, []byte("y")); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("committed, not applied here: %v, want an unknown outcome", err)
	}
	c.nodes[0].holdApply(false)
	c.everywhere()
	if got := c.nodes[0].inbox(account).Messages; got != 1 {
		t.Errorf("%d messages, want the one that was committed", got)
	}
}

// TestDefiniteFailure: nothing was appended, so it is said at once that nothing happened.
func TestDefiniteFailure(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	c.setFaults(func(int) fault { return fault{refuse: true} })
	if _, _, err := c.nodes[0].add(context.Background(), account, []byte("x")); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("refused: %v, want unavailable", err)
	}
}

// TestLateCopyIsRefused: once a proposer has given a command up and gone on, a copy that comes late is not executed.
func TestLateCopyIsRefused(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	var late []byte
	n := c.nodes[0]
	c.setFaults(func(int) fault { return fault{lose: true} })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, _, err := n.add(ctx, account, []byte("late")); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	c.mu.Lock()
	for cmd := range c.tries {
		if strings.Contains(cmd, "late") || len(cmd) > len(late) && c.tries[cmd] > 1 {
			late = []byte(cmd)
		}
	}
	c.mu.Unlock()
	c.setFaults(nil)
	n.mustAdd(account, []byte("on time"))
	c.append(late, 1)
	c.everywhere()
	if got := n.inbox(account).Messages; got != 1 {
		t.Errorf("%d messages, want 1: the late copy was executed", got)
	}
}

// TestB2SuccessMeansAppliedHere: no success before this node has applied the command, and then its views show it.
func TestB2SuccessMeansAppliedHere(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[0]
	n.holdApply(true)
	done := make(chan error, 1)
	go func() { _, _, err := n.add(context.Background(), account, []byte("x")); done <- err }()
	if err := c.nodes[1].ReadBarrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.wait("the others to apply it", func() bool { return c.nodes[1].inbox(account).Messages == 1 })
	select {
	case err := <-done:
		t.Fatalf("it returned (%v) before this node applied the command", err)
	case <-time.After(20 * time.Millisecond):
	}
	n.holdApply(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := n.inbox(account).Messages; got != 1 {
		t.Errorf("the session's own write is not visible: %d messages", got)
	}
}

// TestSessionSeesItsOwnWrites: right after each success, at the same node.
func TestSessionSeesItsOwnWrites(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	c.everywhere()
	for i := range 30 {
		n := c.nodes[i%3]
		before := n.inbox(account).Messages
		n.mustAdd(account, []byte("x"))
		if got := n.inbox(account).Messages; got <= before {
			t.Fatalf("write %d is not visible at %s", i, n.id)
		}
	}
}

// TestResultAfterRestore: a checkpoint may bring the effect of a command instead of its entry.
func TestResultAfterRestore(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	c.everywhere()
	n := c.nodes[0]
	w := n.Watch(account, store.MailboxID(n.inbox(account).Id))
	defer w.Close()
	changed := make(chan store.AccountID, 10)
	n.OnCredentials(func(id store.AccountID) { changed <- id })
	n.holdApply(true)
	done := make(chan error, 1)
	go func() { _, _, err := n.add(context.Background(), account, []byte("x")); done <- err }()
	c.wait("the others to apply it", func() bool { return c.nodes[1].inbox(account).Messages == 1 })
	_, _, r, err := c.nodes[1].machine.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := n.machine.Restore(r); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the command was executed, its proposer was told %v", err)
	}
	select {
	case <-w.C:
	case <-time.After(5 * time.Second):
		t.Error("the watch was not woken by the restore")
	}
	if got := <-changed; got != account {
		t.Errorf("credentials of account %d may have changed, told of %d", account, got)
	}
	n.holdApply(false)
}

// TestBackpressure: too many commands, or too many bytes of them, are refused at once.
func TestBackpressure(t *testing.T) {
	for name, limits := range map[string]Limits{"proposals": {Proposals: 4}, "bytes": {ProposalBytes: 10_000}} {
		t.Run(name, func(t *testing.T) {
			limited := false
			c := newTestCluster(t, func(c *Config) {
				if !limited {
					limited, c.Limits = true, limits
				}
			})
			account := c.account()
			n := c.nodes[0]
			n.holdApply(true)
			ctx, cancel := context.WithCancel(context.Background())
			results := make(chan error, 12)
			for range cap(results) {
				go func() { _, _, err := n.add(ctx, account, message(2000)); results <- err }()
			}
			if err := <-results; !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("over the limit: %v, want unavailable", err)
			}
			n.holdApply(false)
			for range cap(results) - 1 {
				if err := <-results; err != nil && !errors.Is(err, store.ErrUnavailable) {
					t.Error(err)
				}
			}
			cancel()
			c.wait("room", func() bool { _, _, err := n.add(context.Background(), account, message(2000)); return err == nil })
		})
	}
}

// TestTooLarge: a command over the limit never reaches the log.
func TestTooLarge(t *testing.T) {
	c := newTestCluster(t)
	_, err := c.nodes[0].Propose(context.Background(), func(c *storepb.Command) {
		c.Op = &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: "x", Value: strings.Repeat("x", MaxCommandBytes)}}
	})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("got %v, want too large", err)
	}
	if _, err := c.nodes[0].Propose(context.Background(), func(*storepb.Command) {}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no operation: %v, want invalid", err)
	}
}

// TestReady: no quorum, a full disk and too much to catch up each are told, refuse what they must, and pass by themselves.
func TestReady(t *testing.T) {
	var lag uint64
	var mu sync.Mutex
	c := newTestCluster(t, func(c *Config) {
		c.MaxLag = 10
		c.Lag = func() uint64 { mu.Lock(); defer mu.Unlock(); return lag }
	})
	n := c.nodes[0]
	until := func(want error) {
		t.Helper()
		c.wait(fmt.Sprint("readiness ", want), func() bool { return errors.Is(n.Ready(), want) && (want != nil || n.Ready() == nil) })
	}
	n.noLog.Store(true)
	until(store.ErrUnavailable)
	started := time.Now()
	if err := n.ReadBarrier(context.Background()); !errors.Is(err, store.ErrUnavailable) || time.Since(started) > time.Second {
		t.Errorf("read barrier without a quorum: %v after %v", err, time.Since(started))
	}
	n.noLog.Store(false)
	until(nil)

	n.free.Store(1 << 20)
	until(store.ErrNoSpace)
	if _, err := n.NewBody(); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("new mail on a full disk: %v", err)
	}
	if err := n.ReadBarrier(context.Background()); err != nil {
		t.Errorf("a full disk stops readers: %v", err)
	}
	n.free.Store(1 << 40)
	until(nil)

	mu.Lock()
	lag = 11
	mu.Unlock()
	until(store.ErrUnavailable)
	mu.Lock()
	lag = 0
	mu.Unlock()
	until(nil)
}

// TestWatchCoalesces: many changes that nobody has looked at are one value, other mailboxes' are none.
func TestWatchCoalesces(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	c.everywhere()
	n := c.nodes[1]
	inbox, other := n.Watch(account, store.MailboxID(n.inbox(account).Id)), n.Watch(account, 9999)
	defer other.Close()
	for range 10 {
		c.nodes[0].mustAdd(account, []byte("x"))
	}
	c.everywhere()
	if len(inbox.C) != 1 || len(other.C) != 0 {
		t.Errorf("%d and %d values wait, want 1 and 0", len(inbox.C), len(other.C))
	}
	<-inbox.C
	c.nodes[0].mustAdd(account, []byte("x"))
	select {
	case <-inbox.C:
	case <-time.After(5 * time.Second):
		t.Error("no value after a change")
	}
	inbox.Close()
	inbox.Close()
	c.nodes[0].mustAdd(account, []byte("x"))
	c.everywhere()
	if len(inbox.C) != 0 {
		t.Error("a value after Close")
	}
	n.watches.mu.Lock()
	defer n.watches.mu.Unlock()
	if len(n.watches.of) != 1 {
		t.Errorf("%d mailboxes are watched, want 1", len(n.watches.of))
	}
}

// TestCredentialsHook: whoever remembers passwords hears of a change on every node, at the latest when the change succeeds.
func TestCredentialsHook(t *testing.T) {
	c := newTestCluster(t)
	heard := make([]chan store.AccountID, 3)
	for i, n := range c.nodes {
		heard[i] = make(chan store.AccountID, 10)
		n.OnCredentials(func(id store.AccountID) { heard[i] <- id })
	}
	account := c.account()
	op := &storepb.PutCredential{Account: uint64(account), Credential: &storepb.Credential{Id: "p", Kind: "password", Argon2: "x"}}
	if _, err := c.nodes[0].Propose(context.Background(), func(c *storepb.Command) { c.Op = &storepb.Command_PutCredential{PutCredential: op} }); err != nil {
		t.Fatal(err)
	}
	if len(heard[0]) == 0 {
		t.Error("the proposer's node had not heard of it when it succeeded")
	}
	for i := range c.nodes {
		if got := <-heard[i]; got != account {
			t.Errorf("node %d heard of account %d, want %d", i, got, account)
		}
	}
}

// What a process proposes before the cluster knows of its start could be retired by the late word of an earlier one.
func TestNothingIsProposedBeforeRegistration(t *testing.T) {
	c := newTestCluster(t)
	n := c.newNode(3, "n4") // which does not run
	defer n.machine.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := n.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_AdvanceEpoch{AdvanceEpoch: &storepb.AdvanceEpoch{From: 1}}
	})
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("got %v, want unavailable", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		if e.Command != nil && decode(t, e.Command).Server == "n4" {
			t.Error("it was proposed")
		}
	}
}
