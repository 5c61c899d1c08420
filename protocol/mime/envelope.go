package mime

// Value is a header value that may be absent: IMAP tells an absent field (NIL) from an empty one ("").
type Value struct {
	Text    string
	Present bool
}

// Envelope is the envelope structure of RFC 3501 §7.4.2 and RFC 9051 §7.5.2: values unfolded, encoded-words kept.
type Envelope struct {
	Date, Subject         Value
	From, Sender, ReplyTo []Address // Sender and ReplyTo are From where the message has none
	To, Cc, Bcc           []Address
	InReplyTo, MessageID  Value
}

// AddressKind tells a mailbox from the marks around a group.
type AddressKind uint8

const (
	// Mailbox is an ordinary address.
	Mailbox AddressKind = iota
	// GroupStart opens a group; Mailbox is the group's name (RFC 5322 §3.4).
	GroupStart
	// GroupEnd closes a group; all strings are empty.
	GroupEnd
)

// Address is one address of a header, as IMAP wants it.
type Address struct {
	Kind    AddressKind
	Name    string // display name without its quotes, encoded-words kept; "" when absent
	Mailbox string // local part without its quotes
	Host    string // domain; "" when the address has none
}

// ParseEnvelope reads the envelope from the raw bytes of a message header.
func ParseEnvelope(header []byte) Envelope { return ParseHeader(header).envelope() }

func (h Header) envelope() Envelope {
	e := Envelope{
		Date: h.value("Date"), Subject: h.value("Subject"),
		From: h.addresses("From"), Sender: h.addresses("Sender"), ReplyTo: h.addresses("Reply-To"),
		To: h.addresses("To"), Cc: h.addresses("Cc"), Bcc: h.addresses("Bcc"),
		InReplyTo: h.value("In-Reply-To"), MessageID: h.value("Message-ID"),
	}
	// RFC 9051 §7.5.2: absent or empty, Sender and Reply-To are as From.
	if len(e.Sender) == 0 {
		e.Sender = e.From
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo = e.From
	}
	return e
}

func (h Header) value(name string) Value {
	text, present := h.lookup(name)
	return Value{text, present}
}

// addresses joins the addresses of all fields with the name: a second To field is forbidden and common.
func (h Header) addresses(name string) []Address {
	var out []Address
	for _, v := range h.Values(name) {
		out = append(out, ParseAddressList(v)...)
		if len(out) >= MaxAddresses {
			return out[:MaxAddresses]
		}
	}
	return out
}

// size is about the number of bytes of the strings.
func (e *Envelope) size() int {
	n := len(e.Date.Text) + len(e.Subject.Text) + len(e.InReplyTo.Text) + len(e.MessageID.Text)
	for _, list := range [...][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		for _, a := range list {
			n += len(a.Name) + len(a.Mailbox) + len(a.Host) + 4
		}
	}
	return n
}
