package checker

import (
	"fmt"
	"sort"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Options says how much work the checkers may do.
type Options struct {
	Porcupine time.Duration // how long the linearizability checker may search, in all; 60 s when it is 0
}

// All runs every checker over a history. A checker that knows none of its operations says Nothing.
func All(h *history.History, o Options) []Result {
	x := newIndex(h)
	return []Result{
		deliver(x), imap(x), linearizable(x, o), session(x), pop3(x), Queue(h), Resend(h), Accounts(h), Hashes(h), Bodies(h), Logs(h), Recovery(h), availability(h),
	}
}

// shown is how many violations of one kind a Result lists; the rest are only counted.
const shown = 100

// findings collects the violations of one checker.
type findings struct {
	list  []Violation
	count map[string]int // by kind, those that are not listed too
}

func (f *findings) add(kind string, at time.Duration, format string, args ...any) {
	if f.count == nil {
		f.count = map[string]int{}
	}
	f.count[kind]++
	if f.count[kind] <= shown {
		f.list = append(f.list, Violation{Kind: kind, At: at, Text: fmt.Sprintf(format, args...)})
	}
}

// result makes the judgement of a checker that looked at some number of things. Why, when it is not empty, says why the checker cannot say
// that all is well.
func (f *findings) result(name string, looked int, why string, counts map[string]int) Result {
	r := Result{Checker: name, Verdict: Passed, Why: why, Violations: f.list, Counts: map[string]int{}}
	for k, n := range counts {
		r.Counts[k] = n
	}
	for k, n := range f.count {
		r.Counts[k] = n
	}
	switch {
	case len(f.list) > 0:
		r.Verdict = Failed
	case why != "":
		r.Verdict = Unsure
	case looked == 0:
		r.Verdict = Nothing
	}
	sort.SliceStable(r.Violations, func(i, j int) bool { return r.Violations[i].At < r.Violations[j].At })
	return r
}

// at writes a time of a run for people.
func at(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

// quantile of sorted durations, by the nearest rank.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
