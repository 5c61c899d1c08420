package smtpd

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// trace is what a message's Received field says (RFC 5321 §4.4).
type trace struct {
	Helo     string
	Remote   netip.Addr
	Hostname string
	Node     string
	TLS      *tls.ConnectionState
	LMTP     bool
	Plain    bool // HELO, not EHLO
	Authed   bool
	UTF8     bool
	QueueID  string
	For      string // the recipient, when there is but one: others must not be shown
	From     string // the envelope's sender, without angle brackets
	Date     time.Time
}

// returnPath is the field for the final delivery; whoever passes the message on takes it off.
func (t trace) returnPath() string { return "Return-Path: <" + t.From + ">\r\n" }

// received is the Received field.
func (t trace) received() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from %s (%s)\r\n", heloText(t.Helo), literal(t.Remote))
	by := t.Hostname
	if t.Node != "" {
		by += " (" + atomText(t.Node) + ")"
	}
	fmt.Fprintf(&b, "\tby %s with %s", by, t.protocol())
	if t.TLS != nil {
		fmt.Fprintf(&b, "\r\n\t(version=%s cipher=%s)", strings.ReplaceAll(tls.VersionName(t.TLS.Version), " ", ""), tls.CipherSuiteName(t.TLS.CipherSuite))
	}
	fmt.Fprintf(&b, "\r\n\tid %s", t.QueueID)
	if t.For != "" {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", t.For)
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", t.Date.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	return b.String()
}

// protocol is the "with" of RFC 3848 and RFC 6531 §4.3.
func (t trace) protocol() string {
	name := "ESMTP"
	switch {
	case t.LMTP && t.UTF8:
		name = "UTF8LMTP"
	case t.LMTP:
		name = "LMTP"
	case t.UTF8:
		name = "UTF8SMTP"
	case t.Plain:
		name = "SMTP"
	}
	if name == "SMTP" {
		return name // it has no forms with S or A
	}
	if t.TLS != nil {
		name += "S"
	}
	if t.Authed {
		name += "A"
	}
	return name
}

func literal(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "local"
	case a.Is4():
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}

// heloText is a client's name for itself, made harmless: it may hold anything.
func heloText(s string) string {
	if s = atomText(s); s == "" {
		return "unknown"
	}
	return s
}

func atomText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_:[]", r) {
			return r
		}
		return '?'
	}, s)
	return s[:min(len(s), 255)]
}
