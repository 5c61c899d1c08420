package smtpd

import (
	"context"
	"errors"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/store"
)

// reply makes an answer with an enhanced status code (RFC 3463).
func reply(code, class, subject, detail int, text string) *gosmtp.SMTPError {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{class, subject, detail}, Message: text}
}

// The errors of a session's own.
var (
	errBareLineEnd = errors.New("a line end that is not CRLF, or a NUL")
	errHeaderSize  = errors.New("header too large")
	errLoop        = errors.New("too many Received fields")
	errAliasLoop   = errors.New("an alias passed the message on before")
	errBody        = errors.New("the body did not arrive whole")
	errRate        = errors.New("too many messages or recipients lately")
	errNoMore      = errors.New("one message cannot carry this recipient as well")
	errGroupSize   = errors.New("an address that leads to more mailboxes than one message can carry")
)

// replies is the one table from errors to answers; the first that matches counts. An outcome that is not known is a temporary failure
// (store.ErrUnknownOutcome): the client may send again, which may double the message but never loses it.
var replies = []struct {
	err   error
	reply *gosmtp.SMTPError
}{
	// First: whatever else an error of unknown outcome wraps is no promise that nothing happened.
	{store.ErrUnknownOutcome, reply(451, 4, 3, 0, "It is not known whether the message was stored, try again later")},
	{errBody, reply(421, 4, 4, 2, "The message did not arrive whole, closing connection")},
	{errBareLineEnd, reply(550, 5, 6, 0, "Message has a bare CR, a bare LF or a NUL; lines end with CR LF (RFC 5321 2.3.8)")},
	{errHeaderSize, reply(552, 5, 3, 4, "Message header is too large")},
	{errLoop, reply(554, 5, 4, 6, "Mail loop: too many Received header fields")},
	{errRate, reply(450, 4, 7, 1, "Too much mail from you in too short a time, try again later")},
	{errAliasLoop, reply(554, 5, 4, 6, "Mail loop: an alias here passed this message on before")},
	{errNoMore, reply(452, 4, 5, 3, "Too many recipients, send the rest in a further message")}, // RFC 5321 §4.5.3.1.10; sayNoMore
	{errGroupSize, reply(550, 5, 5, 3, "This address leads to more mailboxes than one message can reach; its group must be split")},
	{ErrNotLocal, reply(550, 5, 7, 1, "Relay access denied")},
	{store.ErrNoSpace, reply(452, 4, 3, 1, "Not enough disk space, try again later")},
	{store.ErrOverQuota, reply(452, 4, 2, 2, "Mailbox is full")}, // as RCPT says: the sender keeps it, and tries again,
	{store.ErrTooLarge, reply(552, 5, 3, 4, "Message is too large")},
	{store.ErrNotFound, reply(550, 5, 1, 1, "No such mailbox here")},
	{store.ErrDenied, reply(550, 5, 7, 1, "Not allowed")},
	{store.ErrUnavailable, reply(451, 4, 3, 2, "Not accepting mail just now, try again later")},
	{store.ErrConflict, reply(451, 4, 3, 0, "Something changed meanwhile, try again")},
	{context.DeadlineExceeded, reply(451, 4, 3, 2, "That took too long, try again later")},
	{context.Canceled, reply(451, 4, 3, 2, "Shutting down, try again later")},
}

// replyTo finds the answer for an error. An unknown one is temporary: mail is not lost for a fault of ours.
func replyTo(err error) *gosmtp.SMTPError {
	var own *gosmtp.SMTPError
	if errors.As(err, &own) {
		return own
	}
	for _, r := range replies {
		if errors.Is(err, r.err) {
			return r.reply
		}
	}
	return reply(451, 4, 3, 0, "Internal error, try again later")
}

// result is an answer's label in metrics.
func result(err error) string {
	if err == nil {
		return "accepted"
	}
	switch code := replyTo(err).Code; {
	case code < 400:
		return "accepted"
	case code < 500:
		return "deferred"
	}
	return "refused"
}
