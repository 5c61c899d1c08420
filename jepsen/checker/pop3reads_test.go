package checker

import (
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// TestReadsByPOP3 tell no UIDs: they count for deliveries and deletions, and nobody calls their UIDNEXT of 0 a fall.
func TestReadsByPOP3(t *testing.T) {
	box := "u@example.test/INBOX"
	read := func(node string, final bool, ids ...string) history.Op {
		m := &history.Mailbox{Final: final}
		for _, id := range ids {
			m.Messages = append(m.Messages, history.Message{ID: id})
		}
		return history.Op{Kind: history.Read, Node: node, Box: box, Outcome: history.OK, Invoke: 10, Return: 11, Mailbox: m}
	}
	h := &history.History{Ops: []history.Op{
		{Kind: history.Deliver, Box: box, ID: "a", Outcome: history.OK, Return: 1},
		{Kind: history.Deliver, Box: box, ID: "b", Outcome: history.OK, Return: 1},
		{Kind: history.Delete, Box: box, ID: "a", Session: 1, Outcome: history.OK, Invoke: 2, Return: 3},
		{Kind: history.Quit, Box: box, Session: 1, Outcome: history.OK, Invoke: 4, Return: 5},
		{Kind: history.Read, Box: box, Node: "n1", Outcome: history.OK, Invoke: 6, Return: 7,
			Mailbox: &history.Mailbox{UIDValidity: 1, UIDNext: 3, Messages: []history.Message{{UID: 2, ID: "b"}}}},
		read("n1", true, "b"),
	}}
	for _, r := range All(h, Options{}) {
		if r.Verdict == Failed || r.Checker == "deliver" && r.Verdict != Passed || r.Checker == "pop3" && r.Verdict != Passed {
			t.Errorf("%s: %s %s %v", r.Checker, r.Verdict, r.Why, r.Violations)
		}
	}
	h.Ops = append(h.Ops, read("n2", true, "a", "b"), read("n3", true))
	if r := Deliver(h); r.Counts["lost"] != 1 || r.Counts["undone"] != 1 {
		t.Errorf("deliver: %+v", r)
	}
	if r := POP3(h); r.Counts["deleted, yet there"] != 1 {
		t.Errorf("pop3: %+v", r)
	}
}
