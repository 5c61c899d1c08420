package checker

import (
	"slices"

	"github.com/quorumail/quorumail/jepsen/history"
)

// group is all that may have taken one copy out of a mailbox. Only one of them did, whatever they were told: the server says OK to an
// EXPUNGE or MOVE of a UID that does not exist any more (RFC 9051 §6.4.9).
type group struct {
	uid      uint32
	box      *box
	gone     bool // one was acknowledged: the copy is not in the mailbox any more
	expunges bool // one may have destroyed it
	moves    bool // one may have moved it
	moved    bool // one has: COPYUID was told
}

func groupsOf(removals []*removal) []group {
	var gs []group
	for _, r := range removals {
		k := slices.IndexFunc(gs, func(g group) bool { return r.uid != 0 && g.uid == r.uid && g.box == r.box })
		if k < 0 {
			k = len(gs)
			gs = append(gs, group{uid: r.uid, box: r.box})
		}
		g := &gs[k]
		g.gone = g.gone || r.outcome == history.OK
		g.expunges = g.expunges || r.Kind != history.Move
		g.moves = g.moves || r.Kind == history.Move
		g.moved = g.moved || r.Kind == history.Move && r.outcome == history.OK && r.DestUID != 0
	}
	return gs
}

// bounds are the least and the greatest number of copies.
type bounds struct{ lo, hi int }

// created says how many copies came into the mailbox, moves aside. For one attempt that is OK and k that are Unknown it is between 1 and
// 1+k: the server need not notice that a client sends again.
func (m *mail) created() bounds { return bounds{min(1, m.oks), m.oks + m.unknowns} }

// came says how many copies may ever have been in the mailbox.
func (m *mail) came() bounds {
	c := m.created()
	for _, g := range groupsOf(m.arrivals) {
		if g.moved {
			c.lo++
		}
		c.hi++
	}
	return c
}

// taken counts the copies that were taken out for certain. Groups without a UID may all be about one copy, or about one with a UID.
func taken(gs []group, counts func(group) bool) int {
	known, unknown := 0, 0
	for _, g := range gs {
		switch {
		case !g.gone || !counts(g):
		case g.uid != 0:
			known++
		default:
			unknown = 1
		}
	}
	return max(known, unknown)
}

// left says how many copies are in the mailbox when all is over.
func (m *mail) left() bounds {
	c := m.came()
	certain := len(m.uids) // copies that were seen and that nobody may have taken out
	gs := groupsOf(m.removals)
	c.hi -= taken(gs, func(group) bool { return true })
	for _, g := range gs {
		c.lo--
		if g.uid == 0 || slices.Contains(m.uids, g.uid) {
			certain--
		}
	}
	return bounds{max(0, c.lo, certain), max(0, c.hi)}
}

// everywhere says how many copies of one id are left in all its mailboxes together: a message that a move of unknown outcome may have moved
// is in one of the two mailboxes, neither in both nor in none.
func everywhere(ms []*mail) bounds {
	var c bounds
	for _, m := range ms {
		made, arrived := m.created(), len(groupsOf(m.arrivals))
		c.lo += max(made.lo, len(m.uids)-arrived)
		c.hi += made.hi
		gs := groupsOf(m.removals)
		c.hi -= taken(gs, func(g group) bool { return !g.moves && (g.uid != 0 || !m.travels()) })
		for _, g := range gs {
			if g.expunges && !g.moved {
				c.lo--
			}
		}
	}
	return bounds{max(0, c.lo), max(0, c.hi)}
}
