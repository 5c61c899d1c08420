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
