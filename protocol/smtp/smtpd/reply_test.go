package smtpd

import (
	"errors"
	"fmt"
	"testing"

	"github.com/quorumail/quorumail/store"
)

// An error of unknown outcome may have any cause: what is answered must not be taken for a refusal.
func TestUnknownOutcomeCountsBeforeItsCause(t *testing.T) {
	for _, r := range replies {
		for _, err := range []error{errors.Join(r.err, store.ErrUnknownOutcome), fmt.Errorf("propose: %w: %w", store.ErrUnknownOutcome, r.err)} {
			if got := replyTo(err); got.Code != 451 || got.EnhancedCode != [3]int{4, 3, 0} {
				t.Errorf("%v: %d %v", err, got.Code, got.EnhancedCode)
			}
		}
	}
}
