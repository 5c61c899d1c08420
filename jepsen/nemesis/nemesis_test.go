package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/history"
)

func TestGroupsNameFaultsThatExist(t *testing.T) {
	for name := range sets {
		if _, err := Parse(name); err != nil {
			t.Errorf("group %s: %v", name, err)
		}
	}
	all, err := Parse("all")
	if err != nil || len(all) != len(All()) {
		t.Errorf("all: %d of %d, %v", len(all), len(All()), err)
	}
	for _, f := range All() {
		if f.Name == "" || f.Family == "" || f.Inject == nil || strings.Contains(f.Name, ",") {
			t.Errorf("%+v", f)
		}
	}
}

func TestParse(t *testing.T) {
	fs, err := Parse("pause, kill one ,pause leader")
	var got []string
	for _, f := range fs {
		got = append(got, f.Name)
	}
	if want := []string{"pause one", "pause leader", "kill one"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := Parse("nonsense"); err == nil || !strings.Contains(err.Error(), "kill leader") {
		t.Errorf("nonsense: %v, want what there is", err)
	}
}

func TestChooseMixesFamiliesAndLeavesHeavyOnesAlone(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	several, seen := 0, map[string]bool{}
	for range 5000 {
		got := choose(r, All(), 3)
		families := map[string]bool{}
		for _, f := range got {
			seen[f.Name] = true
			if families[f.Family] || f.Heavy && len(got) > 1 {
				t.Fatalf("chose %+v", got)
			}
			families[f.Family] = true
		}
		if len(got) > 1 {
			several++
		}
	}
	if several == 0 || len(seen) != len(All()) {
		t.Errorf("several at once: %d times; %d of %d faults chosen", several, len(seen), len(All()))
	}
}

// A fault that cannot be caused here is left out, and what was done is undone in the reverse order, also what was left half done.
func TestPeriodUndoesWhatItDid(t *testing.T) {
	var did []string
	fault := func(name string, err error) Fault {
		return Fault{Name: name, Family: name, Inject: func(context.Context, *Target) (Done, error) {
			return Done{Nodes: []string{"n1"}, Undo: func(context.Context) error { did = append(did, "undo "+name); return nil }}, err
		}}
	}
	h := history.NewRecorder(nil, history.Run{})
	target := &Target{Cluster: &db.Cluster{}, Rand: rand.New(rand.NewPCG(1, 1)), History: h, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	err := onePeriod(t.Context(), target, []Fault{fault("a", nil), fault("b", ErrNotHere), fault("c", nil)}, Schedule{Hold: time.Millisecond, Heal: time.Minute})
	if want := []string{"undo c", "undo b", "undo a"}; err != nil || !slices.Equal(did, want) {
		t.Errorf("did %q, %v, want %q", did, err, want)
	}
	if got := h.History().Faults; len(got) != 2 || got[0].Name != "a" || got[1].Name != "c" || got[0].End < got[0].Start {
		t.Errorf("recorded %+v", got)
	}
}

func TestPairsAreAllAndBeginWithEachFaultAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	faults := []Fault{{Name: "a", Family: "1"}, {Name: "b", Family: "1"}, {Name: "c", Family: "2"}, {Name: "d", Family: "3"}, {Name: "e", Family: "4", Heavy: true}}
	next := Schedule{Pairs: true}.order(r, faults)
	var got []string
	for range 5 + 5 + 1 {
		var names []string
		for _, f := range next() {
			names = append(names, f.Name)
		}
		got = append(got, strings.Join(names, ""))
	}
	paired := slices.Sorted(slices.Values(got[5:10]))
	if !slices.Equal(got[:5], []string{"a", "b", "c", "d", "e"}) || !slices.Equal(paired, []string{"ac", "ad", "bc", "bd", "cd"}) || got[10] != "a" {
		t.Errorf("got %q", got)
	}
}

// When a fault shows that something is lost, nothing else is caused, and the run ends with a note that the checkers judge.
func TestPeriodEndsWhenSomethingIsLost(t *testing.T) {
	undone := false
	loses := Fault{Name: "loses", Family: "a", Inject: func(context.Context, *Target) (Done, error) {
		return Done{Undo: func(context.Context) error { undone = true; return nil }}, fmt.Errorf("%w: n1 lacks 3 messages", ErrLost)
	}}
	next := Fault{Name: "next", Family: "b", Inject: func(context.Context, *Target) (Done, error) {
		t.Error("another fault was caused")
		return Done{}, nil
	}}
	h := history.NewRecorder(nil, history.Run{})
	target := &Target{Cluster: &db.Cluster{}, Rand: rand.New(rand.NewPCG(1, 1)), History: h, Logger: slog.New(slog.DiscardHandler)}
	err := onePeriod(t.Context(), target, []Fault{loses, next}, Schedule{Hold: time.Hour, Heal: time.Minute})
	got := h.History()
	if !errors.Is(err, ErrLost) || !undone || len(got.Faults) != 1 || len(got.Notes) != 1 || got.Notes[0].Kind != "unhealed" {
		t.Errorf("%v, undone %v, recorded %+v and %+v", err, undone, got.Faults, got.Notes)
	}
}

// Where no old program was named there is nothing to go back to.
func TestUpgradesNeedAnOldProgram(t *testing.T) {
	for _, f := range upgradeFaults() {
		if _, err := f.Inject(t.Context(), &Target{}); !errors.Is(err, ErrNotHere) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}
