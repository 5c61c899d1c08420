package checker

import (
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Accounts judges Password and Login: as soon as a change is acknowledged, the older passwords fail on every node, and the new one is not
// refused. What is concurrent, or of unknown outcome, may count either way. A Login counts as refused for its password only if its Error
// begins with "auth:".
//
// Kinds of violations: "old password works", "new password refused".
func Accounts(h *history.History) Result {
	f := &findings{}
	changes := map[string][]*history.Op{} // by account, those that did not Fail
	var logins []*history.Op
	for i := range h.Ops {
		o := &h.Ops[i]
		switch {
		case o.Kind == history.Login:
			logins = append(logins, o)
		case o.Kind == history.Password && o.Outcome != history.Fail:
			changes[inbox(o.Box)] = append(changes[inbox(o.Box)], o)
		}
	}
	looked := 0
	for _, l := range logins {
		cs := changes[inbox(l.Box)]
		if len(cs) == 0 || l.Outcome == history.Unknown {
			continue
		}
		looked++
		if p := replaced(l, cs); l.Outcome == history.OK && p != nil {
			f.add("old password works", l.Return, "%s: login at %s at %s with %q, which a change at %s, acknowledged at %s, had replaced by %q",
				l.Box, l.Node, at(l.Invoke), l.Value, p.Node, at(p.Return), p.Value)
		}
		if p := current(l, cs); l.Outcome == history.Fail && strings.HasPrefix(l.Error, "auth:") && p != nil {
			f.add("new password refused", l.Return, "%s: login at %s at %s with %q was refused (%s), but a change at %s, acknowledged at %s, had set it",
				l.Box, l.Node, at(l.Invoke), l.Value, l.Error, p.Node, at(p.Return))
		}
	}
	return f.result("accounts", looked, "", map[string]int{"logins": len(logins)})
}

// ends is when an operation has taken effect at the latest.
func ends(o *history.Op) time.Duration {
	if o.Outcome == history.Unknown {
		return forever
	}
	return o.Return
}

// replaced finds a change before the login, and after every change to the login's password; nil if the password may be the account's.
func replaced(l *history.Op, changes []*history.Op) *history.Op {
	var set time.Duration = -1 // when its password was set at the latest; before the run if never in it
	for _, c := range changes {
		if c.Value == l.Value && c.Invoke < l.Return {
			set = max(set, ends(c))
		}
	}
	i := slices.IndexFunc(changes, func(c *history.Op) bool {
		return c.Outcome == history.OK && c.Value != l.Value && c.Return < l.Invoke && c.Invoke > set
	})
	if i < 0 {
		return nil
	}
	return changes[i]
}

// current finds a change to the login's password before it, after which no other change can have come; nil if there is none.
func current(l *history.Op, changes []*history.Op) *history.Op {
	i := slices.IndexFunc(changes, func(c *history.Op) bool {
		return c.Outcome == history.OK && c.Value == l.Value && c.Return < l.Invoke &&
			!slices.ContainsFunc(changes, func(o *history.Op) bool { return o.Value != l.Value && ends(o) >= c.Invoke && o.Invoke < l.Return })
	})
	if i < 0 {
		return nil
	}
	return changes[i]
}
