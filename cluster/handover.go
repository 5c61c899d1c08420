package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// HandOver hands the lead, if this node has it, to a voter that is close, and returns when another node is known to lead. Proposals wait
// meanwhile, so it first waits until there is such a voter, or until this node has lost the lead. Nothing happens where there is nobody else.
// It tries until ctx ends.
func (n *Node) HandOver(ctx context.Context) error {
	for n.IsLeader() {
		others := n.otherVoters()
		if len(others) == 0 {
			return nil
		}
		err := n.handOverTo(ctx, others)
		if err == nil {
			return n.awaitOther(ctx)
		}
		if !wait(ctx, retryAfter) {
			return fmt.Errorf("hand over the lead: %w: %w", ctx.Err(), err)
		}
	}
	return nil
}

// awaitOther returns when another node is known to lead.
func (n *Node) awaitOther(ctx context.Context) error {
	for {
		changed := n.leaderChanged()
		if id := n.Leader(); id != "" && id != n.cfg.ID {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("hand over the lead: nobody leads yet: %w", ctx.Err())
		}
	}
}

func (n *Node) otherVoters() (others []Server) {
	for _, s := range n.latest().Servers {
		if s.Voter && s.ID != n.cfg.ID {
			others = append(others, s)
		}
	}
	return others
}

// closeWithin bounds the question how far a voter is. One that takes longer to answer would take longer to lead, too.
const closeWithin = 500 * time.Millisecond

// handOverTo hands the lead to the first of others that says that it is close.
func (n *Node) handOverTo(ctx context.Context, others []Server) error {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	type answer struct {
		s   Server
		err error
	}
	answers := make(chan answer, len(others))
	for _, s := range others {
		go func() { answers <- answer{s, n.isClose(ctx, s.ID)} }() // ends with ctx
	}
	var errs []error
	for range others {
		a := <-answers
		if a.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.s.ID, a.err))
			continue
		}
		return n.raft.LeadershipTransferToServer(raft.ServerID(a.s.ID), raft.ServerAddress(a.s.Address)).Error()
	}
	return errors.Join(errs...)
}

// wait is false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
