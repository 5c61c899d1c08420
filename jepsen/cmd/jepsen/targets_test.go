package main

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
	"github.com/quorumail/quorumail/jepsen/nemesis"
)

func TestTargetsAreOfFaultsThatExist(t *testing.T) {
	for name := range targets {
		if _, err := nemesis.Parse(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAimTellsWhatWasMissed(t *testing.T) {
	for want, s := range map[string]checker.Spread{
		"":           {Fault: "jitter", Worst: time.Hour},
		"1s, 2s":     {Fault: "kill leader", Median: time.Second, Worst: 2 * time.Second},
		"1s, 2s *":   {Fault: "kill leader", Median: 1001 * time.Millisecond, Worst: 2 * time.Second},
		"200ms":      {Fault: "rolling restart", Median: 150 * time.Millisecond, Worst: 200 * time.Millisecond},
		"200ms *":    {Fault: "rolling restart", Median: 150 * time.Millisecond, Worst: 201 * time.Millisecond},
		"1.5s, 3s *": {Fault: "pause leader", Median: time.Second, Worst: 4 * time.Second},
		"4.5s, 6s":   {Fault: "leader's log hangs", Median: 4 * time.Second, Worst: 5 * time.Second},
		"10s":        {Fault: "power loss of all", Median: 9 * time.Second, Worst: 10 * time.Second},
		"4.5s, 6s *": {Fault: "leader's disk hangs", Median: 4 * time.Second, Worst: 7 * time.Second},
	} {
		if got := aim(s); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}
