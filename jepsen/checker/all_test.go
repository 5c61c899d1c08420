package checker

import (
	"testing"
	"time"
)

// TestNoFalseAlarms lets every checker look at correct histories of all kinds of clients.
func TestNoFalseAlarms(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	base := uint64(time.Now().UnixNano()) % 1_000_000
	t.Logf("seeds %d to %d", base, base+seeds-1)
	for seed := base; seed < base+seeds; seed++ {
		h := simulate(seed, 2*time.Second, float64(seed%8)/100)
		for _, r := range All(h, Options{}) {
			if r.Verdict != Passed {
				t.Errorf("seed %d: %s says %s %s %v", seed, r.Checker, r.Verdict, r.Why, r.Violations)
			}
		}
		if t.Failed() {
			return
		}
	}
}
