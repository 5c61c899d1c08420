package checker

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

func TestResend(t *testing.T) {
	box := "u1@example.test/INBOX"
	sent := func(outcome history.Outcome, queueID string, at time.Duration) history.Op {
		return history.Op{Kind: history.Deliver, Node: "n1", ID: "a", Box: box, Outcome: outcome, Value: queueID, Attempt: 1 + int(at/sec), Invoke: at, Return: at + sec}
	}
	shows := func(ids ...string) history.Op {
		m := &history.Mailbox{Final: true}
		for i, id := range ids {
			m.Messages = append(m.Messages, history.Message{UID: uint32(i + 1), ID: id})
		}
		return history.Op{Kind: history.Read, Node: "n2", Box: box, Outcome: history.OK, Mailbox: m}
	}
	came := func(queueID string) history.Op {
		o := sink("a", 3*sec, 4*sec)
		o.Value = queueID
		return o
	}
	for _, c := range []struct {
		name    string
		ops     []history.Op
		verdict Verdict
		kind    string
	}{
		{"unknown, sent again, there once", []history.Op{sent(history.Unknown, "", 0), sent(history.OK, "q1", 2*sec), shows("a", "b")}, Passed, ""},
		{"unknown, sent again, there twice", []history.Op{sent(history.Unknown, "", 0), sent(history.OK, "q1", 2*sec), shows("a", "b", "a")}, Failed, "duplicated"},
		{"unknown twice, there twice", []history.Op{sent(history.Unknown, "", 0), sent(history.Unknown, "", 2*sec), shows("a", "a")}, Failed, "duplicated"},
		{"taken twice under one queue id", []history.Op{sent(history.OK, "q1", 0), sent(history.OK, "q1", 2*sec), shows("a")}, Passed, ""},
		{"taken twice under two queue ids", []history.Op{sent(history.OK, "q1", 0), sent(history.OK, "q2", 2*sec), shows("a")}, Failed, "other queue id"},
		{"to another site under another queue id", []history.Op{sent(history.OK, "q1", 0), came("q2"), shows("a")}, Failed, "other queue id"},
		{"to another site under that of a later attempt", []history.Op{sent(history.OK, "q1", 0), sent(history.OK, "q1", sec), came("q2"), shows("a")}, Passed, ""},
		{"to another site twice, once under another", []history.Op{sent(history.OK, "q1", 0), sent(history.OK, "q1", sec), came("q1"), came("q2")}, Failed, "other queue id"},
		{"to another site without one", []history.Op{sent(history.OK, "q1", 0), came("")}, Failed, "other queue id"},
		{"to another site under the same", []history.Op{sent(history.OK, "q1", 0), sent(history.Unknown, "", sec), came("q1"), came("q1")}, Passed, ""},
		{"refused, and sent again", []history.Op{sent(history.Fail, "", 0), sent(history.OK, "q1", sec), shows("a")}, Passed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := Resend(&history.History{Ops: c.ops}); r.Verdict != c.verdict || c.kind != "" && r.Counts[c.kind] != 1 {
				t.Errorf("got %+v", r)
			}
		})
	}
}
