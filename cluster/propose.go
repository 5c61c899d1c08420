package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// MaxCommandBytes is the most that one command may have: far less than a frame between nodes, and so little that a log entry holds up
// no heartbeat. Larger things go beside the log.
const MaxCommandBytes = 2 << 20

const (
	// retryAfter paces a proposal or barrier whose leader refuses or is not there; a change of leader ends the wait.
	retryAfter = 25 * time.Millisecond
	// enqueueTimeout bounds the wait for Raft's own queue.
	enqueueTimeout = 2 * time.Second
	// forwardTimeout bounds what this node does for another one that may have given up meanwhile.
	forwardTimeout = 30 * time.Second
)

// pending bounds proposals that are under way. A node has two: for its own proposals, and for those that others hand to it as the leader,
// so that neither kind starves the other.
type pending struct {
	max      int
	maxBytes int64

	mu    sync.Mutex
	n     int   // guarded by mu
	bytes int64 // guarded by mu
}

// enter is false when there is no room for a command of so many bytes.
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
// So cmd may be appended more than once. Errors: ErrTooLarge, ErrBusy and ErrUnavailable say that nothing was or will be appended,
// ErrUnknownOutcome that something may have been. The caller must not change cmd afterwards.
func (n *Node) Propose(ctx context.Context, cmd []byte) error {
	if len(cmd) > MaxCommandBytes {
		return fmt.Errorf("a command of %d bytes: %w", len(cmd), ErrTooLarge)
	}
	if !n.own.enter(len(cmd)) {
		return ErrBusy
	}
	defer n.own.leave(len(cmd))
	maybe := false // some attempt may have appended it
	for {
		changed := n.leaderChanged() // asked for before the leader is: no change goes unnoticed
		appended, err := n.proposeOnce(ctx, cmd, changed)
		if err == nil {
			return nil
		}
		maybe = maybe || appended
		select {
		case <-ctx.Done():
			return outcome(maybe, fmt.Errorf("%w (last: %w)", ctx.Err(), err))
		case <-n.ctx.Done():
			return outcome(maybe, errStopping)
		case <-changed:
		case <-time.After(retryAfter):
		}
	}
}

// ErrTooLarge: the command has more than MaxCommandBytes; nothing was appended.
var ErrTooLarge = errors.New("larger than a command may be")

var errStopping = errors.New("the node is stopping")

func outcome(maybe bool, err error) error {
	if maybe {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// proposeOnce asks the leader of this moment, and gives up when the leader changes, for the old one may never answer. Maybe tells
// whether the command may have been appended although there is an error.
func (n *Node) proposeOnce(ctx context.Context, cmd []byte, changed <-chan struct{}) (maybe bool, err error) {
	_, id := n.raft.LeaderWithID()
	if id == "" {
		return false, errNoLeader
	}
	if ServerID(id) == n.cfg.ID {
		_, maybe, err = n.apply(ctx, cmd)
		return maybe, err
	}
	ctx, cancel := until(ctx, changed)
	defer cancel()
	res, sent, err := n.call(ctx, ServerID(id), "propose", cmd)
	if err != nil {
		return sent, err
	}
	maybe, err = readVerdict(res)
	if err == nil {
		n.hearNews(ServerID(id), res[1:])
	}
	return maybe, err
}

// until is ctx, which ends also when ch is closed.
func until(ctx context.Context, ch <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-ch:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

var (
	errNoLeader = errors.New("no leader is known")
	// errNotLeader: this node does not lead, and certainly did nothing.
	errNotLeader = errors.New("not the leader")
)

// The first byte of the answer to "propose"; a text follows.
const (
	verdictCommitted = 0 // what follows is news of the entry's index and term
	verdictRefused   = 1 // certainly not appended, and never will be
	verdictUnknown   = 2
)

func readVerdict(res []byte) (maybe bool, err error) {
	if len(res) == 0 {
		return true, errors.New("the leader's answer to a proposal is empty")
	}
	switch res[0] {
	case verdictCommitted:
		return false, nil
	case verdictRefused:
		return false, fmt.Errorf("the leader refused: %s", res[1:])
	}
	return true, fmt.Errorf("the leader does not know: %s", res[1:])
}

// apply gives cmd to this node's own Raft and waits for its word. Without an error, index is where it stands.
func (n *Node) apply(ctx context.Context, cmd []byte) (index uint64, maybe bool, err error) {
	type word struct {
		index uint64
		err   error
	}
	done := make(chan word, 1)
	// It ends with Raft's word: at once where this node does not lead, and when it loses the lead. Only a Raft that was shut down may
	// owe it for what it held then.
	go func() {
		f := n.raft.Apply(cmd, enqueueTimeout)
		err := f.Error()
		done <- word{f.Index(), err}
	}()
	select {
	case w := <-done:
		return w.index, appended(w.err), w.err
	case <-ctx.Done():
		return 0, true, ctx.Err()
	case <-n.ctx.Done():
		return 0, true, errStopping
	}
}

// appended tells whether a command that ended in err may be in the log. Raft answers ErrNotLeader and
// ErrLeadershipTransferInProgress before it appends, ErrEnqueueTimeout when it never took the command; every other error, also
// ErrLeadershipLost and ErrRaftShutdown, can follow an append.
func appended(err error) bool {
	return err != nil && !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrEnqueueTimeout) && !errors.Is(err, raft.ErrLeadershipTransferInProgress)
}

// handlePropose takes a command that another node hands to this one as the leader.
func (n *Node) handlePropose(ctx context.Context, _ ServerID, cmd []byte) ([]byte, error) {
	if n.raft.State() != raft.Leader {
		return verdict(verdictRefused, errNotLeader), nil
	}
	if len(cmd) > MaxCommandBytes {
		return verdict(verdictRefused, ErrTooLarge), nil
	}
	if !n.served.enter(len(cmd)) {
		return verdict(verdictRefused, ErrBusy), nil
	}
	defer n.served.leave(len(cmd))
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	// The frame's memory is the command's own: nobody else writes there.
	index, maybe, err := n.apply(ctx, cmd)
	switch {
	case err == nil:
		return append([]byte{verdictCommitted}, n.encodeNews(index, 0)...), nil
	case maybe:
		return verdict(verdictUnknown, err), nil
	}
	return verdict(verdictRefused, err), nil
}

func verdict(v byte, err error) []byte { return append([]byte{v}, err.Error()...) }
