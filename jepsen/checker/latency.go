package checker

import (
	"cmp"
	"slices"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// settling is how long after the end of a fault writes are not yet taken for those of a quiet time: queues drain, caches fill.
const settling = time.Second

// Spans are the durations of successful writes, from the first byte to the acknowledgement.
type Spans struct {
	Writes   int
	P50, P99 time.Duration // 0 when there were none
}

// Latency compares the writes during all faults of one name with those of the quiet time before them.
type Latency struct {
	Fault  string
	Before Spans // since the end of any earlier fault, less a second, until this one began
	During Spans // under way at any moment between Start and End
}

// Latencies tells, for each kind of fault, how long successful writes took before and during it, sorted by its name. A write that fails, or
// of which nobody knows, is in neither: Availability counts these.
func Latencies(h *history.History) []Latency {
	type samples struct{ before, during []time.Duration }
	by := map[string]*samples{}
	for _, f := range h.Faults {
		s := by[f.Name]
		if s == nil {
			s = &samples{}
			by[f.Name] = s
		}
		quiet := quietBefore(h, f)
		for _, o := range h.Ops {
			if !isWrite(o.Kind) || o.Outcome != history.OK {
				continue
			}
			switch took := o.Return - o.Invoke; {
			case o.Invoke >= quiet && o.Return <= f.Start:
				s.before = append(s.before, took)
			case o.Return >= f.Start && o.Invoke <= f.End:
				s.during = append(s.during, took)
			}
		}
	}
	var all []Latency
	for name, s := range by {
		all = append(all, Latency{Fault: name, Before: spans(s.before), During: spans(s.during)})
	}
	slices.SortFunc(all, func(a, b Latency) int { return cmp.Compare(a.Fault, b.Fault) })
	return all
}

// quietBefore is since when no other fault has disturbed the writes, at the start of this one. It is after the start when one still does.
func quietBefore(h *history.History, f history.Fault) time.Duration {
	var since time.Duration
	for _, other := range h.Faults {
		if other.Start < f.Start {
			since = max(since, other.End+settling)
		}
	}
	return since
}

func spans(took []time.Duration) Spans {
	slices.Sort(took)
	return Spans{Writes: len(took), P50: quantile(took, 0.5), P99: quantile(took, 0.99)}
}
