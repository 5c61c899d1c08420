package dsn

import (
	"regexp"
	"strings"
)

// reason is a class of status codes that calls for the same advice.
type reason uint8

const (
	other reason = iota
	noUser
	noDomain
	mailboxFull
	suspended
	tooLarge
	refused
	badSender
	unreachable
	needsTLS
	needsUTF8
	conversion
	loop
	stopped // here, by an administrator or a rule
	local   // here, for another reason
	reasons // how many
)

// reasonOf reads an enhanced status code (RFC 3463 §3, and the registry of RFC 5248), whatever its class.
func reasonOf(status string) reason {
	_, detail, _ := strings.Cut(status, ".")
	switch detail {
	case "1.1", "1.3", "1.4", "1.6":
		return noUser
	case "1.2", "1.10", "4.4": // 1.10: the domain says that it takes no mail (RFC 7505)
		return noDomain
	case "1.7", "1.8", "1.9":
		return badSender
	case "2.2":
		return mailboxFull
	case "2.1":
		return suspended
	case "2.3", "3.4":
		return tooLarge
	case "4.6":
		return loop
	case "6.7", "6.8", "6.9", "6.10":
		return needsUTF8
	case "7.10", "7.30": // 7.30: REQUIRETLS (RFC 8689)
		return needsTLS
	}
	switch subject, _, _ := strings.Cut(detail, "."); subject {
	case "4":
		return unreachable
	case "6":
		return conversion
	case "7":
		return refused
	}
	return other
}

// reasonFor is reasonOf for a recipient: what no other server was asked about is not said to be another side's doing.
func reasonFor(to Recipient, status string) reason {
	why := reasonOf(status)
	switch {
	case to.RemoteMTA != "":
		return why
	case why == refused:
		return stopped
	case why == other:
		return local
	}
	return why
}

var (
	statusCode = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}$`)
	// replyCode is how an SMTP reply begins: its code, and mostly an enhanced one (RFC 2034 §4).
	replyCode = regexp.MustCompile(`^([245])\d\d(?:[ -]([245]\.\d{1,3}\.\d{1,3})\b)?`)
)

// statusOf is the recipient's status code, made up where nobody told one. RFC 3464 §2.3.4 wants one always.
func (r *Report) statusOf(to Recipient) string {
	if statusCode.MatchString(to.Status) {
		return to.Status
	}
	action := r.actionOf(to)
	if m := replyCode.FindStringSubmatch(to.Diagnostic); m != nil && (m[1] == "2") == (action >= Delivered) {
		if m[2] != "" {
			return m[2]
		}
		return m[1] + ".0.0"
	}
	switch action {
	case Failed:
		return "5.0.0"
	case Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}
