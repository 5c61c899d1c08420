package checker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

func TestEmptyHistoryHasNothing(t *testing.T) {
	for _, r := range All(&history.History{}, Options{}) {
		if r.Verdict != Nothing {
			t.Errorf("%s says %s of an empty history", r.Checker, r.Verdict)
		}
	}
}

// TestNoFinalReadIsUnsure leaves out the final reads of one mailbox, at one node or at all.
func TestNoFinalReadIsUnsure(t *testing.T) {
	for _, node := range []string{"n2", ""} {
		h := simulate(3, time.Second, 0.01)
		h.Ops = slices.DeleteFunc(h.Ops, func(o history.Op) bool {
			return o.Kind == history.Read && o.Mailbox != nil && o.Mailbox.Final && o.Box == "u1@example.test/INBOX" && (node == "" || o.Node == node)
		})
		if r := Deliver(h); r.Verdict != Unsure || !strings.Contains(r.Why, "u1@example.test/INBOX") {
			t.Errorf("without the reads at %q: %+v", node, r)
		}
	}
}

// TestOutOfTimeIsUnsure: a checker that could not finish never says that all is well.
func TestOutOfTimeIsUnsure(t *testing.T) {
	h := simulate(4, time.Second, 0.01)
	if r := Linearizable(h, Options{Porcupine: 1}); r.Verdict != Unsure || r.Counts["boxes out of time"] == 0 {
		t.Errorf("got %+v", r)
	}
}

// TestTooManyUnknownIsNotChecked: changes of unknown outcome to a flag that others set and take away stay open.
func TestTooManyUnknownIsNotChecked(t *testing.T) {
	h := &history.History{}
	box, now := "u@example.test/INBOX", time.Duration(0)
	add := func(o history.Op) {
		o.Box, o.Node, o.Invoke, o.Return = box, "n1", now, now+1
		if o.Outcome == "" {
			o.Outcome = history.OK
		}
		now += 2
		h.Ops = append(h.Ops, o)
	}
	add(history.Op{Kind: history.Append, ID: "m", UID: 1})
	for i := range 10 {
		add(history.Op{Kind: history.Store, UID: 1, Flag: `\seen`, Add: i%2 == 0, Outcome: history.Unknown})
	}
	for _, flags := range [][]string{nil, {`\seen`}, nil} {
		add(history.Op{Kind: history.Read, Mailbox: &history.Mailbox{UIDValidity: 1, UIDNext: 2, Messages: []history.Message{{UID: 1, ID: "m", Flags: flags}}}})
	}
	r := Linearizable(h, Options{})
	if r.Counts["boxes not checked: too many unknown"] != 1 || r.Counts["boxes checked"] != 0 || r.Verdict != Unsure {
		t.Errorf("got %+v", r)
	}
}

// TestViolationsAreLimited: the first hundred of a kind are listed, all are counted.
func TestViolationsAreLimited(t *testing.T) {
	h := &history.History{}
	box := &history.Mailbox{UIDValidity: 1, UIDNext: 1, Final: true}
	for i := range 250 {
		h.Ops = append(h.Ops, history.Op{Kind: history.Deliver, Box: "u@example.test/INBOX", ID: fmt.Sprint("m", i), Outcome: history.OK, Return: 1})
	}
	h.Ops = append(h.Ops, history.Op{Kind: history.Read, Box: "u@example.test/INBOX", Node: "n1", Outcome: history.OK, Invoke: 2, Return: 3, Mailbox: box})
	if r := Deliver(h); len(r.Violations) != 100 || r.Counts["lost"] != 250 {
		t.Errorf("%d violations, counts %v", len(r.Violations), r.Counts)
	}
}
