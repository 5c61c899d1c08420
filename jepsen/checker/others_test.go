package checker

import (
	"fmt"
	"testing"
	"time"

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

// TestMailOfEarlierRuns costs no time: a mailbox full of it, as a second run on the same cluster finds it, is judged as an empty one is.
func TestMailOfEarlierRuns(t *testing.T) {
	const earlier, clients = 200, 6
	box := "u@example.test/INBOX"
	var there []history.Message
	for i := range earlier {
		there = append(there, history.Message{UID: uint32(i + 1)})
	}
	h := &history.History{}
	for round := range 40 {
		begin := time.Duration(round+1) * sec
		for c := range clients { // deliveries by all clients at once, whose order only the read after them tells
			id := fmt.Sprintf("m%d-%d", round, c)
			there = append(there, history.Message{UID: uint32(len(there) + 1), ID: id})
			h.Ops = append(h.Ops, history.Op{Kind: history.Deliver, Process: c, Node: "n1", Box: box, ID: id, Outcome: history.OK, Invoke: begin, Return: begin + sec/2})
		}
		h.Ops = append(h.Ops, history.Op{Kind: history.Read, Process: clients, Node: "n1", Box: box, Outcome: history.OK, Invoke: begin + sec/4, Return: begin + sec*3/4,
			Mailbox: &history.Mailbox{UIDValidity: 1, UIDNext: uint32(len(there) + 1), Final: round == 39, Messages: there[:len(there):len(there)]}})
	}
	if r := Linearizable(h, Options{Porcupine: 20 * time.Second}); r.Verdict != Passed || r.Counts["boxes checked"] != 1 {
		t.Errorf("%s: %s %v", r.Verdict, r.Why, r.Counts)
	}
	missing := h.Ops[len(h.Ops)-1].Mailbox
	missing.Messages = missing.Messages[1:]
	h.Ops = append(h.Ops, h.Ops[len(h.Ops)-1])
	last := &h.Ops[len(h.Ops)-1]
	last.Invoke, last.Return = 50*sec, 51*sec
	last.Mailbox = &history.Mailbox{UIDValidity: 1, UIDNext: missing.UIDNext, Final: true, Messages: there}
	if r := Linearizable(h, Options{Porcupine: 20 * time.Second}); r.Verdict != Failed {
		t.Errorf("a message of an earlier run is away and comes back, and the verdict is %s %s", r.Verdict, r.Why)
	}
}

// TestMailOfOthersThatComesMeanwhile, such as notices do: nobody knows when, but for what reads show and for the order of the UIDs.
func TestMailOfOthersThatComesMeanwhile(t *testing.T) {
	const rounds, clients = 12, 20
	box := "u@example.test/INBOX"
	var there []history.Message
	h := &history.History{}
	for round := range rounds {
		begin := time.Duration(round+1) * sec
		for c := range clients {
			id := fmt.Sprintf("m%d-%d", round, c)
			there = append(there, history.Message{UID: uint32(len(there) + 1)}, history.Message{UID: uint32(len(there) + 2), ID: id})
			h.Ops = append(h.Ops, history.Op{Kind: history.Deliver, Process: c, Node: "n1", Box: box, ID: id, Outcome: history.OK, Invoke: begin, Return: begin + sec/2})
		}
		h.Ops = append(h.Ops, history.Op{Kind: history.Read, Process: clients, Node: "n1", Box: box, Outcome: history.OK, Invoke: begin + sec/4, Return: begin + sec*3/4,
			Mailbox: &history.Mailbox{UIDValidity: 1, UIDNext: uint32(len(there) + 1), Final: round == rounds-1, Messages: there[:len(there):len(there)]}})
	}
	if r := Linearizable(h, Options{Porcupine: 20 * time.Second}); r.Verdict != Passed || r.Counts["boxes checked"] != 1 {
		t.Errorf("%s: %s %v", r.Verdict, r.Why, r.Counts)
	}
	// A read in the middle shows a message, and not one before it.
	middle := h.Ops[(rounds/2)*(clients+1)+clients].Mailbox
	middle.Messages = append(append([]history.Message(nil), middle.Messages[:len(middle.Messages)-2]...), middle.Messages[len(middle.Messages)-1])
	if r := Linearizable(h, Options{Porcupine: 20 * time.Second}); r.Verdict != Failed {
		t.Errorf("a message came before one with a lower UID, and the verdict is %s %s", r.Verdict, r.Why)
	}
}
