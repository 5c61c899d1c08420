package mime

import (
	"bytes"
	"strings"
)

// Field is one field of a header.
type Field struct {
	Name string // as written; "" for lines that are no field
	Raw  []byte // all its bytes, line ends included
}

// Value returns the field's value unfolded (RFC 5322 §2.2.3): line ends removed, tabs as blanks, trimmed. Encoded-words stay.
func (f Field) Value() string {
	if i := bytes.IndexByte(f.Raw, ':'); i >= 0 && f.Name != "" {
		return unfold(f.Raw[i+1:])
	}
	return ""
}

func unfold(b []byte) string {
	clean := make([]byte, 0, len(b))
	for _, c := range b {
		switch c {
		case '\r', '\n', 0:
		case '\t':
			clean = append(clean, ' ')
		default:
			clean = append(clean, c)
		}
	}
	return string(bytes.TrimSpace(clean))
}

// Header is the fields of a header in order.
type Header []Field

// ParseHeader splits the bytes of a header, with or without its blank line, into fields. Nothing is refused: a line that is
// neither a field nor a continuation becomes a Field without a name.
func ParseHeader(raw []byte) Header {
	var h Header
	for len(raw) > 0 {
		n := fieldLen(raw)
		if isBlankLine(raw[:n]) {
			break
		}
		h = append(h, Field{Name: fieldName(raw[:n]), Raw: raw[:n]})
		raw = raw[n:]
	}
	return h
}

// fieldLen returns the length of the first field: its line and the continuation lines after it.
func fieldLen(b []byte) int {
	n := lineLen(b)
	if isBlankLine(b[:n]) {
		return n
	}
	for n < len(b) && (b[n] == ' ' || b[n] == '\t') {
		n += lineLen(b[n:])
	}
	return n
}

func lineLen(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

func isBlankLine(b []byte) bool { return len(b) > 0 && len(bytes.TrimRight(b, "\r\n")) == 0 }

// fieldName returns the name of a field, or "" if the line has none. RFC 5322 §4.5: blanks before the colon are obsolete
// but valid.
func fieldName(b []byte) string {
	i := bytes.IndexByte(b, ':')
	if i < 0 {
		return ""
	}
	name := bytes.TrimRight(b[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return string(name)
}

// Get returns the value of the first field with the name, unfolded, or "".
func (h Header) Get(name string) string {
	v, _ := h.lookup(name)
	return v
}

func (h Header) lookup(name string) (string, bool) {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Value(), true
		}
	}
	return "", false
}

// Values returns the unfolded values of all fields with the name, in order.
func (h Header) Values(name string) []string {
	var out []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Value())
		}
	}
	return out
}

// FilterFields answers HEADER.FIELDS (or, with not, HEADER.FIELDS.NOT): the raw bytes of the fields of header
// whose names are (not) among names, and then a blank line (RFC 9051 §6.4.5.1).
func FilterFields(header []byte, names []string, not bool) []byte {
	var out []byte
	for _, f := range ParseHeader(header) {
		if containsName(names, f.Name) != not {
			out = appendField(out, f)
		}
	}
	return append(out, '\r', '\n')
}

// appendField adds the field with a line end, which the last line of a broken header lacks.
func appendField(out []byte, f Field) []byte {
	out = append(out, f.Raw...)
	if f.Raw[len(f.Raw)-1] != '\n' {
		out = append(out, '\r', '\n')
	}
	return out
}

func containsName(names []string, name string) bool {
	for _, n := range names {
		if name != "" && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
