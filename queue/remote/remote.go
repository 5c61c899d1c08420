package remote

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Route says where a message goes: the hosts of one destination, found and ordered by whoever made it.
type Route struct {
	// Key keeps routes apart: connections are reused within one key only, and there between hosts of one name, addresses and policy.
	Key string
	// MXDomain is the domain whose MX records Hosts came from, "" where they did not come from the DNS. It is for logs.
	MXDomain string
	// Hosts are tried in this order.
	Hosts []Host
	// TLS holds for every host that names no policy of its own. Zero is TLSMay.
	TLS TLSPolicy
	// Smarthost tells that our own configuration leads here: what the hosts refuse before they look at a message (the connection, EHLO,
	// the login) is then temporary, since somebody here can mend it while the mail waits.
	Smarthost bool
	// Username and Password are for smarthosts. With a Username, no mail is handed over before the login.
	Username, Password string
}

// Host is one server that takes mail for a destination.
type Host struct {
	// Name is the host name in ASCII form: the SNI, and what a certificate is checked for. An address may stand here.
	Name string
	// Addrs are tried in this order. Nothing is looked up.
	Addrs []netip.AddrPort
	// Authentic tells that Name cannot have been forged: signed DNS records, an MTA-STS policy or our own configuration led to it.
	Authentic bool
	// TLS replaces the route's policy for this host unless it is zero.
	TLS TLSPolicy
	// VerifyPeer, if set, judges the peer after the handshake and after what the policy itself checks; also for a connection that is
	// reused. An error counts as a failed handshake: under TLSMay the mail then goes in clear. Under TLSEncrypt nil means that the
	// peer is known to be the right one (so DANE says it, RFC 7672 §3.1). It must not block.
	VerifyPeer func(tls.ConnectionState) error
}

// TLSPolicy says how much TLS a host must speak.
type TLSPolicy uint8

// The policies. Where one cannot be met the next host is tried, and at last the recipients are deferred.
const (
	TLSDefault  TLSPolicy = iota // of a Host: as its Route; of a Route: TLSMay
	TLSNone                      // never, even if offered
	TLSMay                       // if offered, whatever the certificate; in clear if the handshake fails (RFC 7435)
	TLSEncrypt                   // STARTTLS, whatever the certificate
	TLSVerify                    // STARTTLS, with TLS 1.2 at least and a certificate for the host's name
	TLSImplicit                  // TLS from the first byte (RFC 8314 §3.3), checked as TLSVerify
)

// Message is what is handed over.
type Message struct {
	// ID is for logs.
	ID string
	// From is the reverse path, null for what must not be answered.
	From smtp.Address
	// UTF8 tells that header fields hold UTF-8 (RFC 6532): only servers with SMTPUTF8 may get it. What else the peer has to bear (8-bit
	// bytes, long lines, NULs) is found out by looking.
	UTF8 bool
	// RequireTLS: RFC 8689. Only verified TLS, only to servers that promise the same.
	RequireTLS bool
	// Ret is FULL, HDRS or "", and EnvID the envelope id as it stood in MAIL, in xtext (RFC 3461 §4.3, §4.4).
	Ret, EnvID string
	// Open gives the message as stored: CRLF line ends, no dots doubled. A Return-Path field that begins it is not sent. It is called
	// several times, never at the same time.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Prefix is whole header fields to put above, Delivered-To for instance.
	Prefix []byte
	// Sign makes whole header fields about what is sent below them, which it can open as often as it likes: signatures. Nil: none. It is called
	// again for a form of the message that was converted for a server. An error puts the message off.
	Sign func(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error)
}

// Recipient is one forward path.
type Recipient struct {
	Address smtp.Address
	// ORCPT is the original recipient as it stood in RCPT, "rfc822;" and xtext (RFC 3461 §4.2), or "".
	ORCPT string
	// Notify is what the sender wants to be told of; 0 if the sender did not say.
	Notify Notify
}

// Notify is a set of events (RFC 3461 §4.1).
type Notify uint8

// NotifyNever excludes the others.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Status is how an attempt ended for a recipient.
type Status uint8

// The zero value is none of these.
const (
	Delivered Status = iota + 1 // the peer has taken responsibility
	Deferred                    // try again later
	Failed                      // never try again: bounce
)

// String is how logs and metrics name the status.
func (s Status) String() string {
	switch s {
	case Delivered:
		return "delivered"
	case Deferred:
		return "deferred"
	case Failed:
		return "failed"
	}
	return "none"
}

// Result is what became of one recipient.
type Result struct {
	Status Status
	// Code is the peer's reply code. If Local, the peer said nothing of the kind: Code is what we would say in its place, or 0, and
	// Text is our own.
	Code  int
	Local bool
	// Enhanced is an RFC 3463 code, never empty: the peer's, or the nearest to what happened.
	Enhanced string
	// Text is the peer's reply without codes, or our reason: printable, in UTF-8, of bounded length, one line.
	Text string
	// Host and Addr are the server that decided or failed last; empty if none was tried.
	Host string
	Addr netip.AddrPort
	// TLS is the version, such as "TLS 1.3"; "" in clear.
	TLS string
	// Verified: by its certificate or by VerifyPeer, the server was proven to be the right one.
	Verified bool
	// DSNRelayed tells that the peer promised delivery status notifications and was told what the sender wants (RFC 3461 §5.2.2). Where
	// it is false after a delivery, a wish for success is ours to answer (§5.2.3).
	DSNRelayed bool
	// Unknown comes with Deferred: the whole message was sent and no reply came. It may have been delivered.
	Unknown bool
	// Unreachable comes with Deferred or Failed: no host could be brought to look at the recipient. It concerns the whole destination.
	Unreachable bool
}
