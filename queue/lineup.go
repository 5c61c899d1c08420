package queue

import (
	"strings"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// place names an entry.
type place struct {
	message uint64
	number  uint32
}

func placeOf(e *storepb.QueueEntry) place { return place{e.Message, e.Number} }

// item is an entry that is due, or worked on. What is worked on is a job's to read; told and active are the loop's alone.
type item struct {
	entry  *storepb.QueueEntry // not to be changed
	from   string              // its message's sender
	sender uint64              // state.SenderHash of from
	dest   string              // a destination of the Sender, or what else the work is done by
	active bool                // worked on
	told   bool                // it changed while it was worked on
}

// Destinations within: those of the Sender begin with no space.
const (
	destIn     = " in"
	destLocal  = " local"
	destNotice = " notice"
)

// isRemote tells whether a destination is one of the Sender's.
func isRemote(dest string) bool { return !strings.HasPrefix(dest, " ") }

// destOf is what an entry waits for next. A warning that it is late does not keep it from its next attempt.
func destOf(e *storepb.QueueEntry, now time.Time, elsewhere func(domain string) string) string {
	switch {
	case waitsForNotice(e) || e.Notice != 0 && now.Before(time.UnixMilli(e.DueUnixMs)):
		return destNotice
	case store.Queue(e.Queue) == store.QueueIn:
		return destIn
	case store.Queue(e.Queue) == store.QueueLocal:
		return destLocal
	}
	return elsewhere(domainOf(e.Address))
}

// waitsForNotice: the recipient is dealt with, and only the sender is to be told.
func waitsForNotice(e *storepb.QueueEntry) bool {
	return e.Notice != 0 && store.Notice(e.Notice) != store.NoticeDelayed
}

// perJob is how many recipients one transaction has at most (RFC 5321 §4.5.3.1.8: 100 are taken everywhere).
const perJob = 100

// lineup is what of the due entries is in memory: in lines by sender, so that one who sends much delays the others no more than one who sends
// little, and within them by destination, so that one which takes little delays no other. It is bounded; what has no room waits in the store.
type lineup struct {
	max     int // entries
	perDest int // jobs at once

	items   map[place]*item
	senders []uint64 // in the order of their turns
	lines   map[uint64]*line
	busy    map[uint64]int // jobs under way, by sender
	dests   destinations
}

// line is a sender's.
type line struct {
	n     int
	order []string // destinations, in the order of their turns
	of    map[string][]*item
}

// job is entries that are worked on together.
type job struct {
	items   []*item
	dest    string
	sender  uint64
	attempt bool // at the destination; not only a note that it rests
}

func newLineup(max, perDest int) *lineup {
	return &lineup{max: max, perDest: perDest, items: map[place]*item{}, lines: map[uint64]*line{}, busy: map[uint64]int{}, dests: destinations{}}
}

// has tells whether an entry is in it.
func (l *lineup) has(p place) bool { return l.items[p] != nil }

// waiting is how many entries of a sender wait for their turn.
func (l *lineup) waiting(sender uint64) int {
	if x := l.lines[sender]; x != nil {
		return x.n
	}
	return 0
}

// room tells whether a sender's line takes more: it may be as long as what is free. So one alone has half of the room, two have a third each,
// and there is always some for one more.
func (l *lineup) room(sender uint64) bool { return l.waiting(sender) < l.max-len(l.items) }

// low tells whether a sender's line should be filled again.
func (l *lineup) low(sender uint64) bool {
	return 2*l.waiting(sender) <= l.max-len(l.items) && l.room(sender)
}

// add puts an entry at the end of its line, in the place of what was known of it. What is worked on is looked at again at the end of that;
// for what has no room the answer is false.
func (l *lineup) add(e *storepb.QueueEntry, from, dest string) bool {
	if old := l.items[placeOf(e)]; old != nil {
		if old.active {
			old.told = true
			return true
		}
		l.drop(old)
	}
	it := &item{entry: e, from: from, sender: state.SenderHash(from), dest: dest}
	if !l.room(it.sender) {
		return false
	}
	l.items[placeOf(e)] = it
	l.queue(it)
	return true
}

// forget takes out an entry that has nothing to wait for now, and notes it for one that is worked on.
func (l *lineup) forget(p place) {
	it := l.items[p]
	switch {
	case it == nil:
	case it.active:
		it.told = true
	default:
		l.drop(it)
	}
}

// drop takes one that waits out of its line.
func (l *lineup) drop(it *item) {
	delete(l.items, placeOf(it.entry))
	x := l.lines[it.sender]
	var rest []*item
	for _, other := range x.of[it.dest] {
		if other != it {
			rest = append(rest, other)
		}
	}
	x.n--
	l.setLine(it.sender, x, it.dest, rest)
}

func (l *lineup) queue(it *item) {
	x := l.lines[it.sender]
	if x == nil {
		x = &line{of: map[string][]*item{}}
		l.lines[it.sender] = x
		l.senders = append(l.senders, it.sender)
	}
	if len(x.of[it.dest]) == 0 {
		x.order = append(x.order, it.dest)
	}
	x.of[it.dest] = append(x.of[it.dest], it)
	x.n++
}

// next takes the next job: entries of one destination that can be worked on together. free is how many jobs may begin. Nil: there is none now.
func (l *lineup) next(now time.Time, free int) *job {
	for range len(l.senders) {
		sender := l.senders[0]
		l.senders = append(l.senders[1:], sender)
		if l.busy[sender] >= 3*free { // one alone takes three quarters of all jobs: slow servers of a bulk run leave some to others
			continue
		}
		x := l.lines[sender]
		for range len(x.order) {
			name := x.order[0]
			x.order = append(x.order[1:], name)
			if l.dests.may(name, l.perDest, now) {
				return l.take(sender, x, name)
			}
		}
	}
	return nil
}

// take takes from a line what goes with its first entry for a destination.
func (l *lineup) take(sender uint64, x *line, name string) *job {
	first := x.of[name][0]
	j := &job{dest: name, sender: sender, attempt: true}
	var rest []*item
	for _, it := range x.of[name] {
		if len(j.items) < perJob && together(first, it) {
			it.active = true
			j.items = append(j.items, it)
			continue
		}
		rest = append(rest, it)
	}
	x.n -= len(j.items)
	l.setLine(sender, x, name, rest)
	l.dests.of(name).active++
	l.busy[sender]++
	return j
}

// together: recipients of one message go in one transaction; mailboxes are placed in batches whatever the message.
func together(a, b *item) bool { return a.dest == destLocal || a.entry.Message == b.entry.Message }

func (l *lineup) setLine(sender uint64, x *line, name string, rest []*item) {
	if len(rest) > 0 {
		x.of[name] = rest
		return
	}
	delete(x.of, name)
	x.order = without(x.order, name)
	if len(x.order) == 0 {
		delete(l.lines, sender)
		l.senders = without(l.senders, sender)
	}
}

func without[T comparable](list []T, s T) []T {
	out := list[:0]
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}

// done ends a job: its entries are forgotten. Whoever calls looks what became of them.
func (l *lineup) done(j *job) {
	for _, it := range j.items {
		delete(l.items, placeOf(it.entry))
	}
	if !j.attempt {
		return
	}
	if l.busy[j.sender]--; l.busy[j.sender] == 0 {
		delete(l.busy, j.sender)
	}
	l.dests.left(j.dest)
}

// takeAll takes the entries that wait for a destination, of all senders, to note that it rests; none: nil.
func (l *lineup) takeAll(name string) *job {
	j := &job{dest: name}
	for sender, x := range l.lines {
		list := x.of[name]
		if len(list) == 0 {
			continue
		}
		j.items = append(j.items, list...)
		x.n -= len(list)
		l.setLine(sender, x, name, nil)
	}
	for _, it := range j.items {
		it.active = true
	}
	if len(j.items) == 0 {
		return nil
	}
	return j
}
