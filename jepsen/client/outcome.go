package client

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/jepsen/history"
)

// OpError is an operation that was not acknowledged.
type OpError struct {
	Outcome history.Outcome // Fail or Unknown
	Auth    bool            // the server says that the credentials are wrong
	Err     error
}

// Error is the cause's text; that of wrong credentials, and of nothing else, begins with "auth:".
func (e *OpError) Error() string {
	if e.Auth {
		return "auth: " + e.Err.Error()
	}
	return e.Err.Error()
}

func (e *OpError) Unwrap() error { return e.Err }

// Outcome is what an error of this package's operations says of them; OK for nil.
func Outcome(err error) history.Outcome {
	var op *OpError
	switch {
	case err == nil:
		return history.OK
	case errors.As(err, &op):
		return op.Outcome
	}
	return history.Unknown
}

// IsAuth tells whether the server said that the credentials are wrong.
func IsAuth(err error) bool {
	var op *OpError
	return errors.As(err, &op) && op.Auth
}

// IsRefusal tells whether the server answered, and the answer was no.
func IsRefusal(err error) bool {
	var mail *gosmtp.SMTPError
	var mailbox *imap.Error
	var admin *AdminError
	var pop *POP3Error
	return errors.As(err, &mail) || errors.As(err, &mailbox) || errors.As(err, &admin) || errors.As(err, &pop)
}

// failed makes an error of what cannot have happened.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &OpError{Outcome: history.Fail, Err: err}
}

// judge makes an error of what came instead of an acknowledgement. sent tells whether the last byte of the command that does it was handed
// to the network whole: before that nothing can have happened.
func judge(err error, sent bool) error {
	if err == nil {
		return nil
	}
	if !sent {
		return failed(err)
	}
	return &OpError{Outcome: answered(err), Err: err}
}

// answered is what an answer, or its absence, says of a command that was sent whole.
func answered(err error) history.Outcome {
	var mail *gosmtp.SMTPError
	var mailbox *imap.Error
	var admin *AdminError
	var pop *POP3Error
	switch {
	case errors.As(err, &mail):
		return smtpOutcome(mail)
	case errors.As(err, &mailbox):
		return imapOutcome(mailbox)
	case errors.As(err, &admin):
		return adminOutcome(admin.Status)
	case errors.As(err, &pop):
		return popOutcome(pop)
	}
	return history.Unknown // a deadline, a reset, an end of file, an answer that cannot be read
}

// smtpDefinite are the temporary refusals by which a server promises that it did not take the message (RFC 3463): 4.3.1 the disk is full,
// 4.3.2 it takes no mail, 4.4.2 the message did not arrive whole, 4.5.3 too many recipients. The others stand for an unknown outcome, too:
// 4.3.0 does so in so many words.
var smtpDefinite = []gosmtp.EnhancedCode{{4, 3, 1}, {4, 3, 2}, {4, 4, 2}, {4, 5, 3}}

// smtpOutcome judges the reply to the final dot. RFC 5321 §4.2.1: after 5yz the message was not taken.
func smtpOutcome(e *gosmtp.SMTPError) history.Outcome {
	if e.Code >= 500 && e.Code <= 599 || e.Code >= 400 && e.Code <= 499 && slices.Contains(smtpDefinite, e.EnhancedCode) {
		return history.Fail
	}
	return history.Unknown
}

// nothingDone ends the text by which a node promises that a command did nothing: RFC 5530's UNAVAILABLE alone does not say it. doneInPart
// begins that of a command about several messages which ended early.
const (
	nothingDone = "nothing was done"
	doneInPart  = "Done for the first"
)

// imapOutcome judges a tagged NO or BAD. RFC 9051 §7.1.2, §7.1.3: the command was not carried out.
func imapOutcome(e *imap.Error) history.Outcome {
	switch {
	case e.Type == imap.StatusResponseTypeBad:
		return history.Fail
	case strings.HasPrefix(e.Text, doneInPart):
		return history.Unknown
	}
	switch e.Code {
	case imap.ResponseCodeUnavailable, imap.ResponseCodeServerBug, "":
		if strings.HasSuffix(e.Text, nothingDone) {
			return history.Fail
		}
		return history.Unknown
	}
	return history.Fail
}

// adminOutcome judges an HTTP status: a node says 503 when nothing happened, and 504 when it may have.
func adminOutcome(status int) history.Outcome {
	if status == http.StatusServiceUnavailable || status >= 400 && status <= 499 {
		return history.Fail
	}
	return history.Unknown
}

// popOutcome judges -ERR. RFC 1939 §6: a QUIT may have removed some of the messages all the same.
func popOutcome(e *POP3Error) history.Outcome {
	if e.Command == "QUIT" {
		return history.Unknown
	}
	return history.Fail
}
