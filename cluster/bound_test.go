package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/transport"
)

// B5: a voter's disk dies, and before it is removed a new node is started at its address: its word is not the voter's.
func TestB5StrangerAtAVotersAddressDoesNotCount(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, others := l.leader(), l.followers()
	lost, alive := others[0], others[1]
	l.stop(lost)
	d := &member{machine: &notes{}, id: "stranger", dir: t.TempDir(), addr: lost.addr}
	l.start(d)
	t.Cleanup(func() {
		if d.Node != nil {
			d.Close()
		}
	})
	l.until("the connections that the voter left behind are used up, and the stranger is told apart", func() bool {
		var vote raft.RequestVoteResponse
		err := lead.trans.RequestVote(raft.ServerID(lost.id), raft.ServerAddress(lost.addr), &raft.RequestVoteRequest{}, &vote)
		return err != nil && strings.Contains(err.Error(), "node stranger answers where "+string(lost.id)+" was expected")
	})
	// Who does not check that by itself is turned away.
	if c, err := lead.cfg.Port.Dial(inTime(t), transport.ProtoRaft, "", d.addr); err == nil {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("Raft's messages to nobody in particular are taken: %v", err)
		}
		c.Close()
	}
	if err := lead.Propose(inTime(t), []byte("with two of three voters")); err != nil {
		t.Fatal(err)
	}
	l.stop(alive)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second) // several elections; a vote of the stranger would decide them
	defer cancel()
	if err := lead.Propose(ctx, []byte("with one voter and a stranger")); err == nil {
		t.Error("one of three voters acknowledged")
	}
	if got := d.machine.list(); len(got) > 0 {
		t.Errorf("the stranger was sent %q", got)
	}
	// The voter comes back with its disk: that is a majority.
	l.stop(d)
	l.start(lost)
	if err := lost.Propose(inTime(t), []byte("with two of three again")); err != nil {
		t.Error(err)
	}
}

func TestMessageOfRaftIsBound(t *testing.T) {
	id, addr, err := splitBound(bindAddress("0123456789abcdef", "[::1]:25"))
	if err != nil || id != "0123456789abcdef" || addr != "[::1]:25" {
		t.Errorf("split to %q and %q: %v", id, addr, err)
	}
	for _, to := range []raft.ServerAddress{"127.0.0.1:25", "@127.0.0.1:25", ""} {
		if _, _, err := splitBound(to); err == nil {
			t.Errorf("%q names nobody", to)
		}
	}
}
