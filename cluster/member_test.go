package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// add starts a node and makes it a member that does not vote.
func (l *lab) add(id ServerID) *member {
	l.t.Helper()
	m := &member{machine: &notes{}, id: id, dir: l.t.TempDir(), addr: freeAddress(l.t)}
	l.start(m)
	l.members = append(l.members, m)
	if err := l.leader().AddNonvoter(inTime(l.t), m.id, m.addr); err != nil {
		l.t.Fatal(err)
	}
	return m
}

// B4: a change of the membership is made only to the configuration that was looked at.
func TestB4ChangeIsRefusedIfAnotherCameBetween(t *testing.T) {
	l := newSteadyLab(t, 2)
	lead := l.leader()
	before := lead.Configuration()
	if before.Index == 0 {
		t.Fatal("the configuration has no index")
	}
	x := l.add("x")
	l.until("the change is applied", func() bool { return lead.Configuration().Index > before.Index })
	if err := lead.AddVoter(inTime(t), x.id, x.addr, before.Index); err == nil {
		t.Error("a promotion by an old look was made")
	}
	if err := lead.RemoveServer(inTime(t), x.id, before.Index); err == nil {
		t.Error("a removal by an old look was made")
	}
	if err := lead.RemoveServer(inTime(t), x.id, 0); err == nil {
		t.Error("a removal without a look was made")
	}
	if got := voters(lead.Configuration()); len(got) != 2 {
		t.Fatalf("voters %v", got)
	}
	l.until("it has caught up", func() bool { return lead.CaughtUp(inTime(t), x.id) == nil })
	if err := lead.AddVoter(inTime(t), x.id, x.addr, lead.Configuration().Index); err != nil {
		t.Fatal(err)
	}
	// The same index on every node, once it is applied there: what Apply judges by.
	for _, m := range l.members {
		l.until("every node knows the configuration", func() bool {
			c := m.Configuration()
			return c.Index == lead.Configuration().Index && len(voters(c)) == 3
		})
	}
	if err := lead.RemoveServer(inTime(t), x.id, lead.Configuration().Index); err != nil {
		t.Fatal(err)
	}
	if got := lead.Configuration().Servers; len(got) != 2 {
		t.Errorf("after the removal: %v", got)
	}
}

// B4: who fell behind again, or does not answer, has not caught up, whatever was seen before.
func TestB4CaughtUpMeansForSomeTime(t *testing.T) {
	l := newSteadyLab(t, 1)
	lead := l.leader()
	x := l.add("x")
	if err := lead.CaughtUp(inTime(t), x.id); err == nil {
		t.Error("one look is enough")
	}
	l.until("it has caught up", func() bool { return lead.CaughtUp(inTime(t), x.id) == nil })
	x.Handle("applied", func(context.Context, ServerID, []byte) ([]byte, error) { return nil, errors.New("no") })
	if err := lead.CaughtUp(inTime(t), x.id); err == nil {
		t.Error("a member that does not answer counts")
	}
	x.Handle("applied", x.handleApplied)
	if err := lead.CaughtUp(inTime(t), x.id); err == nil || !strings.Contains(err.Error(), "just now") {
		t.Errorf("its time does not begin anew: %v", err)
	}
	x.Handle("applied", func(context.Context, ServerID, []byte) ([]byte, error) { return make([]byte, 8), nil })
	for range 2 * caughtUpEntries {
		if err := lead.Propose(inTime(t), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := lead.CaughtUp(inTime(t), x.id); err == nil || !strings.Contains(err.Error(), "applied 0 entries") {
		t.Errorf("it is behind: %v", err)
	}
}

// B5: a node that was removed is not listened to any more, and hears why.
func TestB5RemovedNodeIsRefused(t *testing.T) {
	l := newSteadyLab(t, 2)
	lead := l.leader()
	x := l.add("x")
	if err := x.Propose(inTime(t), []byte("while it belongs to us")); err != nil {
		t.Fatal(err)
	}
	l.removed.Store(x.id)
	if err := lead.RemoveServer(inTime(t), x.id, lead.Configuration().Index); err != nil {
		t.Fatal(err)
	}
	l.until("its calls are refused", func() bool {
		_, err := x.Call(inTime(t), lead.id, "term", nil)
		return err != nil && strings.Contains(err.Error(), "x was removed")
	})
	if err := x.Propose(brief(t), []byte("afterwards")); err == nil {
		t.Error("it proposed")
	}
	if _, err := x.OpenStream(brief(t), lead.id, "checkpoint"); err == nil {
		// The connection may be there for a moment; nothing comes on it.
		c, err := x.OpenStream(brief(t), lead.id, "checkpoint")
		if err == nil {
			defer c.Close()
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("it was given the state")
			}
		}
	}
	if err := lead.AddNonvoter(brief(t), x.id, x.addr); err == nil {
		t.Error("it was added again")
	}
}

func TestAddingAMemberTwiceIsNoError(t *testing.T) {
	l := newSteadyLab(t, 1)
	x := l.add("x")
	lead := l.leader()
	index := lead.Configuration().Index
	if err := lead.AddNonvoter(inTime(t), x.id, x.addr); err != nil || lead.Configuration().Index != index {
		t.Errorf("the second time: %v, configuration %d after %d", err, lead.Configuration().Index, index)
	}
	if err := lead.AddNonvoter(brief(t), "y", x.addr); err == nil || !strings.Contains(err.Error(), "remove that one first") {
		t.Errorf("another node at a member's address: %v", err)
	}
}

func TestMemberMoves(t *testing.T) {
	l := newLab(t, 3)
	m := l.followers()[0]
	l.stop(m)
	m.addr = freeAddress(t)
	l.start(m)
	// The others cannot reach it, and are a majority without it.
	l.until("its address is noted", func() bool {
		for _, x := range l.members {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := x.Readdress(ctx, Server{ID: m.id, Voter: true}, m.addr, x.Configuration().Index)
			cancel()
			if err == nil {
				return true
			}
		}
		return false
	})
	if err := m.Propose(inTime(t), []byte("from elsewhere")); err != nil {
		t.Error(err)
	}
}
