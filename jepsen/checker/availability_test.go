package checker

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// everySecond is a history with a successful delivery at each full second, other than those in [from, to).
func everySecond(n int, from, to time.Duration) *history.History {
	h := &history.History{}
	for i := range n {
		end := time.Duration(i+1) * sec
		o := history.Op{Kind: history.Deliver, Box: "u@example.test", Process: i, Invoke: end - 100*time.Millisecond, Return: end, Outcome: history.OK}
		if end >= from && end < to {
			o.Outcome, o.Attempt = history.Unknown, 1
		}
		h.Ops = append(h.Ops, o)
	}
	return h
}

func TestAvailability(t *testing.T) {
	h := everySecond(60, 20*sec, 24*sec)
	h.Faults = []history.Fault{
		{Name: "kill leader", Start: 19500 * time.Millisecond, End: 21 * sec},
		{Name: "kill leader", Start: 40 * sec, End: 41 * sec},
		{Name: "pause", Start: 5 * sec, End: 6 * sec},
	}
	h.Ops[19].Attempt = 2 // at 20 s, tried again in vain
	gaps := Availability(h)
	want := []Gap{{Longest: 5 * sec, FailedOps: 1, NotRetried: 3}, {Longest: sec}, {Longest: sec}, {Longest: 5 * sec, FailedOps: 1, NotRetried: 3}}
	for i, g := range gaps {
		if g.Longest != want[i].Longest || g.FailedOps != want[i].FailedOps || g.NotRetried != want[i].NotRetried {
			t.Errorf("gap %d is %+v", i, g)
		}
	}
	qs := Quantiles(gaps)
	if len(qs) != 2 || qs[0].Fault != "kill leader" || qs[0].Faults != 2 || qs[0].Worst != 5*sec || qs[0].FailedOps != 1 || qs[1].Median != sec {
		t.Errorf("quantiles are %+v", qs)
	}
	if r := availability(h); r.Verdict != Passed || r.Figures["longest gap"] != 5*sec || r.Figures["worst gap, kill leader"] != 5*sec {
		t.Errorf("the result is %+v", r)
	}
}

// TestAvailabilityWithoutSuccess: a run in which nothing works is one gap, until the last write failed.
func TestAvailabilityWithoutSuccess(t *testing.T) {
	h := everySecond(30, 0, time.Hour)
	h.Faults = []history.Fault{{Name: "all killed", Start: 0, End: 30 * sec}}
	if gaps := Availability(h); gaps[0].Longest != 29100*time.Millisecond {
		t.Errorf("the gap is %s", gaps[0].Longest)
	}
}

// TestRetriedOperationHasNotFailed: what succeeds at the next node is no failed operation.
func TestRetriedOperationHasNotFailed(t *testing.T) {
	h := &history.History{Ops: []history.Op{
		{Kind: history.Deliver, Box: "u@example.test", ID: "a", Node: "n1", Attempt: 1, Outcome: history.Fail, Invoke: 0, Return: 1},
		{Kind: history.Deliver, Box: "u@example.test", ID: "a", Node: "n2", Attempt: 2, Outcome: history.OK, Invoke: 2, Return: 3},
		{Kind: history.Deliver, Box: "u@example.test", ID: "b", Node: "n1", Attempt: 1, Outcome: history.Fail, Invoke: 4, Return: 5},
		{Kind: history.Deliver, Box: "u@example.test", ID: "b", Node: "n2", Attempt: 2, Outcome: history.Fail, Invoke: 6, Return: 7},
	}}
	whole := Availability(h)[0]
	if whole.FailedOps != 1 || whole.NotRetried != 0 {
		t.Errorf("got %+v", whole)
	}
}
