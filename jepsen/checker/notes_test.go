package checker

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// A node may end by itself only after a fault that may end it, and before the next period of faults.
func TestNodesEndOnlyByFaults(t *testing.T) {
	full := history.Fault{Name: "disk full on one", Nodes: []string{"n1"}, Start: 10, End: 20, Ends: true}
	killed := history.Fault{Name: "kill one", Nodes: []string{"n2"}, Start: 12, End: 20}
	later := history.Fault{Name: "halves", Nodes: []string{"n1", "n2", "n3"}, Start: 30, End: 40}
	for name, c := range map[string]struct {
		node string
		at   time.Duration
		want Verdict
	}{
		"during the fault":       {"n1", 15, Passed},
		"as it is healed":        {"n1", 25, Passed},
		"before any fault":       {"n1", 5, Failed},
		"another node":           {"n3", 15, Failed},
		"a fault that ends none": {"n2", 15, Failed},
		"in the next period":     {"n1", 35, Failed},
	} {
		h := &history.History{Faults: []history.Fault{full, killed, later}, Notes: []history.Note{{Kind: "ended", Node: c.node, At: c.at, Text: "exit status 3"}}}
		if r := Logs(h); r.Verdict != c.want {
			t.Errorf("%s: %s %v, want %s", name, r.Verdict, r.Violations, c.want)
		}
	}
}

func TestWrongBodiesAreFound(t *testing.T) {
	h := &history.History{Ops: []history.Op{{Kind: history.Read, Outcome: history.OK, Mailbox: &history.Mailbox{Final: true}}}}
	if r := Bodies(h); r.Verdict != Passed {
		t.Errorf("all good: %+v", r)
	}
	h.Notes = []history.Note{{Kind: "corrupt", Node: "n2", Text: "uid 3"}}
	if r := Bodies(h); r.Verdict != Failed {
		t.Errorf("a wrong body: %+v", r)
	}
}

// A run whose faults were all left out, or failed, proves nothing.
func TestFaultsMustBeCaused(t *testing.T) {
	h := &history.History{Run: history.Run{Nemesis: []string{"halves"}}}
	if r := Recovery(h); r.Verdict != Unsure {
		t.Errorf("no fault: %+v", r)
	}
	h.Faults = []history.Fault{{Name: "halves", Error: "wait for a leader: context deadline exceeded"}}
	if r := Recovery(h); r.Verdict != Unsure {
		t.Errorf("a fault that failed: %+v", r)
	}
	h.Faults = append(h.Faults, history.Fault{Name: "halves"})
	if r := Recovery(h); r.Verdict != Passed {
		t.Errorf("one of two: %+v", r)
	}
}

// A run in which nothing was acknowledged cannot lose anything.
func TestNothingAcknowledgedIsNoProof(t *testing.T) {
	h := &history.History{Ops: []history.Op{{Kind: history.Deliver, Box: "u@example.test/INBOX", ID: "a", Outcome: history.Fail, Invoke: 1, Return: 2}}}
	if r := Deliver(h); r.Verdict != Unsure {
		t.Errorf("%+v", r)
	}
}
