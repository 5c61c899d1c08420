package remote

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mailLine is the MAIL command for a message over a session.
func mailLine(msg Message, ext extensions, f facts, useUTF8 bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s>", msg.From.Wire(useUTF8))
	if ext.size { // RFC 1870 §5: whatever the server's limit
		b.WriteString(" SIZE=" + strconv.FormatInt(f.size, 10))
	}
	switch {
	case f.nul || f.long: // only where BINARYMIME was offered: see facts.fits
		b.WriteString(" BODY=BINARYMIME")
	case f.eightBit && ext.eightBit:
		b.WriteString(" BODY=8BITMIME")
	case f.eightBit:
		b.WriteString(" BODY=BINARYMIME")
	}
	if useUTF8 {
		b.WriteString(" SMTPUTF8")
	}
	if msg.RequireTLS && ext.requireTLS {
		b.WriteString(" REQUIRETLS")
	}
	if ext.dsn {
		b.WriteString(dsnMail(msg))
	}
	return b.String()
}

func dsnMail(msg Message) string {
	var s string
	if msg.Ret == "FULL" || msg.Ret == "HDRS" {
		s += " RET=" + msg.Ret
	}
	if isXtext(msg.EnvID) && len(msg.EnvID) <= 100 { // RFC 3461 §4.4
		s += " ENVID=" + msg.EnvID
	}
	return s
}

// rcptLine is the RCPT command for a recipient.
func rcptLine(r Recipient, ext extensions, useUTF8 bool) string {
	line := "RCPT TO:<" + r.Address.Wire(useUTF8) + ">"
	if !ext.dsn {
		return line
	}
	if n := r.Notify.String(); n != "" {
		line += " NOTIFY=" + n
	}
	if o := originalRecipient(r.ORCPT, useUTF8); o != "" {
		line += " ORCPT=" + o
	}
	return line
}

// String is the parameter's value (RFC 3461 §4.1).
func (n Notify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, one := range []struct {
		bit  Notify
		word string
	}{{NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}} {
		if n&one.bit != 0 {
			words = append(words, one.word)
		}
	}
	return strings.Join(words, ",")
}

// maxORCPT bounds the parameter (RFC 3461 §4.2), leaving room for the longer form of RFC 6533.
const maxORCPT = 1000

// originalRecipient is the parameter as the session can carry it, "" if it cannot. RFC 6533 §3: without SMTPUTF8, characters beyond ASCII
// become \x{hex}.
func originalRecipient(orcpt string, useUTF8 bool) string {
	kind, address, ok := strings.Cut(orcpt, ";")
	if !ok || !isXtext(kind) || address == "" || !utf8.ValidString(address) || len(orcpt) > maxORCPT {
		return ""
	}
	if isXtext(address) {
		return orcpt
	}
	if !strings.EqualFold(kind, "utf-8") {
		return ""
	}
	return kind + ";" + unitext(address, useUTF8)
}

func unitext(address string, useUTF8 bool) string {
	var b strings.Builder
	for _, r := range address {
		switch {
		case r <= ' ' || r == '=' || r == 0x7f:
			return ""
		case r >= utf8.RuneSelf && !useUTF8:
			fmt.Fprintf(&b, `\x{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isXtext: RFC 3461 §4, leniently: printable ASCII without spaces and equal signs, at least one.
func isXtext(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '=' {
			return false
		}
	}
	return s != ""
}
