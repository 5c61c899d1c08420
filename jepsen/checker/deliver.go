package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Deliver judges Deliver and Append: every message that was acknowledged is there in the end, once, at every node that made a final read
// (or where it was moved to, or gone if it was expunged), and none that was refused. It is Jepsen's set-full with multiplicities.
//
// Kinds of violations: "lost" (acknowledged, and not there), "vanished" (its outcome was unknown, but it was seen, and now it is gone),
// "duplicated" (more copies than attempts that may have taken effect), "undone" (taken out with an acknowledgement, yet there), "phantom"
// (nobody sent it, or all attempts were refused, or it was there before it was sent), "stale" (a read that began after the
// acknowledgement does not show it, a later one does), "moved wrong" (a message that was moved is in both mailboxes, or in neither).
//
// A mailbox with acknowledged messages of which some node made no final read makes the verdict Unsure: then the run has a fault; and so does a
// history in which nothing was acknowledged.
//
// Figures are times from an acknowledgement until the message was visible: the invocation of the last read that began afterwards and did
// not show it, 0 if there is none.
func Deliver(h *history.History) Result { return deliver(newIndex(h)) }

// delivery is the state of the checker.
type delivery struct {
	findings
	x       *index
	counts  map[string]int
	nodes   map[string][]string // that made final reads, by workload
	unread  []string
	visible []time.Duration
	slowest map[string]time.Duration // by node
}

func deliver(x *index) Result {
	d := &delivery{x: x, counts: map[string]int{}, nodes: x.finalNodes(), slowest: map[string]time.Duration{}}
	for _, k := range []string{"acknowledged", "failed", "unknown", "lost", "duplicated", "phantom", "stale", "recovered"} {
		d.counts[k] = 0
	}
	looked := 0
	for _, name := range x.names {
		b := x.boxes[name]
		looked += len(b.adds)
		d.box(b)
	}
	d.moves()
	why := ""
	if looked > 0 && d.counts["acknowledged"] == 0 {
		why = fmt.Sprintf("none of %d attempts was acknowledged", looked)
	}
	if len(d.unread) > 0 {
		d.counts["mailboxes never read"] = len(d.unread)
		why = fmt.Sprintf("no final read of %d mailboxes with acknowledged messages, such as %s", len(d.unread), d.unread[0])
	}
	r := d.result("deliver", looked, why, d.counts)
	slices.Sort(d.visible)
	r.Figures = map[string]time.Duration{}
	if n := len(d.visible); n > 0 {
		r.Figures["visible p50"], r.Figures["visible p99"], r.Figures["visible max"] = quantile(d.visible, 0.5), quantile(d.visible, 0.99), d.visible[n-1]
	}
	for node, t := range d.slowest {
		r.Figures["visible max "+node] = t
	}
	return r
}

// finalNodes lists the nodes that made final reads for a workload.
func (x *index) finalNodes() map[string][]string {
	nodes := map[string][]string{}
	for _, b := range x.boxes {
		for _, r := range b.looks {
			if r.Mailbox.Final && !slices.Contains(nodes[r.Workload], r.Node) {
				nodes[r.Workload] = append(nodes[r.Workload], r.Node)
			}
		}
	}
	for _, ns := range nodes {
		slices.Sort(ns)
	}
	return nodes
}

// sight is what the reads of a mailbox say of one message.
type sight struct {
	copies   int           // in the read that is being looked at
	read     int           // the last one that showed it, from 1
	missed   time.Duration // invocation of the last read after the acknowledgement that did not show it; 0: none
	missing  *history.Op   // that read
	stale    bool
	finals   []string // what is wrong in final reads: "2 at n1"
	few      bool     // in a final read there were too few
	tooMany  int      // the most copies that a read showed
	where    *history.Op
	reported bool // as a phantom
}

func (d *delivery) box(b *box) {
	sights := make([]sight, len(b.mails))
	left := make([]bounds, len(b.mails))
	for i, m := range b.mails {
		left[i] = m.left()
		d.tally(m)
	}
	for n, r := range b.looks {
		d.slowest[r.Node] += 0 // every node is in the table
		d.look(b, r, n+1, sights)
		for i, m := range b.mails {
			s := &sights[i]
			present := 0
			if s.read == n+1 {
				present = s.copies
			}
			if r.Mailbox.Final && (present < left[i].lo || present > left[i].hi) {
				s.finals = append(s.finals, fmt.Sprintf("%d at %s", present, r.Node))
				s.few = s.few || present < left[i].lo
			}
			d.wait(m, s, r, present)
		}
	}
	for i, m := range b.mails {
		d.judge(b, m, &sights[i], left[i])
	}
	d.unreadAt(b)
}

func (d *delivery) tally(m *mail) {
	switch {
	case m.oks > 0:
		d.counts["acknowledged"]++
	case m.unknowns > 0:
		d.counts["unknown"]++
		if len(m.uids) > 0 {
			d.counts["recovered"]++
		}
	case m.fails > 0:
		d.counts["failed"]++
	}
}

// look counts the copies in one read, and finds phantoms.
func (d *delivery) look(b *box, r reading, n int, sights []sight) {
	for k, m := range r.mails {
		if m == nil {
			d.counts["mail of others"]++
			continue
		}
		s := &sights[m.n]
		if s.read != n {
			s.read, s.copies = n, 0
		}
		s.copies++
		if s.copies > s.tooMany {
			s.tooMany, s.where = s.copies, r.Op
		}
		if came := m.came(); (came.hi == 0 || r.Return < m.invoke) && !s.reported {
			s.reported = true
			why := "which nobody sent"
			switch {
			case came.hi > 0:
				why = "which was sent only at " + at(m.invoke)
			case m.fails > 0:
				why = fmt.Sprintf("which was refused at each of %d attempts", m.fails)
			}
			d.add("phantom", r.Return, "%s shows %s (UID %d) at %s, %s", b.name, m.id, r.Mailbox.Messages[k].UID, r.Node, why)
		}
	}
}

// wait follows how long an acknowledged message stays invisible. What somebody may have taken out already is not missed.
func (d *delivery) wait(m *mail, s *sight, r reading, present int) {
	if m.ack == nil || r.Invoke <= m.ack.Return {
		return
	}
	if present > 0 {
		s.stale = s.stale || s.missing != nil
		return
	}
	for _, rm := range m.removals {
		if rm.from < r.Return {
			return
		}
	}
	s.missed, s.missing = max(s.missed, r.Invoke), r.Op
	d.slowest[r.Node] = max(d.slowest[r.Node], r.Invoke-m.ack.Return)
}

func (d *delivery) judge(b *box, m *mail, s *sight, left bounds) {
	came := m.came()
	if came.hi > 0 && s.tooMany > came.hi {
		d.add("duplicated", s.where.Return, "%s has %d copies of %s at %s, of %d attempts that may have taken effect", b.name, s.tooMany, m.id, s.where.Node, came.hi)
	} else if came.hi > 0 && len(s.finals) > 0 {
		d.final(b, m, s, left)
	}
	if s.stale {
		d.add("stale", s.missing.Return, "%s: %s, acknowledged at %s by %s, was not in the read at %s that began at %s, and was seen later",
			b.name, m.id, at(m.ack.Return), m.ack.Node, s.missing.Node, at(s.missing.Invoke))
	}
	if m.ack != nil && s.read > 0 {
		d.visible = append(d.visible, max(0, s.missed-m.ack.Return))
	}
}

func (d *delivery) final(b *box, m *mail, s *sight, left bounds) {
	last := b.looks[len(b.looks)-1].Return
	copies := strings.Join(s.finals, ", ")
	switch {
	case s.few && m.ack != nil:
		d.add("lost", last, "%s: %s, acknowledged at %s by %s: %d copies wanted in the final reads; %s", b.name, m.id, at(m.ack.Return), m.ack.Node, left.lo, copies)
	case s.few:
		d.add("vanished", last, "%s: %s, of unknown outcome, was seen, and is gone: %d copies wanted in the final reads; %s", b.name, m.id, left.lo, copies)
	case left.hi < m.came().hi:
		d.add("undone", last, "%s: %s was taken out with an acknowledgement, and is there: %d copies wanted in the final reads; %s", b.name, m.id, left.hi, copies)
	default:
		d.add("duplicated", last, "%s: %s: %d copies wanted in the final reads; %s", b.name, m.id, left.hi, copies)
	}
}

// unreadAt: a workload that makes its final reads at some nodes makes them of every mailbox at each of them.
func (d *delivery) unreadAt(b *box) {
	if !slices.ContainsFunc(b.mails, func(m *mail) bool { return m.ack != nil }) {
		return
	}
	var read, missing []string
	for _, r := range b.looks {
		if r.Mailbox.Final {
			read = append(read, r.Node)
			missing = append(missing, d.nodes[r.Workload]...)
		}
	}
	missing = slices.DeleteFunc(missing, func(node string) bool { return slices.Contains(read, node) })
	slices.Sort(missing)
	switch missing = slices.Compact(missing); {
	case len(missing) > 0:
		d.unread = append(d.unread, b.name+" at "+strings.Join(missing, ", "))
	case len(read) == 0:
		d.unread = append(d.unread, b.name)
	}
}
