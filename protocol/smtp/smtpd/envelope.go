package smtpd

import (
	"crypto/tls"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// transaction is a message under way (RFC 5321 §3.3).
type transaction struct {
	queueID    string
	from       smtp.Address // null for <>
	size       int64        // as announced; 0: not
	utf8       bool         // SMTPUTF8 (RFC 6531 §3.4)
	binary     bool         // BODY=BINARYMIME (RFC 3030 §3)
	requireTLS bool         // REQUIRETLS (RFC 8689 §4.1)
	ret        string       // RET (RFC 3461 §4.3): FULL, HDRS or ""
	envid      string       // ENVID (RFC 3461 §4.4), decoded
	recipients []recipient
	carried    int // bytes that they add to the message's command. Invariant: at most maxCarriedBytes.
	boxes      int // behind all recipients together. Invariant: at most state.MaxTargets.
}

func newTransaction(queueID string, opts *gosmtp.MailOptions) *transaction {
	return &transaction{queueID: queueID, size: opts.Size, utf8: opts.UTF8, requireTLS: opts.RequireTLS,
		ret: string(opts.Return), envid: opts.EnvelopeID}
}

// Bounds on parameters, decoded. RFC 3461 §4.2, §4.4.
const (
	maxORCPTBytes = 500
	maxEnvidBytes = 100
)

// maxNotedBytes bounds each text in a message's origin.
const maxNotedBytes = 900

// noted is text of the client's as the trace keeps it.
func noted(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxNotedBytes)], "?") }

// recipient is one that was accepted.
type recipient struct {
	name    string // as the library has it, which asks by this name (LMTP)
	address smtp.Address
	boxes   []state.Recipient // who gets its mail
	notify  uint32            // bits of storepb.QueueEntry.Notify
	orcpt   string            // "rfc822;..." or "utf-8;...", decoded
	full    bool              // no mailbox of it has room: its mail waits
}

// canonical is the recipient as others than the client are told of it: <postmaster> without a domain by the address that stands for it.
func (r recipient) canonical() string {
	if r.address.Domain == "" && len(r.boxes) > 0 {
		return r.boxes[0].Address
	}
	return r.address.Canonical()
}

// Bits of storepb.QueueEntry.Notify.
const (
	notifyNever = 1 << iota
	notifySuccess
	notifyFailure
	notifyDelay
)

// notifyBits is NOTIFY (RFC 3461 §4.1); 0: not said.
func notifyBits(list []gosmtp.DSNNotify) (bits uint32) {
	for _, n := range list {
		switch n {
		case gosmtp.DSNNotifyNever:
			bits |= notifyNever
		case gosmtp.DSNNotifySuccess:
			bits |= notifySuccess
		case gosmtp.DSNNotifyFailure:
			bits |= notifyFailure
		case gosmtp.DSNNotifyDelayed:
			bits |= notifyDelay
		}
	}
	return bits
}

// originalRecipient is ORCPT (RFC 3461 §4.2, RFC 6533 §3), decoded.
func originalRecipient(opts *gosmtp.RcptOptions) string {
	if opts.OriginalRecipient == "" {
		return ""
	}
	return strings.ToLower(string(opts.OriginalRecipientType)) + ";" + opts.OriginalRecipient
}

// envelope is what the message carries besides its bytes. None is binary any more: see textual.
func (m *incoming) envelope() *storepb.Envelope {
	t := m.t
	return &storepb.Envelope{Ret: t.ret, Envid: t.envid, Utf8: m.utf8, RequireTls: t.requireTLS, EightBit: m.eightBit.seen}
}

// needsUTF8 tells whether a message that came with SMTPUTF8 cannot go on without (RFC 6531 §3.2): many clients ask for it always.
func (t *transaction) needsUTF8(h *head) bool {
	if !t.utf8 {
		return false
	}
	if t.from.NeedsUTF8() || !h.ascii() {
		return true
	}
	for _, r := range t.recipients {
		if r.address.NeedsUTF8() || !ascii(r.orcpt) {
			return true
		}
	}
	return false
}

// origin is how the message came.
func (s *session) origin(m *incoming) *storepb.Origin {
	o := &storepb.Origin{Helo: heloText(s.helo), Listener: s.srv.cfg.Mode.String(), MessageId: noted(m.messageID), Checks: noted(m.checks)}
	if s.w.remote.IsValid() {
		o.Client = s.w.remote.String()
	}
	if s.w.tls != nil {
		o.Tls = tlsText(s.w.tls)
	}
	if s.authed {
		o.Account, o.AccountAddress = uint64(s.who.Account), s.who.Address
	}
	for _, r := range m.t.recipients {
		o.Recipients = append(o.Recipients, r.canonical())
	}
	return o
}

// tlsText is version and cipher.
func tlsText(state *tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(state.Version), " ", "") + " " + tls.CipherSuiteName(state.CipherSuite)
}
