package checker

import "github.com/quorumail/quorumail/jepsen/history"

// Report makes what history.Page shows of the judgements and of the gaps that Availability found.
func Report(results []Result, gaps []Gap) history.Report {
	var r history.Report
	for _, res := range results {
		j := history.Judgement{Checker: res.Checker, Verdict: string(res.Verdict), Why: res.Why, Counts: res.Counts, Figures: res.Figures}
		for _, v := range res.Violations {
			j.Problems = append(j.Problems, history.Problem{Kind: v.Kind, Text: v.Text, At: v.At})
		}
		r.Judgements = append(r.Judgements, j)
	}
	for _, g := range gaps {
		r.Outages = append(r.Outages, history.Outage{Fault: g.Fault, Longest: g.Longest, Failed: g.FailedOps})
	}
	return r
}
