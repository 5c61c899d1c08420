package cluster

import (
	"encoding/binary"
	"sync"

	"github.com/hashicorp/raft"
)

// A follower of hashicorp/raft learns that an entry is committed with the leader's next message. While others write, that comes at once; a
// single client would wait for CommitTimeout with each command. But whoever proposes, or asks for a read barrier, hears it from the leader: what
// Raft is told here is then the empty AppendEntries that the leader might have sent at that moment (Raft paper, figure 2), with the entry
// itself as the previous one and as the leader's commit index. So Raft compares the entry's term with its own log, and nothing that the
// leader did not commit can be committed; and a message that comes late, or is outdated, is as harmless as any other of that leader.

// commitNews says that an entry is committed.
type commitNews struct {
	index     uint64
	entryTerm uint64 // the term of the entry itself
	term      uint64 // in which the leader led when it said so
	leader    ServerID
}

// commitNewsBytes is how long the news is in an answer of the leader.
const commitNewsBytes = 24

// encodeNews is empty when this node cannot say the entry's term: its log does not reach back so far. In term, it led; zero is the entry's own.
func (n *Node) encodeNews(index, term uint64) []byte {
	var e raft.Log
	if index == 0 || n.logs.GetLog(index, &e) != nil {
		return nil
	}
	if term == 0 {
		term = e.Term
	}
	b := binary.BigEndian.AppendUint64(nil, index)
	b = binary.BigEndian.AppendUint64(b, e.Term)
	return binary.BigEndian.AppendUint64(b, term)
}

// hearNews takes in what a leader said; older programs say nothing.
func (n *Node) hearNews(leader ServerID, b []byte) {
	if len(b) != commitNewsBytes {
		return
	}
	n.news.hear(commitNews{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), leader})
}

// newsDesk keeps the newest news until this node's log has the entry.
type newsDesk struct {
	wake chan struct{} // holds one: there are news, or the log has grown

	mu     sync.Mutex
	newest commitNews // guarded by mu
}

func (d *newsDesk) hear(c commitNews) {
	d.mu.Lock()
	if c.term < d.newest.term || c.term == d.newest.term && c.index <= d.newest.index {
		d.mu.Unlock()
		return
	}
	d.newest = c
	d.mu.Unlock()
	d.stir()
}

// stir makes followNews look again.
func (d *newsDesk) stir() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (d *newsDesk) get() commitNews {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// followNews passes news on to Raft, one at a time: while one waits for Raft's attention, newer ones replace each other.
func (n *Node) followNews() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.news.wake:
		}
		c := n.news.get()
		if c.index <= n.raft.CommitIndex() {
			continue
		}
		if last, err := n.log.LastIndex(); err != nil || last < c.index {
			continue // the entry is still on its way; the log says when it is written
		}
		if req := n.asLeaderWould(c); req != nil {
			n.trans.inject(n.ctx.Done(), req)
		}
	}
}

// asLeaderWould is the request that says it; nil when another node leads meanwhile.
func (n *Node) asLeaderWould(c commitNews) *raft.AppendEntriesRequest {
	address, id := n.raft.LeaderWithID()
	if ServerID(id) != c.leader || c.leader == n.cfg.ID {
		return nil
	}
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: n.trans.EncodePeer(id, address)},
		Term:      c.term, PrevLogEntry: c.index, PrevLogTerm: c.entryTerm, LeaderCommitIndex: c.index,
	}
}
