package dsn

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

// Kind is what is told.
type Kind uint8

const (
	// Failed: the message was not delivered, and will not be.
	Failed Kind = iota + 1
	// Delayed: it was not delivered so far; attempts go on.
	Delayed
	// Delivered: it is in the mailbox.
	Delivered
	// Relayed: it was handed to a server that sends no notices.
	Relayed
	// Expanded: it went on to the members of a list.
	Expanded
	// DoubleBounce tells the postmaster that a notice could not be delivered. The recipients of such a Report are those whom the notice did
	// not reach.
	DoubleBounce
)

// action is the Action field (RFC 3464 §2.3.3).
func (k Kind) action() string {
	switch k {
	case Delayed:
		return "delayed"
	case Delivered:
		return "delivered"
	case Relayed:
		return "relayed"
	case Expanded:
		return "expanded"
	}
	return "failed"
}

// Wants tells whether the sender of a message wants to hear this of a recipient, by what NOTIFY said (RFC 3461 §4.1); if it did not say, of
// failures and delays (§5.2: a delay may, a success must not be told then). The null sender is never told anything, or two servers could
// answer each other for ever (RFC 5321 §4.5.5). A DoubleBounce is the postmaster's, and wanted whatever the sender said.
func Wants(sender smtp.Address, notify store.Notify, kind Kind) bool {
	switch {
	case kind == DoubleBounce:
		return true
	case sender.IsNull() || notify&store.NotifyNever != 0:
		return false
	case notify == 0:
		return kind == Failed || kind == Delayed
	case kind == Failed:
		return notify&store.NotifyFailure != 0
	case kind == Delayed:
		return notify&store.NotifyDelay != 0
	}
	return notify&store.NotifySuccess != 0
}

// Ret is how much of the message comes back (RFC 3461 §4.3).
type Ret uint8

const (
	// RetUnsaid leaves it to us: the whole message when it is small, else its header.
	RetUnsaid Ret = iota
	// RetFull asks for the whole message.
	RetFull
	// RetHeaders asks for its header.
	RetHeaders
)

// Limits.
const (
	// DefaultMaxOriginalBytes is Report.MaxOriginalBytes when it is 0.
	DefaultMaxOriginalBytes = 1 << 20
	// SmallOriginalBytes bounds what comes back whole when the sender did not say.
	SmallOriginalBytes = 64 << 10
	// MaxHeaderBytes bounds a header that comes back alone; fields behind it are left out.
	MaxHeaderBytes = 64 << 10
	// MaxRecipients bounds the recipients of one Report.
	MaxRecipients = 1000
	// maxTold bounds the recipients that the text for people lists.
	maxTold = 100
	// maxDiagnostic bounds what is quoted of another server, in bytes.
	maxDiagnostic = 1000
)

// ErrReport is wrapped by errors about a Report that says too little or what cannot be.
var ErrReport = errors.New("bad report")

// Report is what a notice tells.
type Report struct {
	// Kind decides the subject and the first words.
	Kind Kind
	// ReportingMTA is the host name of this node (RFC 3464 §2.2.2).
	ReportingMTA string
	// From is the address of the From field, the postmaster's; FromName is the name beside it, "Mail Delivery System" when empty.
	From     smtp.Address
	FromName string
	// To is the envelope sender of the message, or the postmaster for a DoubleBounce.
	To smtp.Address
	// EnvID is what ENVID said, decoded (RFC 3461 §4.4); "" for nothing.
	EnvID string
	// Ret is what RET said.
	Ret Ret
	// Arrival is when the message was accepted.
	Arrival time.Time
	// MessageID is the message's Message-ID with its angle brackets, "" if it has none.
	MessageID string
	// Subject is its subject, decoded.
	Subject string
	// Recipients are those that are told of: 1 to MaxRecipients.
	Recipients []Recipient
	// Original reads the message from its start, as it is stored. It is called twice. Nil leaves the third part out.
	Original func() (io.ReadCloser, error)
	// MaxOriginalBytes bounds a message that comes back whole.
	MaxOriginalBytes int64
	// Now is the time of the notice.
	Now time.Time
	// ID is the left part of the notice's Message-ID: letters, digits, dots and hyphens. It is unique for the ReportingMTA.
	ID string
}

// Recipient is what became of the message for one recipient.
type Recipient struct {
	// Final is the recipient as it stood in the envelope.
	Final smtp.Address
	// Original is what ORCPT said, decoded: "rfc822;an@example.org" (RFC 3461 §4.2); "" for nothing.
	Original string
	// Action is the Kind for this recipient if it is not the Report's.
	Action Kind
	// Status is an enhanced status code (RFC 3463). Empty, it is taken from the Diagnostic, or made up from the Action.
	Status string
	// RemoteMTA is the host that was tried, "" for none: what is told was found here.
	RemoteMTA string
	// Diagnostic is its answer, "550 5.1.1 no such user", lines separated by "\n"; or our own words for what went wrong. What has no reply code is
	// no answer of RemoteMTA's.
	Diagnostic string
	// LastAttempt is when that was; zero for unknown.
	LastAttempt time.Time
	// WillRetryUntil is when attempts end, for delays; zero for unknown.
	WillRetryUntil time.Time
}

// answered tells whether RemoteMTA said what is told.
func (to Recipient) answered() bool {
	return isHostText(to.RemoteMTA) && replyCode.MatchString(to.Diagnostic)
}

// NeedsUTF8 tells whether the notice can only travel with SMTPUTF8 (RFC 6531): it is addressed to somebody whose address is not ASCII.
func (r *Report) NeedsUTF8() bool { return r.To.NeedsUTF8() || r.From.NeedsUTF8() }

// actionOf is the kind for one recipient.
func (r *Report) actionOf(to Recipient) Kind {
	switch {
	case to.Action != 0:
		return to.Action
	case r.Kind == DoubleBounce:
		return Failed
	}
	return r.Kind
}

func (r *Report) check() error {
	switch {
	case r.Kind < Failed || r.Kind > DoubleBounce:
		return fmt.Errorf("%w: kind %d", ErrReport, r.Kind)
	case r.To.IsNull():
		return fmt.Errorf("%w: addressed to nobody", ErrReport)
	case r.From.IsNull() || r.ReportingMTA == "" || !isHostText(r.ReportingMTA):
		return fmt.Errorf("%w: no name for this site: From %q, ReportingMTA %q", ErrReport, r.From, r.ReportingMTA)
	case r.Now.IsZero() || r.ID == "" || strings.Trim(r.ID, idText) != "":
		return fmt.Errorf("%w: time %v, id %q", ErrReport, r.Now, r.ID)
	case len(r.Recipients) == 0 || len(r.Recipients) > MaxRecipients:
		return fmt.Errorf("%w: %d recipients, expected 1 to %d", ErrReport, len(r.Recipients), MaxRecipients)
	}
	for _, to := range r.Recipients {
		if to.Final.IsNull() || to.Action > Expanded {
			return fmt.Errorf("%w: recipient %q with action %d", ErrReport, to.Final, to.Action)
		}
	}
	return nil
}

const idText = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

// isHostText tells whether s can stand for a host in a field: a name or an address literal.
func isHostText(s string) bool {
	return s != "" && len(s) <= 255 && strings.Trim(s, idText+"_[]:") == ""
}
