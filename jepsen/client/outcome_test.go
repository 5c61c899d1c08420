package client

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/emersion/go-imap/v2"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/jepsen/history"
)

// The whole table: what each answer to a command that was sent whole says of it.
func TestOutcomes(t *testing.T) {
	no := func(code imap.ResponseCode, text string) error {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
	}
	smtp := func(code, class, subject, detail int) error {
		return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{class, subject, detail}, Message: "text"}
	}
	for name, tc := range map[string]struct {
		err  error
		want history.Outcome
	}{
		"SMTP unknown outcome":        {smtp(451, 4, 3, 0), history.Unknown},
		"SMTP not accepting":          {smtp(451, 4, 3, 2), history.Fail},
		"SMTP disk full":              {smtp(452, 4, 3, 1), history.Fail},
		"SMTP too many recipients":    {smtp(452, 4, 5, 3), history.Fail},
		"SMTP body cut off":           {smtp(421, 4, 4, 2), history.Fail},
		"SMTP internal error":         {smtp(421, 4, 3, 0), history.Unknown},
		"SMTP 421 without a code":     {&gosmtp.SMTPError{Code: 421, Message: "bye"}, history.Unknown},
		"SMTP 451 without a code":     {&gosmtp.SMTPError{Code: 451, Message: "later"}, history.Unknown},
		"SMTP over quota":             {smtp(552, 5, 2, 2), history.Fail},
		"SMTP no such mailbox":        {smtp(550, 5, 1, 1), history.Fail},
		"SMTP 354 to the dot":         {smtp(354, 0, 0, 0), history.Unknown},
		"IMAP BAD":                    {&imap.Error{Type: imap.StatusResponseTypeBad, Text: "what"}, history.Fail},
		"IMAP unknown outcome":        {no("UNAVAILABLE", "Outcome unknown: it may have been done, look before trying again"), history.Unknown},
		"IMAP nothing done":           {no("UNAVAILABLE", "Service unavailable just now, nothing was done"), history.Fail},
		"IMAP shutting down":          {no("UNAVAILABLE", "Server is shutting down"), history.Unknown},
		"IMAP internal error":         {no("SERVERBUG", "Internal error"), history.Unknown},
		"IMAP NO without a code":      {no("", "sorry"), history.Unknown},
		"IMAP done in part":           {no("OVERQUOTA", "Done for the first 3 messages only; look before trying again"), history.Unknown},
		"IMAP over quota":             {no("OVERQUOTA", "Quota exceeded"), history.Fail},
		"IMAP no mailbox":             {no("TRYCREATE", "No such mailbox"), history.Fail},
		"IMAP conflict":               {no("INUSE", "Changed by another client meanwhile"), history.Fail},
		"admin not found":             {&AdminError{Status: 404}, history.Fail},
		"admin unavailable":           {&AdminError{Status: 503}, history.Fail},
		"admin unknown outcome":       {&AdminError{Status: 504}, history.Unknown},
		"admin internal error":        {&AdminError{Status: 500}, history.Unknown},
		"POP3 refusal":                {&POP3Error{Command: "DELE"}, history.Fail},
		"POP3 refusal of QUIT":        {&POP3Error{Command: "QUIT"}, history.Unknown},
		"end of file":                 {io.EOF, history.Unknown},
		"deadline":                    {os.ErrDeadlineExceeded, history.Unknown},
		"an answer that is not clear": {errors.New("in response-tagged: no"), history.Unknown},
	} {
		if got := Outcome(judge(tc.err, true)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
		if got := Outcome(judge(tc.err, false)); got != history.Fail {
			t.Errorf("%s, not sent whole: %s", name, got)
		}
	}
	if Outcome(nil) != history.OK || judge(nil, true) != nil || Outcome(io.EOF) != history.Unknown {
		t.Error("of no error, or a foreign one")
	}
}
