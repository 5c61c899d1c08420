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

// Queue judges remote delivery, by Accept (or Deliver with a Dest, which is the same) and by Sink, which comes from a remote server's log. A Sink is OK when the server answered 250, and
// Fail when it refused; one whose answer could not be sent is Unknown, and counts as a copy all the same, for the server keeps the message.
// The run must have waited until the queues were empty.
//
// Every recipient of an acknowledged message is reached at least once. More copies than attempts that may have taken effect are excused, one
// for each fault that kills, stops or cuts off a node, and only if the earlier copy was in flight then: received from 5 s before the fault
// until its end. So there are never more of them than messages in flight.
//
// Kinds of violations: "lost", "duplicated", "phantom". Without any Sink the verdict is Unsure.
func Queue(h *history.History) Result {
	f := &findings{}
	counts := map[string]int{"acknowledged": 0, "unknown": 0, "received": 0, "excused": 0}
	entries := queueEntries(h)
	received := 0
	for _, e := range entries {
		received += len(e.copies)
	}
	crashes := crashesOf(h.Faults)
	for _, e := range entries {
		e.judge(f, crashes, counts, received > 0)
	}
	counts["received"] = received
	why := ""
	if received == 0 && counts["acknowledged"] > 0 {
		why = "no remote server recorded anything"
	}
	return f.result("queue", len(entries), why, counts)
}

// queueEntry is one recipient of one message.
type queueEntry struct {
	id, dest             string
	oks, unknowns, fails int
	ack                  *history.Op
	copies               []*history.Op // by their returns
}

func queueEntries(h *history.History) []*queueEntry {
	type key struct{ id, dest string }
	by := map[key]*queueEntry{}
	var list []*queueEntry
	for i := range h.Ops {
		o := &h.Ops[i]
		if o.Kind != history.Accept && o.Kind != history.Sink && (o.Kind != history.Deliver || o.Dest == "") {
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

// crashesOf keeps the faults after which another node, or the same one again, takes up what a node was sending.
func crashesOf(faults []history.Fault) []history.Fault {
	var cs []history.Fault
	for _, f := range faults {
		for _, word := range []string{"kill", "power", "pause", "partition", "isolate", "restart", "drain", "wipe"} {
			if strings.Contains(strings.ToLower(f.Name), word) {
				cs = append(cs, f)
				break
			}
		}
	}
	return cs
}

func (e *queueEntry) judge(f *findings, crashes []history.Fault, counts map[string]int, any bool) {
	slices.SortStableFunc(e.copies, func(a, b *history.Op) int { return cmp.Compare(a.Return, b.Return) })
	allowed := e.oks + e.unknowns
	if e.oks > 0 {
		counts["acknowledged"]++
	} else if e.unknowns > 0 {
		counts["unknown"]++
	}
	switch {
	case e.oks > 0 && len(e.copies) == 0 && any:
		f.add("lost", e.ack.Return, "%s for %s, acknowledged at %s by %s, never arrived", e.id, e.dest, at(e.ack.Return), e.ack.Node)
	case allowed == 0 && len(e.copies) > 0:
		f.add("phantom", e.copies[0].Return, "%s arrived for %s at %s, of %d attempts that were all refused", e.id, e.dest, at(e.copies[0].Return), e.fails)
	case len(e.copies) > max(1, allowed):
		extra := len(e.copies) - allowed
		excused := min(extra, e.excused(crashes))
		counts["excused"] += excused
		if excused < extra {
			f.add("duplicated", e.copies[len(e.copies)-1].Return, "%s for %s arrived %d times (%s): %d attempts may have taken effect, and faults excuse %d",
				e.id, e.dest, len(e.copies), times(e.copies), allowed, excused)
		}
	}
}

// excused counts the copies that followed on a copy in flight at a fault, each fault once.
func (e *queueEntry) excused(crashes []history.Fault) int {
	used := make([]bool, len(crashes))
	n := 0
	for i := range len(e.copies) - 1 {
		a, b := e.copies[i], e.copies[i+1]
		for k, c := range crashes {
			if !used[k] && a.Return >= c.Start-inFlight && a.Invoke <= c.End && b.Return >= c.Start {
				used[k] = true
				n++
				break
			}
		}
	}
	return n
}

func times(ops []*history.Op) string {
	var ts []string
	for _, o := range ops {
		ts = append(ts, fmt.Sprintf("%s from %s", at(o.Return), o.Node))
	}
	return strings.Join(ts, ", ")
}
