package main

import (
	"fmt"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
)

// target is how long clients may be unable to write after a fault, at most: in the median of several, and ever. 0: none was set.
type target struct{ median, worst time.Duration }

// targets are for a machine with nothing else to do; a run tells which were missed, and fails for none: a busy machine is no broken promise.
var targets = map[string]target{
	"kill leader":               {time.Second, 2 * time.Second},
	"pause leader":              {1500 * time.Millisecond, 3 * time.Second},
	"isolate leader":            {1500 * time.Millisecond, 3 * time.Second},
	"isolate leader from peers": {1500 * time.Millisecond, 3 * time.Second},
	"leader's log hangs":        {4500 * time.Millisecond, 6 * time.Second},
	"leader's disk hangs":       {4500 * time.Millisecond, 6 * time.Second},
	"restart one":               {worst: 200 * time.Millisecond},
	"restart leader":            {worst: 200 * time.Millisecond},
	"rolling restart":           {worst: 200 * time.Millisecond},
	"power loss of all":         {worst: 10 * time.Second},
}

// aim is the target of a kind of fault in words, with a star when it was missed; "" for none.
func aim(s checker.Spread) string {
	t, ok := targets[s.Fault]
	if !ok {
		return ""
	}
	text := fmt.Sprint(t.worst)
	if t.median > 0 {
		text = fmt.Sprintf("%v, %v", t.median, t.worst)
	}
	if s.Worst > t.worst || t.median > 0 && s.Median > t.median {
		text += " *"
	}
	return text
}
