package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// place tries to put messages into mailboxes that could not take them before.
func (m *Manager) place(ctx, writing context.Context, items []*item) error {
	var refs []*storepb.QueueRef
	for _, it := range items {
		refs = append(refs, refOf(it.entry))
	}
	codes, err := m.proposeCodes(ctx, len(refs), func(c *storepb.Command) {
		c.Op = &storepb.Command_QueuePlace{QueuePlace: &storepb.QueuePlace{Refs: refs, EnforceQuota: true}}
	})
	if err != nil {
		return fmt.Errorf("place %d messages: %w", len(refs), err)
	}
	var waiting []*item
	var outs []Outcome
	for i, it := range items {
		if out, settled := placed(state.CodeError(codes[i]), m.cfg.Policy().QuotaGrace); !settled {
			waiting, outs = append(waiting, it), append(outs, out)
		}
	}
	i := -1
	return m.writeAll(writing, m.decideAll(waiting, func(*item) Outcome { i++; return outs[i] }))
}

// placed is the outcome of a placing; settled: nothing is left to say.
func placed(err error, grace time.Duration) (out Outcome, settled bool) {
	switch {
	case err == nil, errors.Is(err, store.ErrConflict):
		return Outcome{}, true
	case errors.Is(err, store.ErrOverQuota):
		return Outcome{Result: store.AttemptDeferred, Code: 452, Status: "4.2.2", Reason: "the mailbox is full", GiveUpAfter: grace}, false
	case errors.Is(err, store.ErrUnavailable):
		return Outcome{Result: store.AttemptDeferred, Code: 450, Status: "4.2.1", Reason: "the account is suspended"}, false
	case errors.Is(err, store.ErrNotFound):
		return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.1.1", Reason: "there is no such mailbox any more"}, false
	}
	return Outcome{Result: store.AttemptFailed, Code: 554, Status: "5.3.0", Reason: "the mailbox cannot take it: " + err.Error()}, false
}
