package checker

import (
	"regexp"

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

// Logs judges Notes of kind "log", one per line of a node's output: no panic, no race, no broken invariant. What a node prints that stops on
// purpose, for a fault that the run caused, is a Note of kind "ended", and only counted. Kind of violations: "log line".
func Logs(h *history.History) Result {
	f := &findings{}
	counts := map[string]int{"lines": 0, "ended": 0}
	for _, n := range h.Notes {
		switch n.Kind {
		case "ended":
			counts["ended"]++
		case "log":
			counts["lines"]++
			if alarm.MatchString(n.Text) {
				f.add("log line", n.At, "%s: %s", n.Node, n.Text)
			}
		}
	}
	return f.result("logs", counts["lines"], "", counts)
}

// Recovery judges Notes of kind "unhealed": after a fault was over the cluster did not become whole by itself, or a node had lost its data
// although no disk was damaged. Kind of violations: "not whole".
func Recovery(h *history.History) Result {
	f := &findings{}
	for _, n := range h.Notes {
		if n.Kind == "unhealed" {
			f.add("not whole", n.At, "%s", n.Text)
		}
	}
	return f.result("recovery", len(h.Faults), "", map[string]int{"faults": len(h.Faults)})
}
