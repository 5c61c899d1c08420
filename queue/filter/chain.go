package filter

import (
	"context"
	"errors"
	"fmt"
)

// Chain asks checks one after the other. It is a Checker itself.
type Chain []Checker

// Check merges what the checks say: the strongest action and its reply, all headers, all rules. It ends early when a check rejects, because
// nothing is stronger, and when a rule allows the message explicitly. A check that fails does not keep the others from being asked, for one
// of them may reject; if none does, the error wraps ErrUndecided, and so it is when ctx ends before the last check was asked.
func (c Chain) Check(ctx context.Context, m *Message) (Verdict, error) {
	var all Verdict
	var failed []error
	for i, checker := range c {
		if err := ctx.Err(); err != nil {
			failed = append(failed, fmt.Errorf("%d of %d checks asked: %w", i, len(c), err))
			break
		}
		v, err := checker.Check(ctx, m)
		if err != nil {
			failed = append(failed, err)
		}
		all.merge(v)
		if all.Action == Reject {
			return all, nil
		}
		if all.Final {
			break
		}
	}
	if len(failed) > 0 {
		return all, fmt.Errorf("check message %s: %w: %w", m.QueueID, ErrUndecided, errors.Join(failed...))
	}
	return all, nil
}

// NeedsContent tells whether one of the checks does.
func (c Chain) NeedsContent(d Direction) bool {
	for _, checker := range c {
		if checker.NeedsContent(d) {
			return true
		}
	}
	return false
}
