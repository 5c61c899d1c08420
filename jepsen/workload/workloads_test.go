package workload

import (
	"maps"
	"slices"
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// agree demands that all nodes show the same in the end, and returns it by mailbox.
func agree(t *testing.T, h *history.History) map[string]*history.Mailbox {
	t.Helper()
	agreed := map[string]*history.Mailbox{}
	for name, nodes := range finalLooks(t, h) {
		for node, mb := range nodes {
			first := agreed[name]
			if first == nil {
				agreed[name] = mb
				continue
			}
			if first.UIDValidity != mb.UIDValidity || first.UIDNext != mb.UIDNext || mb.UIDNext == 0 || mb.UIDValidity == 0 ||
				!slices.EqualFunc(first.Messages, mb.Messages, func(a, b history.Message) bool {
					return a.UID == b.UID && a.ID == b.ID && slices.Equal(a.Flags, b.Flags)
				}) {
				t.Errorf("%s at %s shows %+v, and elsewhere %+v", name, node, mb, first)
			}
		}
	}
	return agreed
}

func TestFlags(t *testing.T) {
	c := theCluster(t)
	h := work(t, c.env(t), NewFlags(), 4, func(h *history.History) bool { return count(h, history.Store, history.OK) > 200 })
	sound(t, h)
	flagged := 0
	for name, mb := range agree(t, h) {
		if len(mb.Messages) != flagMessages {
			t.Errorf("%s has %d messages", name, len(mb.Messages))
		}
		for _, m := range mb.Messages {
			flagged += len(m.Flags)
		}
	}
	if flagged == 0 {
		t.Error("no flag is set in the end")
	}
	// Nothing is expunged here, and the server has mod-sequences: each answer shows the message with one.
	for i, o := range h.Ops {
		if o.Kind == history.Store && (o.UID == 0 || o.Flag == "" || o.ID == "" || o.Value == gone || o.ModSeq == 0) {
			t.Errorf("operation %d: %+v", i, o)
		}
	}
}

func TestAppendExpunge(t *testing.T) {
	c := theCluster(t)
	h := work(t, c.env(t), NewAppendExpunge(), 4, func(h *history.History) bool {
		return count(h, history.Append, history.OK) > 60 && count(h, history.Expunge, history.OK) > 20 && count(h, history.Store, history.OK) > 40
	})
	sound(t, h)
	// What was appended and never expunged is there; what was expunged with an acknowledgement is not.
	type place struct {
		box string
		uid uint32
	}
	there, ids, gone := map[place]bool{}, map[place]string{}, map[place]bool{}
	for _, o := range h.Ops {
		at := place{o.Box, o.UID}
		switch {
		case o.Kind == history.Append && o.Outcome == history.OK:
			if o.UID == 0 || ids[at] != "" {
				t.Errorf("UID of %+v", o)
			}
			ids[at] = o.ID
			there[at] = !gone[at] // somebody may have seen and removed it before the APPEND returned
		case o.Kind == history.Expunge && o.Outcome == history.OK:
			there[at], gone[at] = false, true
		}
	}
	for name, mb := range agree(t, h) {
		for _, m := range mb.Messages {
			at := place{name, m.UID}
			if !there[at] || ids[at] != m.ID {
				t.Errorf("%s shows %+v; appended as %q and expected: %v", name, m, ids[at], there[at])
			}
			delete(there, at)
		}
	}
	for at, expected := range there {
		if expected {
			t.Errorf("%+v is missing", at)
		}
	}
}

// A mailbox that has seen enough gives way to a new one, and is read in the end all the same.
func TestBoxesAreRenewed(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	env.Boxes = 1
	h := work(t, env, NewAppendExpunge(), 3, func(h *history.History) bool {
		names := map[string]bool{}
		for _, o := range h.Ops {
			names[o.Box] = true
		}
		return len(names) > 2
	})
	if n := len(agree(t, h)); n < 3 {
		t.Errorf("final reads of %d mailboxes", n)
	}
}

func TestMove(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	h := work(t, env, NewMove(), 4, func(h *history.History) bool { return count(h, history.Move, history.OK) > 100 })
	sound(t, h)
	copies := map[string]int{}
	for _, mb := range agree(t, h) {
		for _, m := range mb.Messages {
			copies[m.ID]++
		}
	}
	appended := count(h, history.Append, history.OK)
	if len(copies) != appended || appended == 0 {
		t.Errorf("%d messages of %d are there", len(copies), appended)
	}
	for _, id := range slices.Sorted(maps.Keys(copies)) {
		if copies[id] != 1 {
			t.Errorf("%d copies of %s", copies[id], id)
		}
	}
	for _, o := range h.Ops {
		if o.Kind == history.Move && (o.Outcome == history.OK && o.DestUID == 0 || o.Dest == o.Box || o.ID == "") {
			t.Errorf("%+v", o)
		}
	}
}

// Without faults each process reads at the next node exactly what it left at the one before.
func TestSession(t *testing.T) {
	c := theCluster(t)
	h := work(t, c.env(t), NewSession(), 3, func(h *history.History) bool { return count(h, history.Read, history.OK) > 100 })
	sound(t, h)
	agree(t, h)
	live, nodes := map[string]map[uint32]bool{}, map[string]map[string]bool{}
	for _, o := range h.Ops {
		if live[o.Box] == nil {
			live[o.Box], nodes[o.Box] = map[uint32]bool{}, map[string]bool{}
		}
		nodes[o.Box][o.Node] = true
		if o.Outcome != history.OK {
			t.Errorf("without faults: %+v", o)
			continue
		}
		switch o.Kind {
		case history.Append:
			live[o.Box][o.UID] = true
		case history.Expunge:
			delete(live[o.Box], o.UID)
		case history.Read:
			seen := map[uint32]bool{}
			for _, m := range o.Mailbox.Messages {
				seen[m.UID] = true
			}
			if !maps.Equal(seen, live[o.Box]) {
				t.Errorf("%s at %s shows %v, and %v is left of what was done", o.Box, o.Node, seen, live[o.Box])
			}
		}
	}
	for name, at := range nodes {
		if len(at) != 3 {
			t.Errorf("%s was used at %d nodes", name, len(at))
		}
	}
}

func TestAccounts(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	h := work(t, env, NewAccounts(), 4, func(h *history.History) bool {
		return count(h, history.Login, history.OK) > 40 && count(h, history.Login, history.Fail) > 5 && count(h, history.Password, history.OK) > 8
	})
	sound(t, h)
	agree(t, h)
	// Without faults a refused login is one with a password that was not, or not only, good while it went on.
	for _, o := range h.Ops {
		if o.Kind != history.Login {
			continue
		}
		good, changed := "", false
		for _, ch := range h.Ops {
			if ch.Kind != history.Password || ch.Box != o.Box {
				continue
			}
			if ch.Return < o.Invoke {
				good = ch.Value
			} else if ch.Invoke < o.Return {
				changed = true
			}
		}
		if changed {
			continue
		}
		if want := o.Value == good; want != (o.Outcome == history.OK) || !want && (len(o.Error) < 5 || o.Error[:5] != "auth:") {
			t.Errorf("password good: %v, and the login %+v", want, o)
		}
	}
}

func TestByName(t *testing.T) {
	stateless := []string{"deliver", "queue-remote", "resend"}
	for _, w := range All() {
		if found := ByName(w.Name()); found == nil || found.Name() != w.Name() || found == w && !slices.Contains(stateless, w.Name()) {
			t.Errorf("%s: found %v", w.Name(), found)
		}
	}
	if ByName("none") != nil {
		t.Error("found none")
	}
}
