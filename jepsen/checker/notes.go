package checker

import (
	"regexp"
	"slices"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Hashes judges Notes of kind "hash": at one applied index every node has the same state. Kind of violations: "state differs".
func Hashes(h *history.History) Result {
	f := &findings{}
	first := map[uint64]*history.Note{}
	looked, compared := 0, 0
	for i := range h.Notes {
		n := &h.Notes[i]
		if n.Kind != "hash" {
			continue
		}
		looked++
		old := first[n.Index]
		if old == nil {
			first[n.Index] = n
			continue
		}
		compared++
		if old.Text != n.Text {
			f.add("state differs", n.At, "at index %d %s has %s and %s has %s", n.Index, old.Node, old.Text, n.Node, n.Text)
		}
	}
	return f.result("hashes", looked, "", map[string]int{"hashes": looked, "compared": compared})
}

// alarm is what no node may print. Numbers of goroutines are only in the dumps of the runtime.
var alarm = regexp.MustCompile(`(?i:\bpanic\b|\binvariant\b)|DATA RACE|fatal error:|^goroutine \d+ \[`)

// Logs judges Notes of kind "log", one per line of a node's output: no panic, no race, no broken invariant; and those of kind "ended": a
// node ends by itself only when a fault hit it that may end nodes. Kinds of violations: "log line", "ended".
func Logs(h *history.History) Result {
	f := &findings{}
	counts := map[string]int{"lines": 0, "ended by faults": 0}
	for _, n := range h.Notes {
		switch n.Kind {
		case "ended":
			if !mayEnd(h.Faults, n) {
				f.add("ended", n.At, "%s ended, which no fault explains: %s", n.Node, n.Text)
				continue
			}
			counts["ended by faults"]++
		case "log":
			counts["lines"]++
			if alarm.MatchString(n.Text) {
				f.add("log line", n.At, "%s: %s", n.Node, n.Text)
			}
		}
	}
	return f.result("logs", counts["lines"]+counts["ended by faults"], "", counts)
}

// mayEnd tells whether a fault hit the node, before and with no other period of faults in between, that may end it.
func mayEnd(faults []history.Fault, ended history.Note) bool {
	return slices.ContainsFunc(faults, func(f history.Fault) bool {
		return f.Ends && slices.Contains(f.Nodes, ended.Node) && f.Start <= ended.At &&
			!slices.ContainsFunc(faults, func(next history.Fault) bool { return next.Start > f.End && next.Start < ended.At })
	})
}

// Bodies judges Notes of kind "corrupt": a message that is read whole has the bytes that were sent, at any time, and all of them are read in
// the end. Kind of violations: "wrong body".
func Bodies(h *history.History) Result {
	f := &findings{}
	reads := 0
	for _, o := range h.Ops {
		if o.Kind == history.Read && o.Outcome == history.OK && o.Mailbox != nil && o.Mailbox.Final {
			reads++
		}
	}
	for _, n := range h.Notes {
		if n.Kind == "corrupt" {
			f.add("wrong body", n.At, "%s: %s", n.Node, n.Text)
		}
	}
	return f.result("bodies", reads, "", map[string]int{"mailboxes read whole": reads})
}

// Recovery judges Notes of kind "unhealed": after a fault was over the cluster did not become whole by itself, or a node had lost its data
// although no disk was damaged. Kind of violations: "not whole". A run that was to cause faults, and caused none, makes the verdict Unsure.
func Recovery(h *history.History) Result {
	f := &findings{}
	broken, why := 0, ""
	for _, fault := range h.Faults {
		if fault.Error != "" {
			broken++
		}
	}
	if len(h.Run.Nemesis) > 0 && broken == len(h.Faults) {
		why = "no fault was caused as planned"
	}
	for _, n := range h.Notes {
		if n.Kind == "unhealed" {
			f.add("not whole", n.At, "%s", n.Text)
		}
	}
	return f.result("recovery", len(h.Faults), why, map[string]int{"faults": len(h.Faults), "faults not as planned": broken})
}
