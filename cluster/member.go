package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/transport"
)

// Status is how this node sees itself.
type Status struct {
	State                       string
	Leader                      ServerID // empty when none is known
	Term, Last, Commit, Applied uint64
}

// Status tells how the node is.
func (n *Node) Status() Status {
	_, id := n.raft.LeaderWithID()
	state := map[raft.RaftState]string{raft.Leader: "leader", raft.Follower: "follower", raft.Candidate: "candidate", raft.Shutdown: "stopped"}[n.raft.State()]
	n.applied.mu.Lock()
	defer n.applied.mu.Unlock()
	return Status{State: state, Leader: ServerID(id), Term: n.raft.CurrentTerm(), Last: n.raft.LastIndex(), Commit: n.raft.CommitIndex(), Applied: n.applied.index}
}

// IsLeader tells whether this node leads, as far as it knows.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Configuration is the membership as this node knows it.
func (n *Node) Configuration() Configuration {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return Configuration{}
	}
	return fromRaft(f.Index(), f.Configuration())
}

func (n *Node) addressOf(id ServerID) (string, bool) {
	for _, s := range n.Configuration().Servers {
		if s.ID == id {
			return s.Address, true
		}
	}
	return "", false
}

// TransferLeadership hands the lead to another member, if this node has it.
func (n *Node) TransferLeadership() error {
	if !n.IsLeader() {
		return nil
	}
	return n.raft.LeadershipTransfer().Error()
}

// memberRequest is the body of the call "member".
type memberRequest struct {
	Op      string   `json:"op"` // add, remove
	ID      ServerID `json:"id"`
	Address string   `json:"address"`
}

// AddNonvoter makes a node a member that does not vote yet; the leader promotes it when it has caught up.
func (n *Node) AddNonvoter(ctx context.Context, id ServerID, address string) error {
	return n.member(ctx, memberRequest{"add", id, address})
}

// Remove removes a member for ever.
func (n *Node) Remove(ctx context.Context, id ServerID) error {
	return n.member(ctx, memberRequest{Op: "remove", ID: id})
}

func (n *Node) member(ctx context.Context, r memberRequest) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	for {
		changed := n.leaderChanged()
		_, id := n.raft.LeaderWithID()
		err := ErrUnavailable
		if id != "" {
			if _, cerr := n.Call(ctx, ServerID(id), "member", raw); cerr == nil {
				return nil
			} else {
				err = cerr
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("change the membership: %w", err)
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (n *Node) handleMember(_ context.Context, _ ServerID, raw []byte) ([]byte, error) {
	var r memberRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if r.Op == "remove" {
		return nil, n.raft.RemoveServer(raft.ServerID(r.ID), 0, 5*time.Second).Error()
	}
	for _, s := range n.Configuration().Servers {
		if s.ID == r.ID {
			return nil, nil // a request that was sent again
		}
	}
	return nil, n.raft.AddNonvoter(raft.ServerID(r.ID), raft.ServerAddress(r.Address), 0, 5*time.Second).Error()
}

// promoteReady gives a vote to members that have caught up and that MayPromote lets vote.
func (n *Node) promoteReady() {
	c := n.Configuration()
	for _, s := range c.Servers {
		if s.Voter {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
		err := n.promote(ctx, c, s)
		cancel()
		if err != nil {
			n.cfg.Logger.Info("a member does not vote yet", "pkg", "cluster", "node", s.ID, "err", err)
		}
	}
}

func (n *Node) promote(ctx context.Context, c Configuration, s Server) error {
	// The call reaches the member's own process: it is up, and its answer shows how far it is.
	raw, err := n.Call(ctx, s.ID, "applied", nil)
	if err != nil {
		return err
	}
	var applied uint64
	if err := json.Unmarshal(raw, &applied); err != nil {
		return err
	}
	if applied+64 < n.raft.CommitIndex() {
		return errors.New("it has not caught up")
	}
	if !n.cfg.MayPromote(ctx, s.ID) {
		return errors.New("it does not hold every body yet")
	}
	return n.raft.AddVoter(raft.ServerID(s.ID), raft.ServerAddress(s.Address), c.Index, 5*time.Second).Error()
}

func (n *Node) handleApplied(context.Context, ServerID, []byte) ([]byte, error) {
	n.applied.mu.Lock()
	defer n.applied.mu.Unlock()
	return json.Marshal(n.applied.index)
}

// serveJoin answers a node that shows no certificate but an invite's secret, which Config.Join checks.
func (n *Node) serveJoin(c transport.Conn) {
	defer c.Close()
	transport.ServeCalls(n.ctx, c, func(ctx context.Context, _, method string, req []byte) ([]byte, error) {
		if method != "join" || n.cfg.Join == nil {
			return nil, errors.New("nobody can join here")
		}
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return n.cfg.Join(ctx, req)
	})
}

// Join asks a cluster, of which only an address and its authority's pin are known, to let this node in.
func Join(ctx context.Context, address string, pin [32]byte, req []byte) ([]byte, error) {
	caller := transport.NewCaller(func(ctx context.Context) (net.Conn, error) { return transport.DialJoin(ctx, address, pin) })
	defer caller.Close()
	res, _, err := caller.Call(ctx, "join", req)
	if err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	return res, nil
}

// Command reads the command of a committed entry from this node's own log; ErrTruncated when the log no longer reaches back to it.
func (n *Node) Command(index uint64) ([]byte, error) {
	var e raft.Log
	err := n.logs.GetLog(index, &e)
	if errors.Is(err, raft.ErrLogNotFound) {
		return nil, ErrTruncated
	}
	if err != nil {
		return nil, fmt.Errorf("read entry %d: %w", index, err)
	}
	return e.Data, nil
}

// ErrTruncated: the log begins later.
var ErrTruncated = errors.New("the log no longer holds the entry")
