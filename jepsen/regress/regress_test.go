package regress

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
)

func TestEntriesAreComplete(t *testing.T) {
	commit, seen := regexp.MustCompile(`^[0-9a-f]{7,40}$`), map[string]bool{}
	for _, e := range All() {
		if e.Name == "" || seen[e.Name] {
			t.Errorf("%+v: its name must be there, and be its own", e)
		}
		seen[e.Name] = true
		if len(e.What) < 40 || !commit.MatchString(e.Broken) || !commit.MatchString(e.Fixed) {
			t.Errorf("%s: it must say what was seen, and name the commits", e.Name)
		}
		if !slices.ContainsFunc(e.Args, func(a string) bool { return strings.HasPrefix(a, "--seed=") }) {
			t.Errorf("%s: it has no seed", e.Name)
		}
		if got, err := ByName(e.Name); err != nil || got.Fixed != e.Fixed {
			t.Errorf("%s: found %+v, %v", e.Name, got, err)
		}
	}
	if _, err := ByName("no such bug"); err == nil {
		t.Error("found what is not there")
	}
}

func TestJudgeHoldsTheLimits(t *testing.T) {
	results := []checker.Result{
		{Checker: "availability", Figures: map[string]time.Duration{"longest gap": 2 * time.Second, "median gap, rolling restart": 450 * time.Millisecond}},
		{Checker: "logs", Counts: map[string]int{"ended": 2}},
	}
	for _, c := range []struct {
		name string
		e    Entry
		want int
	}{
		{"no limits", Entry{}, 0},
		{"kept", Entry{MedianGap: 500 * time.Millisecond}, 0},
		{"too long", Entry{MedianGap: 400 * time.Millisecond}, 1},
		{"ended", Entry{NoEnds: true}, 1},
		{"both", Entry{MedianGap: time.Millisecond, NoEnds: true}, 2},
	} {
		if got := c.e.Judge(results); len(got) != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
