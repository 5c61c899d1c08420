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
// A mailbox with acknowledged messages of which some node made no final read makes the verdict Unsure: then the run has a fault.
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
		for _, r := range b.reads {
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
	for n, r := range b.reads {
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
	last := b.reads[len(b.reads)-1].Return
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

func (d *delivery) unreadAt(b *box) {
	workload := ""
	for _, m := range b.mails {
		if m.ack != nil {
			workload = m.ack.Workload
			break
		}
	}
	if workload == "" && !slices.ContainsFunc(b.mails, func(m *mail) bool { return m.ack != nil }) {
		return
	}
	var missing []string
	for _, node := range d.nodes[workload] {
		if !slices.ContainsFunc(b.reads, func(r reading) bool { return r.Mailbox.Final && r.Node == node }) {
			missing = append(missing, node)
		}
	}
	switch {
	case len(missing) > 0:
		d.unread = append(d.unread, b.name+" at "+strings.Join(missing, ", "))
	case !slices.ContainsFunc(b.reads, func(r reading) bool { return r.Mailbox.Final }):
		d.unread = append(d.unread, b.name)
	}
}

// moves compares, node by node, all mailboxes of a message that was moved.
func (d *delivery) moves() {
	moved := map[string][]*mail{}
	where := map[*mail]*box{}
	for _, name := range d.x.names {
		for _, m := range d.x.boxes[name].mails {
			if len(m.arrivals) > 0 {
				moved[m.id] = nil
			}
		}
	}
	var ids []string
	for _, name := range d.x.names {
		b := d.x.boxes[name]
		for _, m := range b.mails {
			if ms, ok := moved[m.id]; ok && m.travels() {
				if len(ms) == 0 {
					ids = append(ids, m.id)
				}
				moved[m.id] = append(ms, m)
				where[m] = b
			}
		}
	}
	last := d.lastFinals()
	for _, id := range ids {
		d.whole(id, moved[id], where, last)
	}
}

// travels tells that the message may have been moved to here or from here.
func (m *mail) travels() bool {
	return len(m.arrivals) > 0 || slices.ContainsFunc(m.removals, func(r *removal) bool { return r.Kind == history.Move })
}

// whole adds up the copies of one id in its mailboxes, at each node that made a final read of all of them.
func (d *delivery) whole(id string, ms []*mail, where map[*mail]*box, last map[*box]map[string]map[*mail]int) {
	want := everywhere(ms)
	var names []string
	var final time.Duration
	copies := map[string]int{}
	nodes := map[string]int{}
	for _, m := range ms {
		b := where[m]
		names = append(names, b.name)
		for node, seen := range last[b] {
			nodes[node]++
			copies[node] += seen[m]
		}
		if len(b.reads) > 0 {
			final = max(final, b.reads[len(b.reads)-1].Return)
		}
	}
	var wrong []string
	for node, n := range nodes {
		if n == len(ms) && (copies[node] < want.lo || copies[node] > want.hi) {
			wrong = append(wrong, fmt.Sprintf("%d at %s", copies[node], node))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		d.add("moved wrong", final, "%s: between %d and %d copies wanted in %s together; %s", id, want.lo, want.hi, strings.Join(names, ", "), strings.Join(wrong, ", "))
	}
}

// lastFinals are the copies in the last final read of each mailbox at each node, of messages that were moved there or from there.
func (d *delivery) lastFinals() map[*box]map[string]map[*mail]int {
	last := map[*box]map[string]map[*mail]int{}
	for _, b := range d.x.boxes {
		if !slices.ContainsFunc(b.mails, func(m *mail) bool { return len(m.arrivals)+len(m.removals) > 0 }) {
			continue
		}
		last[b] = map[string]map[*mail]int{}
		for _, r := range b.reads {
			if !r.Mailbox.Final {
				continue
			}
			seen := map[*mail]int{}
			for _, m := range r.mails {
				if m != nil {
					seen[m]++
				}
			}
			last[b][r.Node] = seen
		}
	}
	return last
}
