package checker

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

func change(outcome history.Outcome, value string, from, to time.Duration) history.Op {
	return history.Op{Kind: history.Password, Box: "u@example.test", Node: "n1", Value: value, Outcome: outcome, Invoke: from, Return: to}
}

func login(outcome history.Outcome, err, value string, from, to time.Duration) history.Op {
	return history.Op{Kind: history.Login, Box: "u@example.test/INBOX", Node: "n2", Value: value, Outcome: outcome, Error: err, Invoke: from, Return: to}
}

func TestAccounts(t *testing.T) {
	const auth = "auth: wrong password"
	ok, fail, unknown := history.OK, history.Fail, history.Unknown
	for _, c := range []struct {
		name string
		ops  []history.Op
		kind string
	}{
		{"the first password fails after a change", []history.Op{change(ok, "b", 1, 2), login(fail, auth, "a", 3, 4)}, ""},
		{"the first password works after a change", []history.Op{change(ok, "b", 1, 2), login(ok, "", "a", 3, 4)}, "old password works"},
		{"the first password works during a change", []history.Op{change(ok, "b", 1, 5), login(ok, "", "a", 3, 4)}, ""},
		{"the first password works after a refused change", []history.Op{change(fail, "b", 1, 2), change(ok, "c", 9, 10), login(ok, "", "a", 3, 4)}, ""},
		{"the first password works after an unknown change", []history.Op{change(unknown, "b", 1, 2), login(ok, "", "a", 3, 4)}, ""},
		{"the first password fails after an unknown change", []history.Op{change(unknown, "b", 1, 2), login(fail, auth, "a", 3, 4)}, ""},
		{"the new password works", []history.Op{change(ok, "b", 1, 2), login(ok, "", "b", 3, 4)}, ""},
		{"the new password is refused", []history.Op{change(ok, "b", 1, 2), login(fail, auth, "b", 3, 4)}, "new password refused"},
		{"the new password is refused during the change", []history.Op{change(ok, "b", 1, 4), login(fail, auth, "b", 3, 5)}, ""},
		{"the new password is refused for another reason", []history.Op{change(ok, "b", 1, 2), login(fail, "unavailable", "b", 3, 4)}, ""},
		{"the new password is refused while it is changed again", []history.Op{change(ok, "b", 1, 2), change(ok, "c", 3, 9), login(fail, auth, "b", 4, 5)}, ""},
		{"the new password is refused after an unknown change to another", []history.Op{change(unknown, "c", 0, 1), change(ok, "b", 2, 3), login(fail, auth, "b", 4, 5)}, ""},
		{"an older password works after two changes", []history.Op{change(ok, "b", 1, 2), change(ok, "c", 3, 4), login(ok, "", "b", 5, 6)}, "old password works"},
		{"an older password was set again", []history.Op{change(ok, "b", 1, 2), change(ok, "c", 3, 4), change(ok, "b", 5, 6), login(ok, "", "b", 7, 8)}, ""},
		{"an older password may have been set again", []history.Op{change(ok, "c", 3, 4), change(unknown, "b", 5, 6), login(ok, "", "b", 7, 8)}, ""},
		{"of two concurrent changes either may be the last", []history.Op{change(ok, "b", 1, 4), change(ok, "c", 2, 3), login(ok, "", "b", 5, 6), login(ok, "", "c", 5, 6)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Accounts(&history.History{Ops: c.ops})
			if c.kind == "" && r.Verdict != Passed || c.kind != "" && (r.Verdict != Failed || len(r.Violations) != 1 || r.Violations[0].Kind != c.kind) {
				t.Errorf("got %+v", r)
			}
		})
	}
}
