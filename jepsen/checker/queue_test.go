package checker

import (
	"slices"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

const sec = time.Second

// accept and sink are operations on one message.
func accept(outcome history.Outcome, id string, from, to time.Duration) history.Op {
	return history.Op{Kind: history.Accept, Node: "n1", ID: id, Dest: "Someone@remote.test", Outcome: outcome, Invoke: from, Return: to}
}

func sink(id string, from, to time.Duration) history.Op {
	return history.Op{Kind: history.Sink, Node: "n2", ID: id, Dest: "someone@remote.test", Outcome: history.OK, Invoke: from, Return: to}
}

// mute is a copy that was kept, and not answered.
func mute(id string, from, to time.Duration) history.Op {
	o := sink(id, from, to)
	o.Outcome = history.Unknown
	return o
}

// told is a notice to the sender, as a node shows it in the end.
func told(id, node string, uid uint32) history.Op {
	return history.Op{Kind: history.Notice, Node: node, ID: id, Dest: "someone@remote.test", Box: "u1@example.test/INBOX", UID: uid, Outcome: history.OK}
}

// ended are the final reads of two nodes, and the note that nothing waits.
var (
	finalReads = []history.Op{{Kind: history.Read, Node: "n1", Outcome: history.OK, Mailbox: &history.Mailbox{Final: true}},
		{Kind: history.Read, Node: "n2", Outcome: history.OK, Mailbox: &history.Mailbox{Final: true}}}
	nothingWaits = []history.Note{{Kind: "drained"}}
)

func kill(from, to time.Duration) history.Fault {
	return history.Fault{Name: "kill leader", Start: from, End: to}
}

func TestQueue(t *testing.T) {
	other := []history.Op{accept(history.OK, "other", 0, 1), sink("other", 2, 3)}
	for _, c := range []struct {
		name    string
		ops     []history.Op
		faults  []history.Fault
		verdict Verdict
		kind    string
		excused int
	}{
		{"arrives once", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec)}, nil, Passed, "", 0},
		{"unknown, and arrives", []history.Op{accept(history.Unknown, "a", 0, sec), sink("a", 2*sec, 3*sec)}, nil, Passed, "", 0},
		{"unknown, and does not arrive", []history.Op{accept(history.Unknown, "a", 0, sec)}, nil, Passed, "", 0},
		{"arrives before the sender knows", []history.Op{accept(history.OK, "a", 0, 9*sec), sink("a", 2*sec, 3*sec)}, nil, Passed, "", 0},
		{"two attempts, one copy", []history.Op{accept(history.Unknown, "a", 0, sec), accept(history.OK, "a", sec, 2*sec), sink("a", 2*sec, 3*sec)}, nil, Passed, "", 0},
		{"two attempts, two copies", []history.Op{accept(history.Unknown, "a", 0, sec), accept(history.OK, "a", sec, 2*sec), sink("a", 2*sec, 3*sec), sink("a", 4*sec, 5*sec)}, nil, Failed, "duplicated", 0},
		{"was not answered, and comes again", []history.Op{accept(history.OK, "a", 0, sec), mute("a", 2*sec, 3*sec), sink("a", 4*sec, 5*sec)}, nil, Passed, "", 1},
		{"was not answered once, and comes twice more", []history.Op{accept(history.OK, "a", 0, sec), mute("a", 2*sec, 3*sec), sink("a", 4*sec, 5*sec), sink("a", 6*sec, 7*sec)}, nil, Failed, "duplicated", 1},
		{"was answered, and then not", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), mute("a", 4*sec, 5*sec)}, nil, Failed, "duplicated", 0},
		{"the sender is told", []history.Op{accept(history.OK, "a", 0, sec), told("a", "n1", 1), told("a", "n2", 1)}, nil, Passed, "", 0},
		{"the sender is told at one node only", []history.Op{accept(history.OK, "a", 0, sec), told("a", "n1", 1)}, nil, Failed, "lost", 0},
		{"the sender is told twice", []history.Op{accept(history.OK, "a", 0, sec), told("a", "n1", 1), told("a", "n1", 2), told("a", "n2", 1)}, nil, Failed, "told twice", 0},
		{"the notice is read twice", []history.Op{accept(history.OK, "a", 0, sec), told("a", "n1", 1), told("a", "n1", 1), told("a", "n2", 1)}, nil, Passed, "", 0},
		{"the sender is told, and it arrived", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), told("a", "n1", 1), told("a", "n2", 1)}, nil, Failed, "told wrong", 1},
		{"the sender is told of what was refused", []history.Op{accept(history.Fail, "a", 0, sec), told("a", "n1", 1)}, nil, Failed, "phantom", 0},
		{"twice, while the name servers failed", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 4*sec, 5*sec)},
			[]history.Fault{{Name: "name servers are silent", Start: 2 * sec, End: 9 * sec}}, Failed, "duplicated", 0},
		{"twice, and its owner was killed", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 14*sec, 15*sec)},
			[]history.Fault{{Name: "owner killed after a site's 250", Start: 2 * sec, End: 9 * sec}}, Passed, "", 1},
		{"does not arrive", []history.Op{accept(history.OK, "a", 0, sec)}, nil, Failed, "lost", 0},
		{"is refused by the remote server only", []history.Op{accept(history.OK, "a", 0, sec), {Kind: history.Sink, ID: "a", Dest: "someone@remote.test", Outcome: history.Fail}}, nil, Failed, "lost", 0},
		{"was refused, and arrives", []history.Op{accept(history.Fail, "a", 0, sec), sink("a", 2*sec, 3*sec)}, nil, Failed, "phantom", 0},
		{"nobody sent it", []history.Op{sink("a", 2*sec, 3*sec)}, nil, Failed, "phantom", 0},
		{"twice without a fault", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 4*sec, 5*sec)}, nil, Failed, "duplicated", 0},
		{"twice, with a fault in between", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 14*sec, 15*sec)},
			[]history.Fault{kill(4*sec, 9*sec)}, Passed, "", 1},
		{"twice, with the fault during the first", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 5*sec), sink("a", 14*sec, 15*sec)},
			[]history.Fault{kill(4*sec, 9*sec)}, Passed, "", 1},
		{"twice, with a fault that does not count", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 14*sec, 15*sec)},
			[]history.Fault{{Name: "slow disk", Start: 4 * sec, End: 9 * sec}}, Failed, "duplicated", 0},
		{"twice, but the first was not in flight any more", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 34*sec, 35*sec)},
			[]history.Fault{kill(20*sec, 25*sec)}, Failed, "duplicated", 0},
		{"twice, but before the fault", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 3*sec, 4*sec)},
			[]history.Fault{kill(5*sec, 9*sec)}, Failed, "duplicated", 0},
		{"three times for one fault", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 10*sec, 11*sec), sink("a", 12*sec, 13*sec)},
			[]history.Fault{kill(4*sec, 20*sec)}, Failed, "duplicated", 1},
		{"three times for one fault that comes again and again", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 10*sec, 11*sec), sink("a", 12*sec, 13*sec)},
			[]history.Fault{{Name: "kill again and again", Detail: "2 times", Start: 4 * sec, End: 20 * sec}}, Passed, "", 2},
		{"three times for a fault of two nodes at once", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 10*sec, 11*sec), sink("a", 12*sec, 13*sec)},
			[]history.Fault{{Name: "kill two", Nodes: []string{"n1", "n2"}, Start: 4 * sec, End: 20 * sec}}, Failed, "duplicated", 1},
		{"three times for two faults", []history.Op{accept(history.OK, "a", 0, sec), sink("a", 2*sec, 3*sec), sink("a", 10*sec, 11*sec), sink("a", 22*sec, 23*sec)},
			[]history.Fault{kill(4*sec, 6*sec), kill(12*sec, 20*sec)}, Passed, "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Queue(&history.History{Ops: slices.Concat(other, c.ops, finalReads), Faults: c.faults, Notes: nothingWaits})
			if r.Verdict != c.verdict || c.kind != "" && r.Counts[c.kind] != 1 || r.Counts["excused"] != c.excused {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestQueueWithoutSinkIsUnsure(t *testing.T) {
	if r := Queue(&history.History{Ops: []history.Op{accept(history.OK, "a", 0, sec)}}); r.Verdict != Unsure || r.Why == "" {
		t.Errorf("got %+v", r)
	}
}

func TestQueueThatNobodySawEmptyIsUnsure(t *testing.T) {
	ops := []history.Op{accept(history.OK, "a", 0, sec), accept(history.OK, "b", 0, sec), sink("b", 2*sec, 3*sec)}
	if r := Queue(&history.History{Ops: ops}); r.Verdict != Unsure || r.Counts["lost"] != 0 {
		t.Errorf("got %+v", r)
	}
	left := []history.Note{{Kind: "queued", Text: "a waits"}}
	if r := Queue(&history.History{Ops: ops, Notes: left}); r.Verdict != Failed || r.Counts["left"] != 1 {
		t.Errorf("with what is left: %+v", r)
	}
}
