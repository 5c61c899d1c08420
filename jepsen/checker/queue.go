package checker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// inFlight is how long before a fault a remote server may have answered such that the sender may not have recorded it before the fault.
const inFlight = 5 * time.Second

// Queue judges remote delivery, by Accept (or Deliver with a Dest, which is the same), by Sink, which comes from a remote server's log, and by
// Notice. A Sink is OK when the server answered 250, and Unknown when the answer was not sent although it keeps the message, which is a copy all
// the same. The run must have waited until the queues were empty, which a Note of kind "drained" says; one of kind "queued" tells what was left.
//
// Every recipient of an acknowledged message is reached once, or the sender is told once that it was not: all attempts under one ID are the same
// message, sent again. Another copy is excused, one for each fault that kills, stops or cuts off a node, and only if the earlier copy was in flight then:
// received from 5 s before the fault until its end; and one for each copy that was not answered. So there are never more of them than messages
// in flight.
//
// Kinds of violations: "lost", "duplicated", "phantom", "told twice" (two notices), "told wrong" (a notice, and a copy), "left" (in a queue). Without
// any Sink, and if nobody saw the queues empty, the verdict is Unsure.
func Queue(h *history.History) Result {
	f := &findings{}
	counts := map[string]int{"acknowledged": 0, "unknown": 0, "received": 0, "told": 0, "excused": 0, "not answered": 0}
	entries := queueEntries(h)
	nodes := finalReaders(h)
	j := queueJudge{findings: f, counts: counts, crashes: crashesOf(h.Faults), drained: drained(h, f)}
	for _, e := range entries {
		e.count(nodes)
		counts["received"] += len(e.copies)
		counts["told"] += e.most
		counts["not answered"] += e.unanswered()
	}
	j.heard = counts["received"]+counts["told"] > 0
	for _, e := range entries {
		j.judge(e)
	}
	return f.result("queue", len(entries), j.why(), counts)
}

// drained tells whether the queues were seen empty, and finds what was left in them.
func drained(h *history.History, f *findings) (empty bool) {
	for _, n := range h.Notes {
		switch n.Kind {
		case "drained":
			empty = true
		case "queued":
			f.add("left", n.At, "it still waits, after all was healed and tried again: %s", n.Text)
		}
	}
	return empty
}

// finalReaders are the nodes that made final reads.
func finalReaders(h *history.History) []string {
	var nodes []string
	for _, o := range h.Ops {
		if o.Kind == history.Read && o.Outcome == history.OK && o.Mailbox != nil && o.Mailbox.Final && !slices.Contains(nodes, o.Node) {
			nodes = append(nodes, o.Node)
		}
	}
	return nodes
}

// queueEntry is one recipient of one message.
type queueEntry struct {
	id, dest             string
	oks, unknowns, fails int
	ack                  *history.Op
	copies               []*history.Op // by their returns
	notices              []*history.Op
	least, most          int // notices that a node showed in the end
}

func queueEntries(h *history.History) []*queueEntry {
	type key struct{ id, dest string }
	by := map[key]*queueEntry{}
	var list []*queueEntry
	for i := range h.Ops {
		o := &h.Ops[i]
		if !slices.Contains([]history.Kind{history.Accept, history.Sink, history.Notice}, o.Kind) && (o.Kind != history.Deliver || o.Dest == "") {
			continue
		}
		k := key{o.ID, strings.ToLower(o.Dest)}
		e := by[k]
		if e == nil {
			e = &queueEntry{id: o.ID, dest: o.Dest}
			by[k], list = e, append(list, e)
		}
		e.add(o)
	}
	return list
}

func (e *queueEntry) add(o *history.Op) {
	switch {
	case o.Kind == history.Sink && o.Outcome != history.Fail:
		e.copies = append(e.copies, o)
	case o.Kind == history.Sink:
	case o.Kind == history.Notice:
		e.notices = append(e.notices, o)
	case o.Outcome == history.OK:
		e.oks++
		if e.ack == nil {
			e.ack = o
		}
	case o.Outcome == history.Unknown:
		e.unknowns++
	default:
		e.fails++
	}
}

// unanswered counts the copies to which the server gave no answer.
func (e *queueEntry) unanswered() (n int) {
	for _, c := range e.copies {
		if c.Outcome == history.Unknown {
			n++
		}
	}
	return n
}

// count sorts the copies, and finds how many notices each node shows: one that was read twice is one.
func (e *queueEntry) count(nodes []string) {
	slices.SortStableFunc(e.copies, func(a, b *history.Op) int { return cmp.Compare(a.Return, b.Return) })
	type place struct {
		node, box string
		uid       uint32
	}
	seen, at := map[place]bool{}, map[string]int{}
	for _, n := range e.notices {
		if p := (place{n.Node, n.Box, n.UID}); !seen[p] {
			seen[p] = true
			at[n.Node]++
		}
	}
	for i, node := range nodes {
		if i == 0 || at[node] < e.least {
			e.least = at[node]
		}
	}
	for _, n := range at {
		e.most = max(e.most, n)
	}
}

// notCrashes are words of faults after which nobody takes up what a node was sending: it is the name servers, the sites or the clients that fail,
// or something is slow.
var notCrashes = []string{"name server", "site", "slow disk", "slow clients"}

// crashesOf keeps the faults after which another node, or the same one again, takes up what a node was sending: those that end it, stop it, cut
// it off or keep it from writing what came of an attempt.
func crashesOf(faults []history.Fault) []history.Fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f history.Fault) bool {
		return slices.ContainsFunc(notCrashes, func(word string) bool { return strings.Contains(strings.ToLower(f.Name), word) }) && !strings.Contains(f.Name, "kill")
	})
}

// queueJudge judges one entry after the other.
type queueJudge struct {
	*findings
	counts  map[string]int
	crashes []history.Fault
	drained bool
	heard   bool // of anything
}

// why is the reason not to be sure.
func (j *queueJudge) why() string {
	switch {
	case j.counts["acknowledged"] == 0:
		return ""
	case !j.heard:
		return "no remote server recorded anything"
	case !j.drained:
		return "nobody saw the queues empty"
	}
	return ""
}

func (j *queueJudge) judge(e *queueEntry) {
	switch {
	case e.oks > 0:
		j.counts["acknowledged"]++
	case e.unknowns > 0:
		j.counts["unknown"]++
	}
	switch {
	case e.oks > 0 && len(e.copies)+e.least == 0 && j.heard && j.drained:
		j.add("lost", e.ack.Return, "%s for %s, acknowledged at %s by %s, never arrived, and nobody was told (of copies: %d, of notices: %d)", e.id, e.dest, at(e.ack.Return), e.ack.Node, len(e.copies), e.most)
	case e.oks+e.unknowns == 0 && len(e.copies) > 0:
		j.add("phantom", e.copies[0].Return, "%s arrived for %s at %s, of %d attempts that were all refused", e.id, e.dest, at(e.copies[0].Return), e.fails)
	case e.oks+e.unknowns == 0 && e.most > 0:
		j.add("phantom", e.notices[0].Return, "somebody was told that %s did not get to %s, of %d attempts that were all refused", e.id, e.dest, e.fails)
	}
	j.extra(e)
}

// extra judges what an entry has beyond one copy or one notice.
func (j *queueJudge) extra(e *queueEntry) {
	if e.most > 1 {
		j.add("told twice", e.notices[0].Return, "that %s did not get to %s was told %d times", e.id, e.dest, e.most)
	}
	if extra := len(e.copies) - 1; extra > 0 {
		excused := e.excused(j.crashes)
		j.counts["excused"] += excused
		if excused < extra {
			j.add("duplicated", e.copies[len(e.copies)-1].Return, "%s for %s arrived %d times (%s): faults, and answers that were not given, excuse %d more than one", e.id, e.dest, len(e.copies), times(e.copies), excused)
		}
	}
	if e.most > 0 && len(e.copies) > 0 {
		last := e.copies[len(e.copies)-1]
		if !slices.ContainsFunc(j.crashes, func(c history.Fault) bool { return wasInFlight(last, c) }) && last.Outcome != history.Unknown {
			j.add("told wrong", last.Return, "%s arrived for %s (%s), and the sender was told that it did not", e.id, e.dest, times(e.copies))
		}
		j.counts["excused"]++
	}
}

// excused counts the copies that followed on one that was not answered, or was in flight at a fault, each fault once.
func (e *queueEntry) excused(crashes []history.Fault) int {
	used := make([]bool, len(crashes))
	n := 0
	for i := range len(e.copies) - 1 {
		a, b := e.copies[i], e.copies[i+1]
		if a.Outcome == history.Unknown {
			n++
			continue
		}
		for k, c := range crashes {
			if !used[k] && wasInFlight(a, c) && b.Return >= c.Start {
				used[k] = true
				n++
				break
			}
		}
	}
	return n
}

// wasInFlight tells whether the node that sent a copy may not have recorded it when a fault began.
func wasInFlight(a *history.Op, c history.Fault) bool {
	return a.Return >= c.Start-inFlight && a.Invoke <= c.End
}

func times(ops []*history.Op) string {
	var ts []string
	for _, o := range ops {
		ts = append(ts, fmt.Sprintf("%s from %s", at(o.Return), o.Node))
	}
	return strings.Join(ts, ", ")
}
