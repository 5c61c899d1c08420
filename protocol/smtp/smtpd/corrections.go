package smtpd

import (
	"strconv"
	"strings"
)

// corrections stand in for replies of the library's own, whose codes or words are not what the RFCs say. Each is known by how it begins.
var corrections = []struct{ theirs, ours string }{
	// RFC 5321 §4.1.4: a command out of order is 503; 502 is a command that there is not.
	{"502 5.5.1 Please introduce yourself", "503 5.5.1 EHLO or HELO comes first"},
	{"502 5.5.1 Missing MAIL FROM", "503 5.5.1 MAIL comes first"},
	{"502 5.5.1 Missing RCPT TO", "503 5.5.1 No recipient was accepted yet"},
	{"502 5.5.4 Missing parameter", "501 5.5.4 AUTH needs a mechanism"},
	// RFC 5321 §4.1.1.11: parameters that are not known.
	{"500 5.5.4 Unknown MAIL FROM", "555 5.5.4 Unknown parameter of MAIL"},
	{"500 5.5.4 Unknown RCPT TO", "555 5.5.4 Unknown parameter of RCPT"},
	{"504 5.5.4 ", "555 5.5.4 Parameter not supported"},
	{"500 5.5.4 Malformed AUTH", "501 5.5.4 AUTH= cannot be read"},
	// RFC 4954 §4, §6 and RFC 3207 §4.
	{"454 4.7.0 Invalid base64", "501 5.5.2 Response is not base64"},
	{"501 5.0.0 Negotiation cancelled", "501 5.7.0 Login cancelled"},
	{"523 5.7.10 TLS is required", "530 5.7.0 Must issue a STARTTLS command first"},
	{"235 2.0.0 ", "235 2.7.0 Logged in"},
	// RFC 5321 §4.2.4: what is no command.
	{"501 5.5.2 Bad command", "500 5.5.2 Command not recognised"},
	// RFC 5321 §3.8: whoever closes says 421.
	{"500 5.5.1 Too many errors", "421 4.7.0 Too many errors, closing connection"},
	{"421 4.0.0 Internal server error", "421 4.3.0 Internal error, closing connection"},
	{"500 5.5.1 This is a LMTP server", "500 5.5.1 This is LMTP: say LHLO"},
	{"500 5.5.1 This is not a LMTP server", "500 5.5.1 This is SMTP: say EHLO"},
	// Words.
	{"354 ", "354 End the message with CR LF . CR LF"},
	{"252 2.5.0 ", "252 2.5.0 Addresses are not verified; send to it and see"},
	{"250 2.0.0 I have successfully", "250 2.0.0 Ok"},
	{"250 2.0.0 Session reset", "250 2.0.0 Ok"},
	{"221 2.0.0 ", "221 2.0.0 Good bye"},
}

// capabilities are the last lines of the answer to EHLO, with what the library does not know: whether this is TLS, and limits that change while
// it runs.
func (w *wire) capabilities() []string {
	w.counts = w.srv.cfg.counts()
	var list []string
	if w.tls != nil {
		list = append(list, "250-REQUIRETLS") // RFC 8689 §2
	}
	return append(list, "250-LIMITS RCPTMAX="+strconv.Itoa(w.counts.Recipients), // RFC 9422 §3
		"250 SIZE "+strconv.FormatInt(w.counts.MessageBytes, 10)) // RFC 1870 §4
}

// corrected is a line of the library's, without its line end, as it goes out.
func (w *wire) corrected(line string) string {
	// RFC 5321 §4.1.1.1: the answer to EHLO and HELO begins with the server's name, and has no enhanced code (RFC 2034 §4).
	for _, hello := range []string{"250-Hello ", "250 2.0.0 Hello "} {
		if client, ok := strings.CutPrefix(line, hello); ok {
			return line[:4] + w.srv.cfg.Hostname + " greets " + heloText(client)
		}
	}
	if line == "250 SIZE" { // the last of what EHLO tells
		return strings.Join(w.capabilities(), "\r\n")
	}
	for _, c := range corrections {
		if strings.HasPrefix(line, c.theirs) {
			return c.ours
		}
	}
	return line
}
