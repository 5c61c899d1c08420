package filter

import (
	"context"
	"errors"
	"io"
	"net/netip"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Direction says where a message comes from and goes to.
type Direction uint8

const (
	// In is mail for our own mailboxes.
	In Direction = iota + 1
	// Out is mail for other sites.
	Out
)

// String is the direction as rules write it.
func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return "no direction"
}

// Message is what a check may know. It belongs to the caller, and checks do not change it.
type Message struct {
	// QueueID names the message in logs; "" when it has none yet.
	QueueID string
	// Client is the address that the message came from; the zero Addr for mail made on this node.
	Client netip.Addr
	// Helo is what the client called itself, as it wrote it.
	Helo string
	// From is the envelope sender, null for notifications.
	From smtp.Address
	// Recipients are those of the envelope.
	Recipients []smtp.Address
	// Account is whose login submitted the message, 0 for a stranger's.
	Account uint64
	// Direction tells which rules apply.
	Direction Direction
	// Open reads the content from its start, as it will be delivered. It may be called several times, one after the other. It may be nil
	// only for checks that need no content.
	Open func() (io.ReadCloser, error)
}

// Action is what becomes of a message. Actions are ordered by weight: of several the strongest wins.
type Action uint8

const (
	// Accept lets the message pass.
	Accept Action = iota
	// Tag lets it pass with fields on top.
	Tag
	// Tempfail refuses it for now (451).
	Tempfail
	// Hold takes it and keeps it in the queue until somebody releases it.
	Hold
	// Reject refuses it for good (550).
	Reject
)

// String is the action as the trace of a message tells it.
func (a Action) String() string {
	switch a {
	case Accept:
		return "accept"
	case Tag:
		return "tag"
	case Tempfail:
		return "tempfail"
	case Hold:
		return "hold"
	case Reject:
		return "reject"
	}
	return "unknown action"
}

// Verdict is what a check says of a message. The zero Verdict accepts it.
type Verdict struct {
	Action Action
	// Final tells that a rule allowed the message explicitly: later checks are not asked.
	Final bool
	// Headers are complete fields with CRLF, to be put on top of the message in this order whenever it is taken.
	Headers []string
	// Reply is the text behind "550 5.7.1" or "451 4.7.1"; printable ASCII. "" with other actions.
	Reply string
	// Rules are the ids of the rules that counted, in their order.
	Rules []string
}

// merge adds what the next check said.
func (v *Verdict) merge(next Verdict) {
	if next.Action > v.Action {
		v.Action, v.Reply = next.Action, next.Reply
	}
	v.Final = next.Final
	v.Headers = append(v.Headers, next.Headers...)
	v.Rules = append(v.Rules, next.Rules...)
}

// ErrUndecided is wrapped by errors of Check when the message could not be judged: time ran out or a check failed. The message must neither
// be delivered nor refused for good on that account.
var ErrUndecided = errors.New("not decided")

// ErrNoContent is wrapped by errors of Check when a check needs the content and Message.Open is nil.
var ErrNoContent = errors.New("the message has no content to look at")

// Checker is one check.
type Checker interface {
	// Check returns soon after ctx ends. With an error, the Verdict says only what is certain nevertheless.
	Check(ctx context.Context, m *Message) (Verdict, error)
	// NeedsContent tells whether Check may call Message.Open for messages of the direction.
	NeedsContent(d Direction) bool
}
