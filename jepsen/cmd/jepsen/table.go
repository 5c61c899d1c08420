package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
	"github.com/quorumail/quorumail/jepsen/history"
)

// printTable prints what a run showed: a line per checker, a line per kind of fault, and the violations.
func printTable(w io.Writer, h *history.History, results []checker.Result) {
	fmt.Fprintf(w, "\n%-14s %-8s %s\n", "checker", "verdict", "what it saw")
	for _, r := range results {
		if r.Verdict == checker.Nothing {
			continue
		}
		fmt.Fprintf(w, "%-14s %-8s %s\n", r.Checker, r.Verdict, facts(r))
	}
	printFaults(w, h)
	for _, r := range results {
		for i, v := range r.Violations {
			if i == 20 {
				fmt.Fprintf(w, "  ... and %d more, in %s\n", len(r.Violations)-i, resultsName)
				break
			}
			fmt.Fprintf(w, "  %s: %s at %v: %s\n", r.Checker, v.Kind, v.At.Round(time.Millisecond), v.Text)
		}
	}
}

// facts are counts and figures in one line.
func facts(r checker.Result) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(r.Counts)) {
		out = append(out, fmt.Sprintf("%s %d", k, r.Counts[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Figures)) {
		if strings.Contains(k, " gap, ") {
			continue // these have a table of their own
		}
		out = append(out, fmt.Sprintf("%s %v", k, r.Figures[k].Round(time.Millisecond)))
	}
	if r.Why != "" {
		out = append(out, r.Why)
	}
	return strings.Join(out, ", ")
}

// printFaults prints, per kind of fault, how long clients could not write.
func printFaults(w io.Writer, h *history.History) {
	printNotCaused(w, h)
	gaps := checker.Availability(h)
	spreads := checker.Quantiles(gaps)
	if len(spreads) == 0 {
		return
	}
	var total time.Duration
	for _, f := range h.Faults {
		total += f.End - f.Start
	}
	fmt.Fprintf(w, "\n%-44s %5s %11s %11s %11s %11s %7s  %s\n", "fault", "times", "median gap", "longest gap", "p99 before", "p99 during", "failed", "target")
	took := checker.Latencies(h) // sorted as the spreads are
	for i, s := range spreads {
		fmt.Fprintf(w, "%-44s %5d %11v %11v %11s %11s %7d  %s\n", s.Fault, s.Faults, s.Median.Round(time.Millisecond), s.Worst.Round(time.Millisecond),
			p99(took[i].Before), p99(took[i].During), s.FailedOps, aim(s))
	}
	fmt.Fprintf(w, "%v of faults in all; a gap is the longest time without an acknowledged write around a fault; p99 is of the durations of acknowledged writes, before\n"+
		"it and in it; failed are operations that failed although they were tried again; a target is of the gaps' median and longest on a quiet machine, * is missed\n", total.Round(time.Second))
}

// fewWrites have no p99 worth telling.
const fewWrites = 50

func p99(s checker.Spans) string {
	if s.Writes < fewWrites {
		return "-"
	}
	return s.P99.Round(100 * time.Microsecond).String()
}

// printNotCaused prints what a run was to cause and did not, and what went otherwise than planned: none of it is proven.
func printNotCaused(w io.Writer, h *history.History) {
	var never []string
	for _, name := range h.Run.Nemesis {
		if !slices.ContainsFunc(h.Faults, func(f history.Fault) bool { return f.Name == name }) {
			never = append(never, name)
		}
	}
	if len(never) > 0 {
		fmt.Fprintf(w, "\nfaults that were not caused: %s\n", strings.Join(never, ", "))
	}
	for _, f := range h.Faults {
		if f.Error != "" {
			fmt.Fprintf(w, "not as planned: %s at %v: %s\n", f.Name, f.Start.Round(time.Millisecond), f.Error)
		}
	}
}
