package checker

import (
	"slices"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// TestLinearizableIsFastEnough: sixty mailboxes that sixteen clients change, with some unknown outcomes, correct and with one violation.
func TestLinearizableIsFastEnough(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	t.Logf("seed %d", seed)
	h := simulateMany(seed, 20*time.Second, 0.02, 16, 60)
	began := time.Now()
	r := Linearizable(h, Options{})
	t.Logf("%d operations in all, %s: %v in %s", len(h.Ops), r.Verdict, r.Counts, time.Since(began))
	if r.Verdict != Passed || r.Counts["boxes checked"] < wantedBoxes {
		t.Errorf("got %s %s %v", r.Verdict, r.Why, r.Violations)
	}
	p := newPlanter(h, seed)
	o := p.op(func(o *history.Op) bool {
		return o.Kind == history.Expunge && o.Outcome == history.OK &&
			slices.ContainsFunc(p.x.boxes[o.Box].reads, func(r reading) bool { return r.Invoke > o.Return })
	})
	read := p.readWhere(p.x.boxes[o.Box], func(r *history.Op) bool { return r.Invoke > o.Return })
	insert(read, history.Message{UID: o.UID, ID: p.x.boxes[o.Box].byUID[o.UID].id})
	began = time.Now()
	r = Linearizable(h, Options{})
	t.Logf("with a violation: %s in %s: %v", r.Verdict, time.Since(began), r.Violations)
	if r.Verdict != Failed || len(r.Violations) != 1 || r.Violations[0].Kind != "not linearizable" {
		t.Errorf("got %s %s %v", r.Verdict, r.Why, r.Violations)
	}
}
