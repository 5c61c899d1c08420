package cluster

import (
	"context"
	"errors"
	"testing"
	"time"
)

// What the program has to put right from the log after a crash, it does before anything is applied, and where it cannot, the node does not
// start.
func TestBeforeReadsTheLogAndIsAheadOfApply(t *testing.T) {
	l := newLab(t, 1)
	m := l.members[0]
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := m.Propose(ctx, []byte("first")); err != nil {
		t.Fatal(err)
	}
	index := m.machine.Position().Index
	l.stop(m)
	m.machine = &notes{} // as if its state had been lost since its last Persist
	m.before = func(n *Node) error {
		if cmd, err := n.Command(index); err != nil || string(cmd) != "first" {
			t.Errorf("the log says %q, %v", cmd, err)
		}
		if at := m.machine.Position().Index; at != 0 {
			t.Errorf("applied up to %d already", at)
		}
		return nil
	}
	l.start(m)
	if err := m.ReadBarrier(ctx); err != nil {
		t.Fatal(err)
	}
	if got := m.machine.list(); len(got) != 1 {
		t.Errorf("the node holds %q", got)
	}
	l.stop(m)
	refusal := errors.New("cannot be put right")
	m.before = func(*Node) error { return refusal }
	if _, err := l.open(m); !errors.Is(err, refusal) {
		t.Errorf("Open says %v", err)
	}
}
