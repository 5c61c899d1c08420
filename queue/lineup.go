package queue

import (
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// place names an entry.
type place struct {
	message uint64
	number  uint32
}

func placeOf(e *storepb.QueueEntry) place { return place{e.Message, e.Number} }

// item is an entry that is due, or worked on.
type item struct {
	entry  *storepb.QueueEntry
	sender string
	dest   string // a domain, or what else the work is done by
	active bool
	next   *storepb.QueueEntry // what became of it while it was worked on; nil: nothing that is known
}

// Destinations that are no domains: domains have no spaces.
const (
	destIn     = " in"
	destLocal  = " local"
	destNotice = " notice"
)

// destOf is what an entry waits for next.
func destOf(e *storepb.QueueEntry) string {
	switch {
	case e.Notice != 0:
		return destNotice
	case store.Queue(e.Queue) == store.QueueIn:
		return destIn
	case store.Queue(e.Queue) == store.QueueLocal:
		return destLocal
	}
	return domainOf(e.Address)
}

// destination is what is known of one lately.
type destination struct {
	active   int
	failures int // in a row, of reaching it
	until    time.Time
	reason   string
}

// lineup is what of the due entries is in memory: in lines by sender, so that one who sends much delays the others no more than one who sends
// little, and within them by destination, so that one which takes little delays no other. It is bounded; what has no room waits in the store.
type lineup struct {
	max, maxSender int // entries in all and of one sender
	perDest        int // jobs at once
	perJob         int // recipients of one transaction

	items   map[place]*item
	senders []string // in the order of their turns
	lines   map[string]*line
	dests   map[string]*destination
}

// line is a sender's.
type line struct {
	n     int
	order []string // destinations, in the order of their turns
	of    map[string][]*item
}

func newLineup(max, perDest int) *lineup {
	return &lineup{max: max, maxSender: max / 5, perDest: perDest, perJob: 100, items: map[place]*item{}, lines: map[string]*line{}, dests: map[string]*destination{}}
}

// full tells whether nothing more goes in.
func (l *lineup) full() bool { return len(l.items) >= l.max }

// has tells whether an entry is in it.
func (l *lineup) has(p place) bool { return l.items[p] != nil }

// room tells whether a sender's line takes more.
func (l *lineup) room(sender string) bool {
	x := l.lines[sender]
	return !l.full() && (x == nil || x.n < l.maxSender)
}

// add puts an entry at the end of its line, in the place of what was known of it. What is worked on is kept for the end of that; what has
// no room is left out.
func (l *lineup) add(e *storepb.QueueEntry, sender string) bool {
	if old := l.items[placeOf(e)]; old != nil {
		if old.active {
			old.next = e
			return true
		}
		l.drop(old)
	}
	if !l.room(sender) {
		return false
	}
	it := &item{entry: e, sender: sender, dest: destOf(e)}
	l.items[placeOf(e)] = it
	l.queue(it)
	return true
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

func (l *lineup) dest(name string) *destination {
	d := l.dests[name]
	if d == nil {
		d = &destination{}
		l.dests[name] = d
	}
	return d
}

// next takes the next job: entries of one destination that can be worked on together. Nil: there is none now.
func (l *lineup) next(now time.Time) []*item {
	for range len(l.senders) {
		sender := l.senders[0]
		l.senders = append(l.senders[1:], sender)
		x := l.lines[sender]
		for range len(x.order) {
			name := x.order[0]
			x.order = append(x.order[1:], name)
			if d := l.dest(name); d.active < l.most(d) && !now.Before(d.until) {
				return l.take(sender, x, name)
			}
		}
	}
	return nil
}

// most is how many jobs a destination gets at once: one, as long as it is not known to answer again.
func (l *lineup) most(d *destination) int {
	if d.failures > 0 {
		return 1
	}
	return l.perDest
}

// take takes from a line what goes with its first entry for a destination.
func (l *lineup) take(sender string, x *line, name string) []*item {
	first := x.of[name][0]
	var job, rest []*item
	for _, it := range x.of[name] {
		if len(job) < l.perJob && together(first, it) {
			it.active = true
			job = append(job, it)
			continue
		}
		rest = append(rest, it)
	}
	x.n -= len(job)
	l.setLine(sender, x, name, rest)
	l.dest(name).active++
	return job
}

// together: recipients of one message go in one transaction; mailboxes are placed in batches whatever the message.
func together(a, b *item) bool { return a.dest == destLocal || a.entry.Message == b.entry.Message }

func (l *lineup) setLine(sender string, x *line, name string, rest []*item) {
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

func without(list []string, s string) []string {
	out := list[:0]
	for _, x := range list {
		if x != s {
			out = append(out, x)
		}
	}
	return out
}

// done ends a job: its entries are forgotten, and found again when they are due again. It returns those of which more is known.
func (l *lineup) done(job []*item) (next []*storepb.QueueEntry) {
	for _, it := range job {
		delete(l.items, placeOf(it.entry))
		if it.next != nil {
			next = append(next, it.next)
		}
	}
	d := l.dest(job[0].dest)
	if d.active--; d.active == 0 && d.failures == 0 {
		delete(l.dests, job[0].dest)
	}
	return next
}

// reached notes that a destination answered.
func (l *lineup) reached(name string) {
	if d := l.dests[name]; d != nil {
		d.failures, d.until = 0, time.Time{}
	}
}

// unreachable notes that a destination cannot be reached: it rests, longer each time.
func (l *lineup) unreachable(name, reason string, now time.Time) {
	d := l.dest(name)
	if now.Before(d.until) {
		return // another job has said so already
	}
	d.failures++
	d.until, d.reason = now.Add(hostBackOff(d.failures, seedOfText(name))), clip(reason, 900)
}

// resting are the destinations that are left alone now.
func (l *lineup) resting(now time.Time) map[string]*destination {
	out := map[string]*destination{}
	for name, d := range l.dests {
		if now.Before(d.until) {
			out[name] = d
		}
	}
	return out
}

// takeAll takes the entries that wait for a destination, of all senders, as one job; none: nil.
func (l *lineup) takeAll(name string) (job []*item) {
	for sender, x := range l.lines {
		list := x.of[name]
		if len(list) == 0 {
			continue
		}
		job = append(job, list...)
		x.n -= len(list)
		l.setLine(sender, x, name, nil)
	}
	for _, it := range job {
		it.active = true
	}
	if len(job) > 0 {
		l.dest(name).active++
	}
	return job
}

// forget drops destinations that answered long ago, or never will.
func (l *lineup) forget(now time.Time) {
	for name, d := range l.dests {
		if d.active == 0 && now.Sub(d.until) > time.Hour {
			delete(l.dests, name)
		}
	}
}
