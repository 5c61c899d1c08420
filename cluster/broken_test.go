//go:build broken

package cluster

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/broken"
)

func TestWithoutBarriersAReaderIsStale(t *testing.T) {
	t.Setenv("QUORUMAIL_BROKEN", string(broken.BarrierNone))
	l := newLab(t, 3)
	old, others := l.leader(), l.followers()
	l.isolate(old)
	l.until("another one leads", func() bool { return others[0].IsLeader() || others[1].IsLeader() })
	if err := others[0].Propose(inTime(t), []byte("later")); err != nil {
		t.Fatal(err)
	}
	if err := old.ReadBarrier(brief(t)); err != nil {
		t.Errorf("a barrier at the one that is cut off: %v", err)
	}
	if slices.Contains(old.machine.list(), "later") {
		t.Error("it shows what it cannot know")
	}
}

// A leader of which both others know that its term is over, as after a pause, answers all the same.
func TestLeaderAloneAnswersBarriers(t *testing.T) {
	l := newSteadyLab(t, 3)
	lead, others := l.leader(), l.followers()
	says(lead, 1, others...)
	if _, err := lead.handleBarrier(inTime(t), "", nil); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("whole: %v", err)
	}
	t.Setenv("QUORUMAIL_BROKEN", string(broken.BarrierAlone))
	if _, err := lead.handleBarrier(inTime(t), "", nil); err != nil {
		t.Errorf("broken: %v", err)
	}
}

func TestLogThatDoesNotFitIsDropped(t *testing.T) {
	t.Setenv("QUORUMAIL_BROKEN", string(broken.LogDropped))
	for name, tc := range map[string]struct {
		first, last uint64
		pos         *notes
	}{
		"begins too late":       {7, 20, at(5, 2)},
		"ends before the state": {1, 20, at(21, 2)},
		"none":                  {0, 0, at(21, 2)},
		"another term":          {1, 20, at(10, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHalf(t, vfs.NewCrashableMem(), tc.pos)
			if tc.last > 0 {
				h.fill(t, tc.first, tc.last, 2)
			}
			if err := h.checkLog(); err != nil {
				t.Fatal(err)
			}
			if got := h.bounds(t); got != [2]uint64{} {
				t.Errorf("the log is %v, want none", got)
			}
		})
	}
}
