package smtpd

import (
	"errors"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// placement is what became of a message's recipients.
type placement struct {
	sorter
	queueID string // of the message as it was taken, which may have been an earlier time
	again   bool   // it was: the client did not hear so
	later   bool   // all of it waits to be judged
	placed  []*storepb.PlacedMessage
}

// said is the text of the reply to these recipients: the queue id, by which the sender's administrators ask for the message, and whether it is
// in its mailboxes.
func (p *placement) said(recipients ...recipient) string {
	if p.waits(recipients) {
		return p.queueID + " queued"
	}
	return p.queueID + " delivered"
}

func (p *placement) waits(recipients []recipient) bool {
	if p.later {
		return true
	}
	for _, r := range recipients {
		for _, box := range r.boxes {
			if box.Remote || p.waiting[box.Account] {
				return true
			}
		}
	}
	return false
}

// box is nil when the message is where it should be for one of those behind a recipient.
func (p *placement) box(b state.Recipient) error {
	if p.later || b.Remote || p.waiting[b.Account] {
		return nil // it waits, and that is as durable
	}
	return p.account(b.Account)
}

// account is nil when the account has the message.
func (p *placement) account(id store.AccountID) error {
	i, ok := p.index[id]
	if p.again && ok && i >= len(p.placed) {
		return nil // it had the message before
	}
	if !ok || i >= len(p.placed) {
		return store.ErrUnknownOutcome // the store said less than it must
	}
	return state.ResultError(&storepb.Result{Code: p.placed[i].GetCode()})
}

// whole is nil when anybody has the message: a single reply cannot say more, and who was not reached can only be an account that was
// removed since its RCPT.
func (p *placement) whole() error {
	if p.later || len(p.waiting)+len(p.remote) > 0 {
		return nil
	}
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
		err := p.box(box)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
