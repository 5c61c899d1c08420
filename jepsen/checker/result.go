package checker

import "time"

// Verdict is what a checker found.
type Verdict string

const (
	Passed  Verdict = "passed"  // it looked at something, and all was well
	Failed  Verdict = "failed"  // a promise was broken
	Unsure  Verdict = "unknown" // it ran out of time, or there was too much that no client knows
	Nothing Verdict = "nothing" // the history has nothing that it looks at
)

// Violation is one broken promise.
type Violation struct {
	Kind string        `json:"kind"` // such as "lost", "duplicated", "uid reused"
	At   time.Duration `json:"at"`   // about when
	Text string        `json:"text"` // which message, mailbox, nodes: all that one needs to find it in the history
}

// Result is one checker's judgement.
type Result struct {
	Checker    string                   `json:"checker"`
	Verdict    Verdict                  `json:"verdict"`
	Why        string                   `json:"why,omitempty"`        // of Unsure
	Violations []Violation              `json:"violations,omitempty"` // the first hundred of each kind
	Counts     map[string]int           `json:"counts,omitempty"`     // such as "acknowledged", "lost"
	Figures    map[string]time.Duration `json:"figures,omitempty"`    // such as "visible p99"
}
