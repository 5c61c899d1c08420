package mime

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// Summary is what the accepting node computes once of a message and what all nodes keep: enough to
// answer ENVELOPE, BODYSTRUCTURE, the usual header fields, preview, thread and sort keys without the body.
// It is not changed once it is made and may be read by several goroutines.
type Summary struct {
	// Structure is nil when it was too large to keep (StructureOmitted): parse the body on demand.
	Structure        *Structure
	StructureOmitted bool

	// RawBytes, HeaderBytes and Lines describe the whole message; HeaderBytes includes the blank line.
	RawBytes, HeaderBytes, Lines int64

	// Fields holds the raw bytes of the cached header fields (CachedFields), in message order,
	// each with its line end. Fields that were too large are named in OmittedFields (lower case).
	Fields        []byte
	OmittedFields []string

	// Preview is the first text of the message: at most PreviewRunes characters of UTF-8 (RFC 8970).
	Preview string
}

// CachedFields are the names of the fields that a Summary keeps, in lower case.
var CachedFields = []string{
	"from", "to", "cc", "bcc", "reply-to", "sender", "subject", "date", "message-id", "in-reply-to", "references",
	"list-id", "list-post", "x-priority", "priority", "importance", "content-type", "content-transfer-encoding",
	"mime-version", "user-agent", "x-mailer", "newsgroups",
}

// allFields stands in OmittedFields for every name: the header was longer than what is looked at.
const allFields = "*"

// maxKeptFields bounds the bytes of Fields; the largest fields are omitted until the rest fits.
const maxKeptFields = 20 << 10

// Summarizer computes the Summary of the message that is written to it. Write never fails. Memory is bounded by the Max
// constants of this package, to about 256 KiB.
type Summarizer struct {
	p           *parser
	fields      []byte
	omitted     []string
	headerCut   bool
	plain, html *capture
	done        *Summary
}

// NewSummarizer returns a Summarizer for one message.
func NewSummarizer() *Summarizer {
	s := &Summarizer{p: newParser()}
	s.p.onRoot = s.keepFields
	s.p.onLeaf = s.startCapture
	return s
}

// Summarize reads a whole message. Its errors are those of r.
func Summarize(r io.Reader) (*Summary, error) {
	s := NewSummarizer()
	if _, err := io.Copy(s, r); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return s.Summary(), nil
}

// Write takes the next bytes of the message. After Summary it takes no more.
func (s *Summarizer) Write(b []byte) (int, error) {
	if s.done == nil {
		s.p.write(b)
	}
	return len(b), nil
}

// keepFields copies the cached fields out of the message header.
func (s *Summarizer) keepFields(header []byte, cut bool) {
	s.headerCut = cut
	for _, f := range ParseHeader(header) {
		if containsName(CachedFields, f.Name) {
			s.fields = appendField(s.fields, f)
		}
	}
	s.fields, s.omitted = omitLargest(s.fields, maxKeptFields)
	if cut {
		s.omitted = append(s.omitted, allFields)
	}
}

// omitLargest drops all fields of a name, the one with the most bytes first, until the rest fits.
func omitLargest(fields []byte, limit int) (kept []byte, omitted []string) {
	for len(fields) > limit {
		h, sizes, largest := ParseHeader(fields), make(map[string]int), ""
		for _, f := range h { // in order, so that the outcome does not depend on the map's
			name := strings.ToLower(f.Name)
			if sizes[name] += len(f.Raw); largest == "" || sizes[name] > sizes[largest] {
				largest = name
			}
		}
		omitted = append(omitted, largest)
		kept = nil
		for _, f := range h {
			if !strings.EqualFold(f.Name, largest) {
				kept = append(kept, f.Raw...)
			}
		}
		fields = kept
	}
	return fields, omitted
}

// startCapture decides whether the beginning of a leaf's body is kept for the preview: of the first plain text and of the first HTML.
func (s *Summarizer) startCapture(p *Part) *capture {
	if p.Type != "text" || p.Disposition == "attachment" {
		return nil
	}
	switch {
	case p.Subtype == "plain" && s.plain == nil:
		s.plain = &capture{part: p, max: previewSourcePlain}
		return s.plain
	case p.Subtype == "html" && s.html == nil:
		s.html = &capture{part: p, max: previewSourceHTML}
		return s.html
	}
	return nil
}

// Summary ends the message and returns what was found. Later calls return the same.
func (s *Summarizer) Summary() *Summary {
	if s.done != nil {
		return s.done
	}
	s.p.finish()
	root := s.p.root
	s.done = &Summary{
		Structure:     &Structure{Root: root, Size: s.p.offset, Lines: s.p.lines, Truncated: s.p.limited},
		RawBytes:      s.p.offset,
		HeaderBytes:   root.BodyStart,
		Lines:         s.p.lines,
		Fields:        s.fields,
		OmittedFields: s.omitted,
	}
	for _, c := range []*capture{s.plain, s.html} {
		if c != nil && s.done.Preview == "" {
			s.done.Preview = makePreview(c.part, c.data)
		}
	}
	return s.done
}

// omits tells whether nothing can be said of a field from the Summary alone.
func (s *Summary) omits(name string) bool {
	if containsName(s.OmittedFields, name) || !containsName(CachedFields, name) {
		return true
	}
	// Of a header that was cut, what was seen is right, but more may follow.
	return containsName(s.OmittedFields, allFields)
}

// Field returns the unfolded raw value of the first field with the name. known is false when the Summary does not tell: read the
// header of the message then.
func (s *Summary) Field(name string) (value string, present, known bool) {
	if s.omits(name) {
		return "", false, false
	}
	value, present = ParseHeader(s.Fields).lookup(name)
	return value, present, true
}

// FieldValues returns the unfolded raw values of all fields with the name. known is as of Field.
func (s *Summary) FieldValues(name string) (values []string, known bool) {
	if s.omits(name) {
		return nil, false
	}
	return ParseHeader(s.Fields).Values(name), true
}

// HeaderFields answers BODY[HEADER.FIELDS (names)]: the raw fields in message order and a blank line. known is as of Field.
func (s *Summary) HeaderFields(names []string) (raw []byte, known bool) {
	for _, n := range names {
		if s.omits(n) {
			return nil, false
		}
	}
	return FilterFields(s.Fields, names, false), true
}

var envelopeFields = []string{"date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id"}

// Envelope returns the envelope. known is false when one of its fields was omitted.
func (s *Summary) Envelope() (e *Envelope, known bool) {
	for _, n := range envelopeFields {
		if s.omits(n) {
			return nil, false
		}
	}
	env := ParseEnvelope(s.Fields)
	return &env, true
}

// SentDate returns the time of the Date field in the zone of the field; false when there is none that can be read. For SENTBEFORE and
// its like the day in that zone counts (RFC 9051 §6.4.4: "disregarding time and timezone").
func (s *Summary) SentDate() (time.Time, bool) {
	v, present, _ := s.Field("date")
	if !present {
		return time.Time{}, false
	}
	t, err := ParseDate(v)
	return t, err == nil
}

// ThreadKeys returns the ids that tie the message to others. Of omitted fields there are none.
func (s *Summary) ThreadKeys() ThreadKeys {
	h := ParseHeader(s.Fields)
	k := ThreadKeys{InReplyTo: ParseMessageIDs(h.Get("In-Reply-To")), References: ParseMessageIDs(h.Get("References"))}
	if ids := ParseMessageIDs(h.Get("Message-ID")); len(ids) > 0 {
		k.MessageID = ids[0]
	}
	return k
}

// Equal tells whether two summaries say the same.
func (s *Summary) Equal(t *Summary) bool { return bytes.Equal(s.Marshal(), t.Marshal()) }
