package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

var start = time.Unix(1_800_000_000, 0)

func entryTo(message uint64, number uint32, address string) *storepb.QueueEntry {
	return &storepb.QueueEntry{Message: message, Number: number, Queue: uint32(store.QueueRemote), Address: address}
}

func (l *lineup) put(e *storepb.QueueEntry, from string) bool {
	return l.add(e, from, destOf(e, start, strings.ToLower))
}

func TestSendersTakeTurns(t *testing.T) {
	l := newLineup(10_000, 1000)
	for i := range uint64(100) {
		l.put(entryTo(1+i, 1, "x@far.test"), "bulk@here.test")
	}
	l.put(entryTo(200, 1, "x@far.test"), "an@here.test")
	l.put(entryTo(201, 1, "x@far.test"), "binh@here.test")
	var order []string
	for range 4 {
		order = append(order, l.next(start, 1000).items[0].from)
	}
	if fmt.Sprint(order) != "[bulk@here.test an@here.test binh@here.test bulk@here.test]" {
		t.Errorf("the turns are %v", order)
	}
}

func TestOneSenderLeavesRoomForOthers(t *testing.T) {
	l := newLineup(1000, 10)
	n := uint64(0)
	for ; l.put(entryTo(1+n, 1, "x@far.test"), "bulk@here.test"); n++ {
	}
	if n != 500 {
		t.Errorf("one sender alone has %d of 1000 places, want half", n)
	}
	for s := range 200 {
		if !l.put(entryTo(10_000+uint64(s), 1, "x@far.test"), fmt.Sprint(s)) {
			t.Fatalf("sender %d finds no room", s)
		}
	}
	if l.low(state.SenderHash("bulk@here.test")) {
		t.Error("a line that is longer than what is free is said to need more")
	}
}

func TestSlowBulkRunLeavesJobsToOthers(t *testing.T) {
	const jobs = 100
	l, running := newLineup(10_000, 10), 0
	for i := range uint64(1000) {
		l.put(entryTo(1+i, 1, fmt.Sprintf("x@slow%d.test", i)), "bulk@here.test")
	}
	begin := func() *job {
		j := l.next(start, jobs-running)
		if j != nil {
			running++
		}
		return j
	}
	for begin() != nil {
	}
	if running != 75 {
		t.Errorf("a bulk run alone has %d of %d jobs", running, jobs)
	}
	l.put(entryTo(5000, 1, "x@far.test"), "an@here.test")
	if j := begin(); j == nil || j.items[0].from != "an@here.test" {
		t.Errorf("another sender's job is %v", j)
	}
}

func TestDestinationHasItsLimitAndDelaysNoOther(t *testing.T) {
	l := newLineup(10_000, 3)
	for i := range uint64(20) {
		l.put(entryTo(1+i, 1, "x@far.test"), "an@here.test")
	}
	l.put(entryTo(100, 1, "x@near.test"), "an@here.test")
	at := map[string]int{}
	var far *job
	for j := l.next(start, 100); j != nil; j = l.next(start, 100) {
		if at[j.dest]++; j.dest == "far.test" {
			far = j
		}
	}
	if at["far.test"] != 3 || at["near.test"] != 1 {
		t.Errorf("jobs by destination: %v, want 3 and 1", at)
	}
	l.done(far)
	if j := l.next(start, 100); j == nil || j.dest != "far.test" {
		t.Errorf("after one ended the next is %v", j)
	}
}

func TestFailingDestinationIsProbedByOneJob(t *testing.T) {
	l := newLineup(100, 5)
	for i := range uint64(10) {
		l.put(entryTo(1+i, 1, "x@far.test"), "an@here.test")
	}
	first, second := l.next(start, 100), l.next(start, 100)
	l.dests.unreachable("far.test", "refused", start)
	l.done(first)
	if j := l.next(start, 100); j != nil {
		t.Error("a job began at a destination that rests")
	}
	until, reason, rests := l.dests.rests("far.test", start)
	if !rests || reason != "refused" {
		t.Fatalf("it does not rest: %v %q", until, reason)
	}
	if j := l.next(until, 100); j != nil {
		t.Error("it is probed while a job of before is under way")
	}
	l.done(second)
	probe := l.next(until, 100)
	if probe == nil || l.next(until, 100) != nil {
		t.Error("want one probe, and no more")
	}
	l.dests.reached("far.test")
	l.done(probe)
	if len(l.dests) != 0 {
		t.Errorf("what answered is still remembered: %v", l.dests)
	}
	n := 0
	for l.next(until, 100) != nil {
		n++
	}
	if n != 5 {
		t.Errorf("after it answered %d jobs began, want 5", n)
	}
}

func TestRestsGetLonger(t *testing.T) {
	d, now, last := destinations{}, start, time.Duration(0)
	for i := range 12 {
		d.unreachable("far.test", "refused", now)
		until, _, _ := d.rests("far.test", now)
		if rest := until.Sub(now); i < 6 && rest <= last || rest > 33*time.Minute {
			t.Errorf("rest %d is %s after %s", i, rest, last)
		} else {
			last = rest
		}
		now = until
	}
}

func TestFailingDestinationsAreForgotten(t *testing.T) {
	d := destinations{}
	for i := range 5 * maxDestinations {
		d.unreachable(fmt.Sprint(i), "refused", start)
	}
	if len(d) > maxDestinations {
		t.Errorf("%d destinations are remembered", len(d))
	}
}

func TestRecipientsOfOneMessageGoTogether(t *testing.T) {
	l := newLineup(10_000, 5)
	for n := range uint32(250) {
		l.put(entryTo(1, 1+n, "x@far.test"), "an@here.test")
	}
	l.put(entryTo(2, 1, "x@far.test"), "an@here.test")
	for _, want := range []int{100, 100, 50, 1} {
		if j := l.next(start, 100); len(j.items) != want {
			t.Errorf("a job of %d recipients, want %d", len(j.items), want)
		}
	}
}

func TestEntryThatChangesWhileItWaitsTakesItsNewPlace(t *testing.T) {
	l := newLineup(100, 5)
	l.put(entryTo(1, 1, "x@far.test"), "an@here.test")
	e := entryTo(1, 1, "x@far.test")
	e.Notice = uint32(store.NoticeFailed)
	l.put(e, "an@here.test")
	j := l.next(start, 100)
	if j.dest != destNotice || j.items[0].entry != e || l.next(start, 100) != nil {
		t.Errorf("the job is %v", j)
	}
	l.put(entryTo(1, 1, "x@far.test"), "an@here.test")
	if !j.items[0].told || l.next(start, 100) != nil {
		t.Error("a change during the work is not noted, or begins another job")
	}
}

func TestAllThatWaitsForADestinationIsTakenAtOnce(t *testing.T) {
	l := newLineup(100, 5)
	for i := range uint64(9) {
		l.put(entryTo(1+i, 1, []string{"x@far.test", "x@near.test"}[i%2]), fmt.Sprint("s", i%3))
	}
	if j := l.takeAll("far.test"); len(j.items) != 5 || j.attempt {
		t.Errorf("taken are %v", j)
	}
	if l.takeAll("far.test") != nil {
		t.Error("it was taken twice")
	}
	n := 0
	for j := l.next(start, 100); j != nil; j = l.next(start, 100) {
		n += len(j.items)
	}
	if n != 4 {
		t.Errorf("%d are left for the other destination, want 4", n)
	}
}

// Whatever is added, changed, taken and ended in whatever order: nothing is lost, nothing is handed out twice, and the limits hold.
func TestLineupLosesNothing(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := model{t: t, seed: seed, l: newLineup(60, 3), now: start, in: map[place]bool{}, out: map[place]bool{}}
		for range 3000 {
			m.step(r)
		}
		m.drain()
	}
}

type model struct {
	t    *testing.T
	seed uint64
	l    *lineup
	now  time.Time
	in   map[place]bool // wait
	out  map[place]bool // worked on
	jobs []*job
}

func (m *model) step(r *rand.Rand) {
	switch r.IntN(8) {
	case 0, 1, 2:
		msg := 1 + r.Uint64N(100)
		e := entryTo(msg, 1+r.Uint32N(3), fmt.Sprintf("x@d%d.test", r.IntN(5)))
		p, from := placeOf(e), fmt.Sprint("s", msg%7)
		if m.l.put(e, from) {
			if !m.out[p] {
				m.in[p] = true
			}
		} else {
			delete(m.in, p)
		}
	case 3:
		p := place{1 + r.Uint64N(100), 1 + r.Uint32N(3)}
		m.l.forget(p)
		delete(m.in, p)
	case 4, 5:
		m.take(m.l.next(m.now, 20-len(m.jobs)))
	case 6:
		m.take(m.l.takeAll(fmt.Sprintf("d%d.test", r.IntN(5))))
	case 7:
		m.end(r)
		m.now = m.now.Add(time.Duration(r.IntN(60)) * time.Second)
	}
	if len(m.l.items) != len(m.in)+len(m.out) || len(m.l.items) > m.l.max {
		m.t.Fatalf("seed %d: %d in the line-up, want %d waiting and %d worked on", m.seed, len(m.l.items), len(m.in), len(m.out))
	}
}

func (m *model) take(j *job) {
	if j == nil {
		return
	}
	m.jobs = append(m.jobs, j)
	for _, it := range j.items {
		p := placeOf(it.entry)
		if !m.in[p] || m.out[p] {
			m.t.Fatalf("seed %d: %v is handed out, and waits: %v, is worked on: %v", m.seed, p, m.in[p], m.out[p])
		}
		delete(m.in, p)
		m.out[p] = true
	}
	active := map[string]int{}
	for _, j := range m.jobs {
		if j.attempt {
			active[j.dest]++
		}
	}
	if active[j.dest] > m.l.perDest {
		m.t.Fatalf("seed %d: %d jobs at %s", m.seed, active[j.dest], j.dest)
	}
}

func (m *model) end(r *rand.Rand) {
	if len(m.jobs) == 0 {
		return
	}
	i := r.IntN(len(m.jobs))
	j := m.jobs[i]
	m.jobs = append(m.jobs[:i], m.jobs[i+1:]...)
	switch {
	case !j.attempt:
	case r.IntN(3) == 0:
		m.l.dests.unreachable(j.dest, "refused", m.now)
	default:
		m.l.dests.reached(j.dest)
	}
	m.l.done(j)
	for _, it := range j.items {
		delete(m.out, placeOf(it.entry))
	}
}

// drain works on until nothing is left: nothing may be stuck.
func (m *model) drain() {
	r := rand.New(rand.NewPCG(m.seed, 8))
	for i := 0; len(m.in)+len(m.out) > 0; i++ {
		m.now = m.now.Add(time.Hour)
		m.take(m.l.next(m.now, 20))
		m.end(r)
		if i > 10_000 {
			m.t.Fatalf("seed %d: %d are stuck", m.seed, len(m.in))
		}
	}
	if len(m.l.lines)+len(m.l.senders)+len(m.l.busy) != 0 {
		m.t.Errorf("seed %d: empty lines are left: %v %v %v", m.seed, m.l.lines, m.l.senders, m.l.busy)
	}
}
