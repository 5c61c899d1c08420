package route

import "fmt"

// Error says why mail for a destination has no way just now, or none at all, in the terms of a reply and of a delivery status notification.
// A temporary one that the DNS caused wraps [dns.ErrTemporary].
type Error struct {
	Code      int    // of a reply (RFC 5321 §4.2)
	Enhanced  string // status code such as "5.1.10" (RFC 3463)
	Text      string // one line of ASCII, without the codes
	Permanent bool   // trying again is of no use

	cause error
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text) }

func (e *Error) Unwrap() error { return e.cause }

func permanent(code int, enhanced, format string, args ...any) *Error {
	return &Error{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...), Permanent: true}
}

// unanswered: RFC 3463 §3.5, X.4.3, directory server failure.
func unanswered(what string, cause error) *Error {
	return &Error{Code: 451, Enhanced: "4.4.3", Text: "The DNS does not answer for " + what, cause: cause}
}
