package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/transport"
)

// boundTransport sends Raft's messages to a server id, not to whoever answers at its address: hashicorp/raft counts each answer as that of
// the server it meant, and another node there would acknowledge and vote in its place (B5). The id travels in front of the address, so
// Raft's pool of connections keeps them apart too. What Raft tells of addresses, such as the leader's, stays as it is.
//
// Besides, it can bring Raft a request of this node's own, between those of the others.
type boundTransport struct {
	*raft.NetworkTransport
	requests chan raft.RPC // what Raft consumes
}

func newBoundTransport(c *raft.NetworkTransportConfig, done <-chan struct{}) boundTransport {
	t := boundTransport{raft.NewNetworkTransportWithConfig(c), make(chan raft.RPC)}
	go t.pass(done)
	return t
}

// pass gives Raft the requests of the others.
func (t boundTransport) pass(done <-chan struct{}) {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.requests <- rpc:
			case <-done:
				return
			}
		case <-done:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t boundTransport) Consumer() <-chan raft.RPC { return t.requests }

// inject brings Raft a request and waits until it has dealt with it.
func (t boundTransport) inject(done <-chan struct{}, request any) {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.requests <- raft.RPC{Command: request, RespChan: answer}:
	case <-done:
		return
	}
	select {
	case <-answer:
	case <-done:
	}
}

const boundSeparator = "@"

func bindAddress(id raft.ServerID, to raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + boundSeparator + to
}

// splitBound returns an error for an address that names nobody: none is taken for whoever is there.
func splitBound(to raft.ServerAddress) (id, addr string, err error) {
	id, addr, ok := strings.Cut(string(to), boundSeparator)
	if !ok || id == "" {
		return "", "", errors.New("a message of Raft is bound to no server id")
	}
	return id, addr, nil
}

// AppendEntriesPipeline implements raft.Transport, as do the following.
func (t boundTransport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	return t.NetworkTransport.AppendEntriesPipeline(id, bindAddress(id, to))
}

// AppendEntries sends entries or a heartbeat.
func (t boundTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, res *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, bindAddress(id, to), req, res)
}

// RequestVote asks for a vote.
func (t boundTransport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, res *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, bindAddress(id, to), req, res)
}

// RequestPreVote asks whether a vote would be given.
func (t boundTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, res *raft.RequestPreVoteResponse) error {
	return t.NetworkTransport.RequestPreVote(id, bindAddress(id, to), req, res)
}

// InstallSnapshot sends the whole state.
func (t boundTransport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, res *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, bindAddress(id, to), req, res, data)
}

// TimeoutNow hands the lead over.
func (t boundTransport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, req *raft.TimeoutNowRequest, res *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, bindAddress(id, to), req, res)
}

// Dial connects to the server that the address is bound to.
func (l *streamLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, addr, err := splitBound(to)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.closed, timeout)
	defer cancel()
	return l.n.cfg.Port.Dial(ctx, transport.ProtoRaft, id, addr)
}
