package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/transport"
)

// pending bounds what is under way at this node.
type pending struct {
	mu       sync.Mutex
	max      int
	maxBytes int64
	n        int   // guarded by mu
	bytes    int64 // guarded by mu
}

func (p *pending) enter(size int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n >= p.max || p.bytes+int64(size) > p.maxBytes {
		return false
	}
	p.n, p.bytes = p.n+1, p.bytes+int64(size)
	return true
}

func (p *pending) leave(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.bytes = p.n-1, p.bytes-int64(size)
}

// Propose hands cmd to whoever leads until the leader says that it is committed or ctx ends, and again whenever the leader changes.
// So cmd may be appended more than once. Errors: ErrBusy, ErrUnavailable, ErrUnknownOutcome.
func (n *Node) Propose(ctx context.Context, cmd []byte) error {
	if !n.pending.enter(len(cmd)) {
		return ErrBusy
	}
	defer n.pending.leave(len(cmd))
	sentOnce := false
	for {
		changed := n.leaderChanged()
		sent, err := n.proposeOnce(ctx, cmd, changed)
		sentOnce = sentOnce || sent
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return outcome(sentOnce, ctx.Err())
		case <-n.ctx.Done():
			return outcome(sentOnce, errors.New("the node is stopping"))
		case <-changed:
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func outcome(sent bool, err error) error {
	if sent {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// proposeOnce asks the leader of this moment. It gives up when the leader changes, for the old one may never answer.
func (n *Node) proposeOnce(ctx context.Context, cmd []byte, changed <-chan struct{}) (sent bool, err error) {
	_, id := n.raft.LeaderWithID()
	if id == "" {
		return false, ErrUnavailable
	}
	if ServerID(id) == n.cfg.ID {
		return n.apply(ctx, cmd, changed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	_, sent, err = n.call(ctx, ServerID(id), "propose", cmd)
	var refused transport.RemoteError
	if errors.As(err, &refused) && refused.Text == errNotAppended.Error() {
		return false, err
	}
	return sent, err
}

// errNotAppended: this node could not append, certainly.
var errNotAppended = errors.New("not the leader")

func (n *Node) apply(ctx context.Context, cmd []byte, changed <-chan struct{}) (sent bool, err error) {
	f := n.raft.Apply(cmd, 2*time.Second)
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return true, ctx.Err()
	case <-changed:
		// Raft fails the future itself when it loses the lead; wait for that word, it is better than none.
		select {
		case err = <-done:
		case <-time.After(time.Second):
			return true, errors.New("no word from Raft after the leader changed")
		}
	}
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return false, err
	}
	return true, err
}

func (n *Node) handlePropose(ctx context.Context, _ ServerID, cmd []byte) ([]byte, error) {
	if n.raft.State() != raft.Leader {
		return nil, errNotAppended
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	sent, err := n.apply(ctx, append([]byte(nil), cmd...), n.leaderChanged())
	if err != nil && !sent {
		return nil, errNotAppended
	}
	return nil, err
}

// ---- read barrier ----

// barrierRound lets readers share a round, but only one whose index was not noted yet.
type barrierRound struct {
	mu      sync.Mutex
	running bool       // guarded by mu
	next    *roundWait // the round that begins when the present one ends; guarded by mu
}

type roundWait struct {
	done  chan struct{}
	index uint64
	err   error
}

// barrierTimeout bounds one round of the leader.
const barrierTimeout = 2 * time.Second

// ReadBarrier returns when this node has applied everything that was committed before the call.
func (n *Node) ReadBarrier(ctx context.Context) error {
	for {
		changed := n.leaderChanged()
		index, err := n.barrierIndex(ctx)
		if err == nil {
			return n.applied.wait(ctx, index)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		case <-changed:
		case <-time.After(25 * time.Millisecond):
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
		go n.runRounds()
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
		b.next = nil
		if w == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock() // who comes from here on waits for the next round
		ctx, cancel := context.WithTimeout(n.ctx, barrierTimeout)
		w.index, w.err = n.askBarrier(ctx)
		cancel()
		close(w.done)
	}
}

func (n *Node) askBarrier(ctx context.Context) (uint64, error) {
	_, id := n.raft.LeaderWithID()
	if id == "" {
		return 0, ErrUnavailable
	}
	res, err := n.Call(ctx, ServerID(id), "barrier", nil)
	if err != nil {
		return 0, err
	}
	if len(res) != 8 {
		return 0, errors.New("an answer that is no index")
	}
	return binary.BigEndian.Uint64(res), nil
}

// handleBarrier notes term and commit index, and then makes sure, with a majority, that no later term had begun.
func (n *Node) handleBarrier(ctx context.Context, _ ServerID, _ []byte) ([]byte, error) {
	term := n.raft.CurrentTerm()
	if n.raft.State() != raft.Leader {
		return nil, errNotAppended
	}
	if err := n.ownEntry(term); err != nil {
		return nil, err
	}
	index, err := n.lastForMachine(n.raft.CommitIndex())
	if err != nil {
		return nil, err
	}
	if err := n.confirmTerm(ctx, term); err != nil {
		return nil, err
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
			return index, nil // truncated: part of the Machine's durable state everywhere
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

// ownEntry makes sure that an entry of this term is committed: until then the leader does not know what its predecessors committed.
func (n *Node) ownEntry(term uint64) error {
	n.leaderMu.Lock()
	done := n.barrierTerm == term
	n.leaderMu.Unlock()
	if done {
		return nil
	}
	if err := n.raft.Barrier(barrierTimeout).Error(); err != nil {
		return err
	}
	if n.raft.CurrentTerm() != term {
		return errNotAppended
	}
	n.leaderMu.Lock()
	n.barrierTerm = term
	n.leaderMu.Unlock()
	return nil
}

func (n *Node) confirmTerm(ctx context.Context, term uint64) error {
	voters, self := 0, 0
	var others []ServerID
	for _, s := range n.Configuration().Servers {
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
		if <-answers {
			need--
		}
	}
	if n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return errNotAppended
	}
	return nil
}

func (n *Node) handleTerm(context.Context, ServerID, []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, n.raft.CurrentTerm()), nil
}

// ---- applied index ----

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

func (w *waiter) wait(ctx context.Context, index uint64) error {
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
		case <-ctx.Done():
			return fmt.Errorf("%w: this node is behind: %w", ErrUnavailable, ctx.Err())
		}
	}
}
