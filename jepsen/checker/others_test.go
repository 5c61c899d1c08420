package checker

import (
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// TestMailOfOthers that clients take out and move is no hindrance, and no violation.
func TestMailOfOthers(t *testing.T) {
	box, dest := "u@example.test/INBOX", "u@example.test/Work"
	read := func(box string, from history.Op, final bool, next uint32, msgs ...history.Message) history.Op {
		from.Kind, from.Node, from.Box, from.Outcome = history.Read, "n1", box, history.OK
		from.Mailbox = &history.Mailbox{UIDValidity: 1, UIDNext: next, Final: final, Messages: msgs}
		return from
	}
	h := &history.History{Ops: []history.Op{
		read(box, history.Op{Invoke: 1, Return: 2}, false, 4, history.Message{UID: 2}, history.Message{UID: 3}),
		{Kind: history.Append, Box: box, ID: "a", UID: 4, Outcome: history.OK, Invoke: 3, Return: 4},
		{Kind: history.Expunge, Box: box, UID: 2, Outcome: history.OK, Invoke: 5, Return: 6},
		{Kind: history.Move, Box: box, UID: 3, Dest: dest, DestUID: 7, Outcome: history.OK, Invoke: 7, Return: 8},
		read(box, history.Op{Invoke: 9, Return: 10}, true, 5, history.Message{UID: 4, ID: "a"}),
		read(dest, history.Op{Invoke: 9, Return: 10}, true, 8, history.Message{UID: 7}),
	}}
	for _, r := range All(h, Options{}) {
		if r.Verdict == Failed || r.Verdict == Unsure {
			t.Errorf("%s: %s %s %v", r.Checker, r.Verdict, r.Why, r.Violations)
		}
	}
	if r := Linearizable(h, Options{}); r.Counts["boxes checked"] != 1 {
		t.Errorf("linearizable: %+v", r)
	}
	h.Ops[4].Mailbox.Messages = append([]history.Message{{UID: 3}}, h.Ops[4].Mailbox.Messages...)
	for _, r := range []Result{Linearizable(h, Options{}), IMAP(h)} {
		if r.Verdict != Failed {
			t.Errorf("a moved message stays, and %s says %s", r.Checker, r.Verdict)
		}
	}
}
