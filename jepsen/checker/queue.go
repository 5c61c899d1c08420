package checker

import (
	"slices"
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
