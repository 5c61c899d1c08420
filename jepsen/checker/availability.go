package checker

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// afterwards is how long after a fault a gap or a failed operation still counts as its effect.
const afterwards = 10 * time.Second

// Gap says how available the system was around one fault.
type Gap struct {
	Fault   history.Fault
	Longest time.Duration // without a successful write (delivery, APPEND, STORE, EXPUNGE, MOVE) by any client, in the fault and up to 10 s after, until the next fault
	// FailedOps counts what a client tried more than once in vain: the last Attempt is not OK.
	FailedOps int
	// NotRetried counts what was tried once, in vain.
	NotRetried int
}

// Spread sums up the gaps of all faults of one name.
type Spread struct {
	Fault                 string
	Faults                int
	Median, P99, Worst    time.Duration
	FailedOps, NotRetried int
}

// Availability finds the gap of every fault. The last element is that of the whole run, with an empty name.
func Availability(h *history.History) []Gap {
	ok, from, to := writes(h)
	failed := lastFailures(h)
	gaps := make([]Gap, 0, len(h.Faults)+1)
	for _, f := range h.Faults {
		gaps = append(gaps, gapOf(f, f.Start, until(h, f), ok, failed))
	}
	whole := gapOf(history.Fault{Start: from, End: to}, from, to, ok, failed)
	return append(gaps, whole)
}

// until is when the effects of a fault are over, for what is counted: 10 s after it, or when the next one begins.
func until(h *history.History, f history.Fault) time.Duration {
	end := f.End + afterwards
	for _, next := range h.Faults {
		if next.Start >= f.End {
			end = min(end, next.Start)
		}
	}
	return end
}

// Quantiles sums up gaps by the names of their faults, sorted by name. The whole run's is left out.
func Quantiles(gaps []Gap) []Spread {
	by := map[string][]Gap{}
	for _, g := range gaps {
		if g.Fault.Name != "" {
			by[g.Fault.Name] = append(by[g.Fault.Name], g)
		}
	}
	var all []Spread
	for name, gs := range by {
		s := Spread{Fault: name, Faults: len(gs)}
		var ts []time.Duration
		for _, g := range gs {
			ts = append(ts, g.Longest)
			s.FailedOps += g.FailedOps
			s.NotRetried += g.NotRetried
		}
		slices.Sort(ts)
		s.Median, s.P99, s.Worst = quantile(ts, 0.5), quantile(ts, 0.99), ts[len(ts)-1]
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Spread) int { return cmp.Compare(a.Fault, b.Fault) })
	return all
}

func isWrite(k history.Kind) bool {
	return slices.Contains([]history.Kind{history.Deliver, history.Append, history.Store, history.Expunge, history.Move, history.Accept}, k)
}

// writes are the times of successful writes, sorted, with the first invocation of any write before and the last return of any after them:
// while nobody writes there is no gap.
func writes(h *history.History) (ok []time.Duration, from, to time.Duration) {
	from = forever
	for _, o := range h.Ops {
		if !isWrite(o.Kind) {
			continue
		}
		from, to = min(from, o.Invoke), max(to, o.Return)
		if o.Outcome == history.OK {
			ok = append(ok, o.Return)
		}
	}
	if from == forever {
		return nil, 0, 0
	}
	ok = append(ok, from, to)
	slices.Sort(ok)
	return ok, from, to
}

// lastFailures are the operations that were not OK and that nobody tried again.
func lastFailures(h *history.History) []*history.Op {
	type key struct {
		workload string
		process  int
		kind     history.Kind
		box, id  string
		uid      uint32
		what     string
	}
	last := map[key]*history.Op{}
	var fs []*history.Op
	for i := range h.Ops {
		o := &h.Ops[i]
		k := key{o.Workload, o.Process, o.Kind, o.Box, o.ID, o.UID, o.Flag + " " + o.Value + " " + o.Dest}
		if o.Kind == history.Deliver || o.Kind == history.Accept {
			k.what = o.Dest // its Value is what it was told
		}
		switch {
		case o.Outcome == history.OK:
			if o.Attempt > 1 {
				delete(last, k)
			}
		case o.Kind != history.Login && o.Kind != history.Sink && o.Kind != history.Delete:
			if old := last[k]; old != nil && o.Attempt <= 1 { // the same thing again, but no retry
				fs = append(fs, old)
			}
			last[k] = o
		}
	}
	for _, o := range last {
		fs = append(fs, o)
	}
	return fs
}

func gapOf(f history.Fault, from, to time.Duration, ok []time.Duration, failed []*history.Op) Gap {
	g := Gap{Fault: f}
	for i := sort.Search(len(ok), func(i int) bool { return ok[i] > from }); i < len(ok); i++ {
		if i > 0 {
			g.Longest = max(g.Longest, ok[i]-ok[i-1])
		}
		if ok[i] >= to {
			break
		}
	}
	for _, o := range failed {
		switch {
		case o.Invoke > to || o.Return < from:
		case o.Attempt > 1:
			g.FailedOps++
		default:
			g.NotRetried++
		}
	}
	return g
}

// availability puts the gaps into figures. It is never Failed: what is too long is for whoever reads the table to say.
func availability(h *history.History) Result {
	gaps := Availability(h)
	whole := gaps[len(gaps)-1]
	f := &findings{}
	r := f.result("availability", int(whole.Fault.End-whole.Fault.Start), "", map[string]int{
		"faults": len(h.Faults), "failed after retry": whole.FailedOps, "failed without retry": whole.NotRetried})
	r.Figures = map[string]time.Duration{"longest gap": whole.Longest}
	for _, s := range Quantiles(gaps) {
		r.Figures["median gap, "+s.Fault], r.Figures["worst gap, "+s.Fault] = s.Median, s.Worst
	}
	return r
}
