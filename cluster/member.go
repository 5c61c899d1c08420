package cluster

import (
	"context"
	"encoding/binary"
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

// Leader is who leads, as far as this node knows; empty when nobody is known.
func (n *Node) Leader() ServerID {
	_, id := n.raft.LeaderWithID()
	return ServerID(id)
}

// Configuration is the membership that this node's Machine has applied, with the index of its entry: what Apply judges by, and what
// AddVoter and RemoveServer take as the one to change. Until the Machine has seen one, it is Raft's latest, with index 0.
func (n *Node) Configuration() Configuration {
	if c := n.cfg.Machine.Position().Configuration; c.Index > 0 {
		return c
	}
	return n.latest()
}

// latest is Raft's newest configuration, committed or not, which decides who is asked and how many are a majority. Raft does not tell
// its index.
func (n *Node) latest() Configuration {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return Configuration{}
	}
	return fromRaft(0, f.Configuration())
}

func (n *Node) addressOf(id ServerID) (string, bool) {
	for _, c := range []Configuration{n.latest(), n.cfg.Machine.Position().Configuration} {
		for _, s := range c.Servers {
			if s.ID == id {
				return s.Address, true
			}
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
	ID      ServerID `json:"id"`
	Address string   `json:"address"`
}

// configTimeout bounds one change of the membership.
const configTimeout = 5 * time.Second

// AddNonvoter makes a node a member that does not vote yet, by whoever leads, and tries until ctx ends. A member stays what it is.
func (n *Node) AddNonvoter(ctx context.Context, id ServerID, address string) error {
	raw, err := json.Marshal(memberRequest{id, address})
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	for {
		changed := n.leaderChanged()
		err := error(errNoLeader)
		if leader := n.Leader(); leader != "" {
			once, cancel := until(ctx, changed)
			_, err = n.Call(once, leader, "member", raw)
			cancel()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("add the member %s: %w: %w", id, ErrUnavailable, err)
		case <-n.ctx.Done():
			return fmt.Errorf("add the member %s: %w: %w", id, ErrUnavailable, errStopping)
		case <-changed:
		case <-time.After(4 * retryAfter):
		}
	}
}

func (n *Node) handleMember(ctx context.Context, _ ServerID, raw []byte) ([]byte, error) {
	var r memberRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if r.ID == "" || r.Address == "" {
		return nil, errors.New("a member needs an id and an address")
	}
	if err := n.admitted(string(r.ID)); err != nil {
		return nil, err
	}
	for _, s := range n.latest().Servers {
		if s.ID == r.ID {
			return nil, nil // a request that was sent again
		}
		if s.Address == r.Address {
			return nil, fmt.Errorf("the address %s is that of node %s: remove that one first, or give the new node its own", r.Address, s.ID)
		}
	}
	return nil, n.change(ctx, n.raft.AddNonvoter(raft.ServerID(r.ID), raft.ServerAddress(r.Address), 0, configTimeout))
}

// AddVoter lets a member vote, on the leader only, if the configuration is still that of prevIndex (Configuration.Index). One that votes
// already gets the address.
func (n *Node) AddVoter(ctx context.Context, id ServerID, address string, prevIndex uint64) error {
	if prevIndex == 0 {
		return errNoPrevIndex
	}
	if err := n.change(ctx, n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), prevIndex, configTimeout)); err != nil {
		return fmt.Errorf("let %s vote: %w", id, err)
	}
	return nil
}

// Readdress notes that a member is reached at another address, on the leader only, if the configuration is still that of prevIndex.
func (n *Node) Readdress(ctx context.Context, m Server, address string, prevIndex uint64) error {
	if m.Voter {
		return n.AddVoter(ctx, m.ID, address, prevIndex)
	}
	if prevIndex == 0 {
		return errNoPrevIndex
	}
	if err := n.change(ctx, n.raft.AddNonvoter(raft.ServerID(m.ID), raft.ServerAddress(address), prevIndex, configTimeout)); err != nil {
		return fmt.Errorf("note the address %s of %s: %w", address, m.ID, err)
	}
	return nil
}

// RemoveServer removes a member for ever, on the leader only, if the configuration is still that of prevIndex.
func (n *Node) RemoveServer(ctx context.Context, id ServerID, prevIndex uint64) error {
	if prevIndex == 0 {
		return errNoPrevIndex
	}
	if err := n.change(ctx, n.raft.RemoveServer(raft.ServerID(id), prevIndex, configTimeout)); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}

// errNoPrevIndex: with 0, Raft would change whatever configuration there is.
var errNoPrevIndex = errors.New("the configuration to change has no index yet: try again when it is applied here")

// change waits for a change of the membership, no longer than ctx: it may still happen afterwards.
func (n *Node) change(ctx context.Context, f raft.IndexFuture) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // ends with Raft's word, as in apply
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("change the membership: %w", ctx.Err())
	case <-n.ctx.Done():
		return errStopping
	}
}

// A member has caught up when it was seen to be this close to the leader again and again for this long (stabilisation): one good moment
// of a node that keeps falling behind or restarting gives it no vote.
const (
	caughtUpEntries = 64
	stabilisation   = time.Second
	maxSilence      = 5 * time.Second // between two looks; after a longer one it begins anew
)

// followed is how long a member has been close.
type followed struct {
	since, last time.Time
	term        uint64 // of the leader that saw it
}

// CaughtUp returns nil, on the leader, when a member has been close to it for long enough. Ask again and again: what counts are the
// looks in between. The error says how far it is.
func (n *Node) CaughtUp(ctx context.Context, id ServerID) error {
	err := n.isClose(ctx, id)
	now, term := time.Now(), n.raft.CurrentTerm()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		delete(n.follows, id)
		return err
	}
	f, seen := n.follows[id]
	if !seen || f.term != term || now.Sub(f.last) > maxSilence {
		f = followed{since: now, term: term}
	}
	f.last = now
	n.follows[id] = f
	if now.Sub(f.since) < stabilisation {
		return errors.New("it has caught up just now")
	}
	return nil
}

// isClose asks the member's own process: it is up, and its answer shows how far it is.
func (n *Node) isClose(ctx context.Context, id ServerID) error {
	commit := n.raft.CommitIndex()
	raw, err := n.Call(ctx, id, "applied", nil)
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	if len(raw) != 8 {
		return errors.New("its answer is no index")
	}
	if applied := binary.BigEndian.Uint64(raw); applied+caughtUpEntries < commit {
		return fmt.Errorf("it has applied %d entries of %d", applied, commit)
	}
	return nil
}

func (n *Node) handleApplied(context.Context, ServerID, []byte) ([]byte, error) {
	n.applied.mu.Lock()
	defer n.applied.mu.Unlock()
	return binary.BigEndian.AppendUint64(nil, n.applied.index), nil
}

// admitted tells why a node may not take part.
func (n *Node) admitted(id string) error { return n.cfg.Refuse(ServerID(id)) }

// serveJoin answers a node that shows no certificate but an invite's secret, which Config.Join checks.
func (n *Node) serveJoin(c transport.Conn) {
	defer c.Close()
	transport.ServeCalls(n.ctx, c, func(ctx context.Context, _, method string, req []byte) ([]byte, error) {
		if method != "join" || n.cfg.Join == nil {
			return nil, errors.New("nobody can join here")
		}
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return n.cfg.Join(ctx, c.RemoteAddr(), req)
	})
}

// Join asks a cluster, of which only an address and its authority's pin are known, to let this node in.
func Join(ctx context.Context, address string, pin [32]byte, req []byte) ([]byte, error) {
	caller := transport.NewCaller(ctx, func(ctx context.Context) (net.Conn, error) { return transport.DialJoin(ctx, address, pin) })
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
