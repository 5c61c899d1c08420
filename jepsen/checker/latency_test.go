package checker

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// write is a delivery that took so long and was acknowledged at a time.
func write(end, took time.Duration) history.Op {
	return history.Op{Kind: history.Deliver, Invoke: end - took, Return: end, Outcome: history.OK}
}

func TestLatencies(t *testing.T) {
	ms := time.Millisecond
	h := &history.History{Faults: []history.Fault{
		{Name: "wipe", Start: 10 * sec, End: 20 * sec}, {Name: "kill", Start: 30 * sec, End: 31 * sec}, {Name: "wipe", Start: 40 * sec, End: 50 * sec}}}
	for i := range 100 { // 10 ms each, one of 500 ms, in the quiet time before the first
		h.Ops = append(h.Ops, write(time.Duration(i+1)*90*ms, 10*ms))
	}
	h.Ops[50].Invoke = h.Ops[50].Return - 500*ms
	failed := write(15*sec, 9*sec)
	failed.Outcome = history.Unknown
	read := write(15*sec, 9*sec)
	read.Kind = history.Read
	h.Ops = append(h.Ops, failed, read,
		write(12*sec, 30*ms),     // in the first wipe
		write(10*sec+ms, 40*ms),  // began before it
		write(20*sec+ms, 50*ms),  // ended after it
		write(20500*ms, 7*sec/2), // ended after it, and long
		write(20900*ms, 80*ms),   // within the second after it: of no quiet time
		write(25*sec, 60*ms),     // in the quiet time before the kill
		write(30500*ms, 70*ms),   // in the kill
		write(35*sec, 20*ms),     // before the second wipe
		write(55*sec, 5*sec/10))  // after all
	got := Latencies(h)
	want := []Latency{
		{Fault: "kill", Before: Spans{1, 60 * ms, 60 * ms}, During: Spans{1, 70 * ms, 70 * ms}},
		{Fault: "wipe", Before: Spans{101, 10 * ms, 20 * ms}, During: Spans{4, 50 * ms, 3500 * ms}},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

// TestLatencyWithoutQuiet: where faults follow upon each other there is no quiet time, and nothing is made up.
func TestLatencyWithoutQuiet(t *testing.T) {
	h := &history.History{Faults: []history.Fault{{Name: "a", Start: 0, End: 10 * sec}, {Name: "b", Start: 10500 * time.Millisecond, End: 20 * sec}}}
	for i := range 30 {
		h.Ops = append(h.Ops, write(time.Duration(i+1)*sec, 100*time.Millisecond))
	}
	for _, l := range Latencies(h) {
		if l.Before.Writes != 0 || l.Before.P99 != 0 || l.During.Writes == 0 || l.During.P99 != 100*time.Millisecond {
			t.Errorf("got %+v", l)
		}
	}
	if all := Latencies(&history.History{Ops: h.Ops}); len(all) != 0 {
		t.Errorf("without faults: %+v", all)
	}
}
