package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on rules.
const (
	// MaxRules bounds a rule set.
	MaxRules = 1000
	// MaxPatternBytes bounds a pattern, as it is written and folded.
	MaxPatternBytes = 256
	// MaxWildcards bounds the stars of one pattern.
	MaxWildcards = 8
	// MaxIDBytes bounds the id of a rule.
	MaxIDBytes = 64
	// MaxReplyBytes bounds a reply text, so that it fits into one line with its codes (RFC 5321 §4.5.3.1.5).
	MaxReplyBytes = 400
	// MaxNoteBytes bounds a note.
	MaxNoteBytes = 1000
)

// ErrRule is wrapped by every error about a rule.
var ErrRule = errors.New("bad rule")

// What a rule does with a message that it matches.
const (
	Allow = "allow" // take it, and do not look at later rules
	Block = "block" // Reject
	Park  = "hold"  // Hold
	Mark  = "tag"   // Tag
	Defer = "defer" // Tempfail
)

// What a rule looks at.
const (
	FieldClient     = "client"     // the client's address; the pattern is an address or a CIDR prefix
	FieldSender     = "sender"     // the envelope sender; an address pattern
	FieldRecipient  = "recipient"  // any of the envelope recipients; an address pattern
	FieldFrom       = "from"       // any address of the From field; an address pattern
	FieldSubject    = "subject"    // the Subject field; a keyword
	FieldHeader     = "header"     // the field that Rule.Header names; a keyword, or * for "it is there"
	FieldBody       = "body"       // the text parts, nested messages' included; a keyword
	FieldAttachment = "attachment" // the suggested file names of the parts; a keyword
)

// Rule is one rule of the operator. The package comment has the patterns.
type Rule struct {
	// ID names the rule in replies, fields and traces: letters, digits, and . _ - within.
	ID string
	// Action is one of the actions above.
	Action string
	// Field is one of the fields above.
	Field string
	// Header names the field that a rule about FieldHeader looks at, * for any; "" with other fields.
	Header string
	// Pattern is what must be found.
	Pattern string
	// Direction is "in", "out", or "both", which "" means too.
	Direction string
	// Note is the operator's own, for listings. It is never shown to senders.
	Note string
	// Reply is what a refused sender reads, printable ASCII; "" for a text that names the rule.
	Reply string
}

// compiled is a rule ready to be matched.
type compiled struct {
	Rule
	action Action // of a rule that does not allow
	in     bool
	out    bool
	match  func(*envelope) (excerpt string, ok bool) // of rules about the envelope; nil for rules about the content
	from   addressPattern                            // of rules about FieldFrom
	header string                                    // of rules about header fields: the name in lower case, * for any
	exists bool                                      // the field need only be there
}

func compile(r Rule) (*compiled, error) {
	c := &compiled{Rule: r}
	for _, check := range []func(*compiled) error{checkID, setAction, setDirection, setReply, checkNote, checkPattern, setField} {
		if err := check(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func checkID(c *compiled) error {
	if c.ID == "" || len(c.ID) > MaxIDBytes {
		return fmt.Errorf("an id of 1 to %d characters is needed", MaxIDBytes)
	}
	for i := range len(c.ID) {
		alnum := c.ID[i] >= '0' && c.ID[i] <= '9' || c.ID[i]|0x20 >= 'a' && c.ID[i]|0x20 <= 'z'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", rune(c.ID[i]))) {
			return errors.New("an id has letters, digits, and dots, hyphens, underscores behind the first")
		}
	}
	return nil
}

func setAction(c *compiled) error {
	switch c.Action {
	case Allow:
		c.action = Accept
	case Block:
		c.action = Reject
	case Park:
		c.action = Hold
	case Mark:
		c.action = Tag
	case Defer:
		c.action = Tempfail
	default:
		return fmt.Errorf("action %q, expected allow, block, hold, tag or defer", c.Action)
	}
	return nil
}

func setDirection(c *compiled) error {
	switch c.Direction {
	case "in":
		c.in = true
	case "out":
		c.out = true
	case "", "both":
		c.in, c.out = true, true
	default:
		return fmt.Errorf("direction %q, expected in, out or both", c.Direction)
	}
	return nil
}

// setReply: RFC 5321 §4.2 textstring, without tabs.
func setReply(c *compiled) error {
	if len(c.Reply) > MaxReplyBytes {
		return fmt.Errorf("a reply of %d bytes, the most is %d", len(c.Reply), MaxReplyBytes)
	}
	for i := range len(c.Reply) {
		if c.Reply[i] < ' ' || c.Reply[i] > '~' {
			return fmt.Errorf("%q in the reply: not every sender can read more than ASCII (RFC 5321 §4.2)", c.Reply[i:i+1])
		}
	}
	if c.Reply == "" {
		c.Reply = "message refused by the policy of this site, rule " + c.ID
	}
	return nil
}

// checkNote: it stands on one line of a list.
func checkNote(c *compiled) error {
	switch {
	case len(c.Note) > MaxNoteBytes:
		return fmt.Errorf("a note of %d bytes, the most is %d", len(c.Note), MaxNoteBytes)
	case !utf8.ValidString(c.Note) || strings.ContainsFunc(c.Note, unicode.IsControl):
		return errors.New("a note is one line of UTF-8")
	}
	return nil
}

func checkPattern(c *compiled) error {
	switch {
	case strings.TrimSpace(c.Pattern) == "":
		return errors.New("a pattern is needed")
	case len(c.Pattern) > MaxPatternBytes:
		return fmt.Errorf("a pattern of %d bytes, the most is %d", len(c.Pattern), MaxPatternBytes)
	case !utf8.ValidString(c.Pattern):
		return errors.New("the pattern is not UTF-8")
	}
	return nil
}

// setField prepares what does not look at keywords; those are compiled together, see newDictionary.
func setField(c *compiled) (err error) {
	if c.Header != "" && c.Field != FieldHeader {
		return fmt.Errorf("the header %q is named, but the rule looks at %q", c.Header, c.Field)
	}
	switch c.Field {
	case FieldClient:
		c.match, err = clientMatch(c.Pattern)
	case FieldSender, FieldRecipient:
		c.match, err = addressMatch(c.Field, c.Pattern)
	case FieldFrom:
		c.from, err = parseAddressPattern(c.Pattern)
	case FieldSubject:
		c.header = "subject"
	case FieldHeader:
		err = setHeader(c)
	case FieldBody, FieldAttachment:
	default:
		err = fmt.Errorf("field %q, expected client, sender, recipient, from, subject, header, body or attachment", c.Field)
	}
	return err
}

// setHeader: RFC 5322 §2.2, a field's name is printable ASCII without a colon.
func setHeader(c *compiled) error {
	if c.Header == "" {
		return errors.New("a rule about a header names it, or says * for any")
	}
	for i := range len(c.Header) {
		if c.Header[i] <= ' ' || c.Header[i] > '~' || c.Header[i] == ':' {
			return fmt.Errorf("%q is no name of a header field", c.Header)
		}
	}
	c.header, c.exists = strings.ToLower(c.Header), strings.TrimSpace(c.Pattern) == "*"
	return nil
}

// applies tells whether the rule is about messages of the direction.
func (c *compiled) applies(d Direction) bool { return d == In && c.in || d == Out && c.out }

// needsContent tells whether the rule looks inside the message.
func (c *compiled) needsContent() bool { return c.match == nil }

// hasKeyword tells whether the pattern is a keyword.
func (c *compiled) hasKeyword() bool {
	switch c.Field {
	case FieldSubject, FieldHeader, FieldBody, FieldAttachment:
		return !c.exists
	}
	return false
}
