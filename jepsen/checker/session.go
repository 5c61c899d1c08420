package checker

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Session judges what one client may expect of a mailbox at whatever node it asks: to read its own writes, and not to go back in time
// (Terry et al., Session Guarantees for Weakly Consistent Replicated Data). It uses only facts that no other operation may have undone.
//
// Kinds of violations: "read your writes", "monotonic reads".
func Session(h *history.History) Result { return session(newIndex(h)) }

// client is one process and one mailbox.
type client struct {
	*findings
	b        *box
	last     *reading
	appended []*history.Op
	removed  []*removal
	stored   []*history.Op // the last one of each UID and flag
}

func session(x *index) Result {
	f := &findings{}
	pairs := 0
	for _, name := range x.names {
		b := x.boxes[name]
		for _, acts := range actsOf(b) {
			c := &client{findings: f, b: b}
			reads := 0
			for _, s := range acts {
				if s.read != nil {
					reads++
					c.look(s.read)
				} else {
					c.write(s)
				}
			}
			if reads > 0 && len(acts) > 1 {
				pairs++
			}
		}
	}
	return f.result("session", pairs, "", map[string]int{"clients and mailboxes": pairs})
}

// act is one of the operations of a client in one mailbox: a read, or a write that is OK.
type act struct {
	at      time.Duration
	op      *history.Op
	read    *reading
	removal *removal
}

// actsOf splits what happened to a mailbox by client.
func actsOf(b *box) [][]act {
	type process struct {
		workload string
		n        int
	}
	by := map[process][]act{}
	put := func(o *history.Op, s act) {
		if o.Outcome == history.OK {
			p := process{o.Workload, o.Process}
			by[p] = append(by[p], s)
		}
	}
	for i := range b.reads {
		put(b.reads[i].Op, act{at: b.reads[i].Invoke, read: &b.reads[i]})
	}
	for _, o := range b.adds {
		put(o, act{at: o.Return, op: o})
	}
	for _, o := range b.stores {
		put(o, act{at: o.Return, op: o})
	}
	for _, r := range b.removals {
		if r.outcome == history.OK {
			put(r.Op, act{at: r.until, op: r.Op, removal: r})
		}
	}
	var all [][]act
	for _, acts := range by {
		slices.SortStableFunc(acts, func(a, b act) int { return cmp.Compare(a.at, b.at) })
		all = append(all, acts)
	}
	return all
}

func (c *client) write(s act) {
	switch {
	case s.removal != nil:
		if s.removal.uid != 0 {
			c.removed = append(c.removed, s.removal)
		}
	case s.op.Kind == history.Store:
		c.stored = slices.DeleteFunc(c.stored, func(o *history.Op) bool { return o.UID == s.op.UID && strings.EqualFold(o.Flag, s.op.Flag) })
		c.stored = append(c.stored, s.op)
	default:
		c.appended = append(c.appended, s.op)
	}
}

// look judges a read, and remembers it.
func (c *client) look(r *reading) {
	c.ownAppends(r)
	for _, rm := range c.removed {
		if _, there := find(r, rm.uid); there && rm.until < r.Invoke {
			c.add("read your writes", r.Return, "%s: client %d took out UID %d by %s at %s, acknowledged at %s, and sees it at %s in its read that began at %s",
				c.b.name, r.Process, rm.uid, rm.Kind, rm.Node, at(rm.until), r.Node, at(r.Invoke))
		}
	}
	for _, o := range c.stored {
		c.ownStore(r, o)
	}
	if c.last != nil && c.last.Return <= r.Invoke {
		c.goesOn(r)
	}
	c.last = r
}

// ownAppends: what the next read shows is in the care of goesOn afterwards.
func (c *client) ownAppends(r *reading) {
	if len(c.appended) == 0 {
		return
	}
	shown := make([]bool, len(c.b.mails))
	for _, m := range r.mails {
		if m != nil {
			shown[m.n] = true
		}
	}
	for _, o := range c.appended {
		m := c.b.byID[o.ID]
		if o.Return < r.Invoke && !shown[m.n] && c.b.nameless == 0 && !m.mayBeGone(0, r.Return) {
			c.add("read your writes", r.Return, "%s: client %d's %s of %s at %s, acknowledged at %s, is not in its read at %s that began at %s",
				c.b.name, r.Process, o.Kind, o.ID, o.Node, at(o.Return), r.Node, at(r.Invoke))
		}
	}
	c.appended = c.appended[:0]
}

// mayBeGone tells that some operation may have taken out a copy before a time; the copy with a UID, or any for 0.
func (m *mail) mayBeGone(uid uint32, before time.Duration) bool {
	return slices.ContainsFunc(m.removals, func(r *removal) bool { return r.from < before && (uid == 0 || r.uid == 0 || r.uid == uid) })
}

// ownStore: the flag must be as this client set it, if no other operation may have changed it since.
func (c *client) ownStore(r *reading, o *history.Op) {
	msg, there := find(r, o.UID)
	if !there || o.Return >= r.Invoke || strings.EqualFold(o.Flag, deleted) || slices.Contains(msg.Flags, strings.ToLower(o.Flag)) == o.Add {
		return
	}
	for _, other := range c.b.stores {
		concurrent := other.Invoke < r.Return && (other.Return > o.Invoke || other.Outcome == history.Unknown)
		if other != o && other.UID == o.UID && strings.EqualFold(other.Flag, o.Flag) && other.Add != o.Add && concurrent {
			return
		}
	}
	c.add("read your writes", r.Return, "%s: client %d's STORE of %s (add: %t) to UID %d at %s, acknowledged at %s, is not in its read at %s that began at %s: (%s)",
		c.b.name, r.Process, o.Flag, o.Add, o.UID, o.Node, at(o.Return), r.Node, at(r.Invoke), strings.Join(msg.Flags, " "))
}

// goesOn compares a read with the client's read before.
func (c *client) goesOn(r *reading) {
	was, is := c.last.Mailbox, r.Mailbox
	if was.UIDValidity != is.UIDValidity {
		return
	}
	before := c.last.Node + " at " + at(c.last.Return)
	if is.UIDNext < was.UIDNext {
		c.add("monotonic reads", r.Return, "%s: client %d saw UIDNEXT %d at %s, then %d at %s", c.b.name, r.Process, was.UIDNext, before, is.UIDNext, r.Node)
	}
	for i, msg := range was.Messages {
		now, there := find(r, msg.UID)
		if m := c.last.mails[i]; !there && m != nil && c.b.nameless == 0 && !m.mayBeGone(msg.UID, r.Return) {
			c.add("monotonic reads", r.Return, "%s: client %d saw %s (UID %d) at %s, and does not in its read at %s that began at %s, and nobody took it out",
				c.b.name, r.Process, msg.ID, msg.UID, before, r.Node, at(r.Invoke))
		}
		if there && now.ModSeq != 0 && now.ModSeq < msg.ModSeq {
			c.add("monotonic reads", r.Return, "%s: client %d saw UID %d with MODSEQ %d at %s, then with %d at %s", c.b.name, r.Process, msg.UID, msg.ModSeq, before, now.ModSeq, r.Node)
		}
	}
	for _, msg := range is.Messages {
		if _, there := find(c.last, msg.UID); !there && msg.UID < was.UIDNext {
			c.add("monotonic reads", r.Return, "%s: client %d did not see UID %d at %s with UIDNEXT %d, and does at %s", c.b.name, r.Process, msg.UID, before, was.UIDNext, r.Node)
		}
	}
}

// find looks for a UID in a read.
func find(r *reading, uid uint32) (history.Message, bool) {
	ms := r.Mailbox.Messages
	i, ok := slices.BinarySearchFunc(ms, uid, func(m history.Message, uid uint32) int { return cmp.Compare(m.UID, uid) })
	if !ok {
		return history.Message{}, false
	}
	return ms[i], true
}
