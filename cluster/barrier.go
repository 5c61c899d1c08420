package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/store/broken"
)

// wantsNews is the question of a node that can read more than the index: older programs ask with nothing.
var wantsNews = []byte{1}

// barrierTimeout bounds one round of the leader.
const barrierTimeout = 2 * time.Second

// barrierRound lets readers share a question to the leader, but only one that has not been asked yet: what was committed after the
// leader noted its index is not covered by it.
type barrierRound struct {
	mu      sync.Mutex
	running bool       // guarded by mu
	next    *roundWait // the round that begins when the present one ends; guarded by mu
	own     *ownEntry  // of the term in which this node last led; guarded by mu
}

type roundWait struct {
	done  chan struct{}
	index uint64 // set before done is closed, as is err
	err   error
}

// ReadBarrier returns when this node has applied everything that was committed anywhere before the call. ErrUnavailable: that could not
// be known before ctx ended.
func (n *Node) ReadBarrier(ctx context.Context) error {
	if broken.On(broken.BarrierNone) {
		return nil
	}
	for {
		changed := n.leaderChanged()
		index, err := n.barrierIndex(ctx)
		if err == nil {
			return n.applied.wait(ctx, n.ctx.Done(), index)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w (last: %w)", ErrUnavailable, ctx.Err(), err)
		case <-n.ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, errStopping)
		case <-changed:
		case <-time.After(retryAfter):
		}
	}
}

// barrierIndex shares this node's question to the leader among its readers.
func (n *Node) barrierIndex(ctx context.Context) (uint64, error) {
	b := &n.barrier
	b.mu.Lock()
	if b.next == nil {
		b.next = &roundWait{done: make(chan struct{})}
	}
	w := b.next
	if !b.running {
		b.running = true
		go n.runRounds() // ends soon after the last reader went, and with the node
	}
	b.mu.Unlock()
	select {
	case <-w.done:
		return w.index, w.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (n *Node) runRounds() {
	b := &n.barrier
	for {
		b.mu.Lock()
		w := b.next
		b.next = nil // who comes from here on waits for the next round
		if w == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		w.index, w.err = n.askBarrier()
		close(w.done)
	}
}

func (n *Node) askBarrier() (uint64, error) {
	changed := n.leaderChanged()
	_, id := n.raft.LeaderWithID()
	if id == "" {
		return 0, errNoLeader
	}
	ctx, cancel := context.WithTimeout(n.ctx, barrierTimeout)
	defer cancel()
	ctx, stop := until(ctx, changed) // the old leader may never answer
	defer stop()
	res, err := n.Call(ctx, ServerID(id), "barrier", wantsNews)
	if err != nil {
		return 0, err
	}
	if len(res) != 8 && len(res) != commitNewsBytes {
		return 0, errors.New("the leader's answer to a read barrier is no index")
	}
	n.hearNews(ServerID(id), res)
	return binary.BigEndian.Uint64(res), nil
}

// handleBarrier notes term and commit index, and only then makes sure, with a majority, that no later term had begun. So whatever
// leader there may have been meanwhile was elected after the index was noted.
func (n *Node) handleBarrier(ctx context.Context, _ ServerID, req []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	term := n.raft.CurrentTerm()
	if n.raft.State() != raft.Leader {
		return nil, errNotLeader
	}
	if err := n.waitOwnEntry(ctx, term); err != nil {
		return nil, err
	}
	index, err := n.lastForMachine(n.raft.CommitIndex())
	if err != nil {
		return nil, err
	}
	if !broken.On(broken.BarrierAlone) {
		if err := n.confirmTerm(ctx, term); err != nil {
			return nil, err
		}
	}
	if len(req) > 0 {
		if news := n.encodeNews(index, term); news != nil {
			return news, nil
		}
	}
	return binary.BigEndian.AppendUint64(nil, index), nil
}

// lastForMachine is the index of the last entry up to index that reaches the Machine: Raft keeps its own entries to itself, so a
// reader that waited for one of those would wait until the next command.
func (n *Node) lastForMachine(index uint64) (uint64, error) {
	for ; index > 0; index-- {
		var e raft.Log
		err := n.logs.GetLog(index, &e)
		if errors.Is(err, raft.ErrLogNotFound) {
			// Truncated, or never here: part of the state that every node has. A state that came as a checkpoint ends at an entry that
			// reached a Machine.
			return min(index, n.cfg.Machine.Position().Index), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read entry %d: %w", index, err)
		}
		if e.Type == raft.LogCommand || e.Type == raft.LogConfiguration {
			return index, nil
		}
	}
	return 0, nil
}

// ownEntry is an entry of this node's own in a term that it leads: until one is committed, the leader does not know what its
// predecessors committed.
type ownEntry struct {
	term uint64
	done chan struct{}
	err  error // set before done is closed
}

// waitOwnEntry makes sure that an entry of this node's own in term is committed.
func (n *Node) waitOwnEntry(ctx context.Context, term uint64) error {
	b := &n.barrier
	b.mu.Lock()
	e := b.own
	if e == nil || e.term != term {
		e = &ownEntry{term: term, done: make(chan struct{})}
		b.own = e
		go n.commitOwnEntry(e) // ends with Raft's word, as in apply
	}
	b.mu.Unlock()
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("commit an entry of term %d: %w", term, ctx.Err())
	}
}

func (n *Node) commitOwnEntry(e *ownEntry) {
	e.err = n.raft.Barrier(enqueueTimeout).Error()
	if e.err == nil && n.raft.CurrentTerm() != e.term {
		e.err = errNotLeader // it may have been committed in the later term
	}
	if e.err != nil {
		n.barrier.mu.Lock()
		if n.barrier.own == e {
			n.barrier.own = nil // who asks next tries anew
		}
		n.barrier.mu.Unlock()
	}
	close(e.done)
}

// confirmTerm returns nil when a majority of the voters, this node included if it is one, says that its term is still term.
func (n *Node) confirmTerm(ctx context.Context, term uint64) error {
	voters, self := 0, 0
	var others []ServerID
	for _, s := range n.latest().Servers {
		if !s.Voter {
			continue
		}
		voters++
		if s.ID == n.cfg.ID {
			self = 1
		} else {
			others = append(others, s.ID)
		}
	}
	need := voters/2 + 1 - self
	answers := make(chan bool, len(others))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, id := range others {
		go func() {
			res, err := n.Call(ctx, id, "term", nil)
			answers <- err == nil && len(res) == 8 && binary.BigEndian.Uint64(res) == term
		}()
	}
	for left := len(others); need > 0; left-- {
		if left < need {
			return fmt.Errorf("%w: no majority confirms term %d", ErrUnavailable, term)
		}
		select {
		case yes := <-answers:
			if yes {
				need--
			}
		case <-ctx.Done():
			return fmt.Errorf("confirm term %d: %w", term, ctx.Err())
		}
	}
	// This node's own answer, which may be one of the majority, is given now, after the index was noted, as the others' are.
	if n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return errNotLeader
	}
	return nil
}

func (n *Node) handleTerm(context.Context, ServerID, []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, n.raft.CurrentTerm()), nil
}

// waiter wakes those that wait for an index to be applied.
type waiter struct {
	mu    sync.Mutex
	index uint64        // guarded by mu
	wake  chan struct{} // closed and replaced at each step while somebody waits; guarded by mu
	some  bool          // somebody waits; guarded by mu
}

func newWaiter() *waiter { return &waiter{wake: make(chan struct{})} }

func (w *waiter) set(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index = index
	if w.some {
		close(w.wake)
		w.wake, w.some = make(chan struct{}), false
	}
}

// wait returns nil when index is applied, ErrUnavailable when ctx ends or stop is closed before.
func (w *waiter) wait(ctx context.Context, stop <-chan struct{}, index uint64) error {
	for {
		w.mu.Lock()
		if w.index >= index {
			w.mu.Unlock()
			return nil
		}
		w.some = true
		wake := w.wake
		w.mu.Unlock()
		select {
		case <-wake:
		case <-stop:
			return fmt.Errorf("%w: %w", ErrUnavailable, errStopping)
		case <-ctx.Done():
			return fmt.Errorf("%w: this node is behind: %w", ErrUnavailable, ctx.Err())
		}
	}
}
