package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

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
		if len(b.looks) > 0 {
			final = max(final, b.looks[len(b.looks)-1].Return)
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
		for _, r := range b.looks {
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
