package main

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/nemesis"
)

// A second copy is excused by what may keep a node from noting the first, and not by what only name servers or sites suffer.
func TestWhichFaultsExcuseASecondCopy(t *testing.T) {
	copyAt := func(at time.Duration) history.Op {
		return history.Op{Kind: history.Sink, Node: "n1", ID: "a", Dest: "b@site1.test", Outcome: history.OK, Invoke: at, Return: at + time.Second}
	}
	accept := history.Op{Kind: history.Accept, Node: "n1", ID: "a", Dest: "b@site1.test", Outcome: history.OK, Return: time.Second}
	for _, f := range nemesis.All() {
		h := &history.History{Ops: []history.Op{accept, copyAt(10 * time.Second), copyAt(20 * time.Second)}, Notes: []history.Note{{Kind: "drained"}},
			Faults: []history.Fault{{Name: f.Name, Start: 11 * time.Second, End: 15 * time.Second}}}
		excused := f.Family != "dns" && f.Family != "sites" && f.Name != "slow disk" && f.Name != "slow clients"
		if r := checker.Queue(h); (r.Verdict == checker.Passed) != excused {
			t.Errorf("%s: %s, %v", f.Name, r.Verdict, r.Violations)
		}
	}
}
