package checker

import (
	"cmp"
	"slices"
	"time"
)

// span is something that a sweep passes: first its beginning, then its end.
type span struct {
	invoke, ret time.Duration
	begin       func() // may judge by what had ended before
	end         func() // adds to what is known
}

// sweep calls the functions in real-time order. What ends at the very moment at which something else begins counts as concurrent.
func sweep(spans []span) {
	type edge struct {
		at  time.Duration
		end bool
		f   func()
	}
	edges := make([]edge, 0, 2*len(spans))
	for _, s := range spans {
		if s.begin != nil {
			edges = append(edges, edge{s.invoke, false, s.begin})
		}
		if s.end != nil {
			edges = append(edges, edge{s.ret, true, s.end})
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		if c := cmp.Compare(a.at, b.at); c != 0 || a.end == b.end {
			return c
		} else if b.end {
			return -1
		}
		return 1
	})
	for _, e := range edges {
		e.f()
	}
}
