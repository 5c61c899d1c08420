package smtpd

import (
	"errors"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// placement is what became of a message's targets.
type placement struct {
	index  map[store.AccountID]int // of the account's target
	placed []*storepb.PlacedMessage
}

// account is nil when the account has the message.
func (p *placement) account(id store.AccountID) error {
	i, ok := p.index[id]
	if !ok || i >= len(p.placed) {
		return store.ErrUnknownOutcome // the store said less than it must
	}
	return state.ResultError(&storepb.Result{Code: p.placed[i].GetCode()})
}

// whole is nil when anybody has the message: a single reply cannot say more, and who was not reached can only be an account that was
// removed since its RCPT.
func (p *placement) whole() error {
	var first error
	for id := range p.index {
		err := p.account(id)
		if err == nil {
			return nil
		}
		if first == nil || errors.Is(err, store.ErrUnknownOutcome) {
			first = err
		}
	}
	return first
}

// of is nil when any of those behind the recipient has the message.
func (p *placement) of(r recipient) error {
	var first error
	for _, box := range r.boxes {
		err := p.account(box.Account)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
