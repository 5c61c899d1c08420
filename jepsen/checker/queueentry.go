package checker

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/quorumail/quorumail/jepsen/history"
)

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
// it off or keep it from writing what came of an attempt. One that does so several times, one after the other, is there as often.
func crashesOf(faults []history.Fault) (crashes []history.Fault) {
	for _, f := range faults {
		name := strings.ToLower(f.Name)
		harmless := slices.ContainsFunc(notCrashes, func(word string) bool { return strings.Contains(name, word) })
		if harmless && !strings.Contains(name, "kill") {
			continue
		}
		times := 1
		if m := severalTimes.FindStringSubmatch(f.Detail); m != nil {
			times, _ = strconv.Atoi(m[1]) // three digits at most
		} else if strings.Contains(name, "rolling") || strings.Contains(name, "laggard") {
			times = max(1, len(f.Nodes)) // each in its turn
		}
		crashes = append(crashes, slices.Repeat([]history.Fault{f}, times)...)
	}
	return crashes
}

// severalTimes is in the detail of a fault that does its deed again and again.
var severalTimes = regexp.MustCompile(`^(\d{1,3}) times`)

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
