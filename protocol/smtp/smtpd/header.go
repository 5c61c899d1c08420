package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
	"strings"
)

// head is a message's header section, as it came. It is kept as one piece of memory: a stranger's header can be a hundred thousand fields of four
// bytes each.
//
// It is read as our IMAP side reads it, up to the empty line: a line that is no field stands among the fields, and does not end them. Else what is
// judged here, From and Bcc, and what is shown there could be two things.
type head struct {
	raw  []byte // the fields
	rest []byte // the empty line, when it was read
}

// readHead reads the header section. It reads limit bytes at most: a longer one comes back as far as it was read, with errHeaderSize.
func readHead(r *bufio.Reader, limit int) (*head, error) {
	h := &head{}
	for begins := true; ; {
		piece, err := r.ReadSlice('\n')
		if begins && string(piece) == "\r\n" {
			h.rest = []byte("\r\n")
			return h.begin(), nil
		}
		h.raw = append(h.raw, piece...)
		begins = err == nil
		switch {
		case len(h.raw) > limit:
			return h.begin(), errHeaderSize
		case err == io.EOF:
			return h.begin(), nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return h, err
		}
	}
}

// begin looks at the first line, which will stand below fields of ours. When it is no field, all of the message is its body: a program of few words
// sent it. The line of a mailbox file stays, as what is sent here is shown byte for byte: readers pass over it.
func (h *head) begin() *head {
	line, _, _ := bytes.Cut(h.raw, []byte("\n"))
	_, isField := fieldName(line)
	switch {
	case len(line) == 0 || isField, bytes.HasPrefix(line, []byte("From ")), bytes.HasPrefix(line, []byte(">From ")):
	default:
		h.raw, h.rest = nil, append(append([]byte("\r\n"), h.raw...), h.rest...)
	}
	return h
}

// fields goes through the fields: each with its name, "" for a line that is none, and its lines.
func (h *head) fields() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for left := h.raw; len(left) > 0; {
			n := lineLength(left)
			name, _ := fieldName(left[:n])
			for n < len(left) && (left[n] == ' ' || left[n] == '\t') {
				n += lineLength(left[n:])
			}
			if !yield(name, left[:n]) {
				return
			}
			left = left[n:]
		}
	}
}

func lineLength(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

// fieldName is what stands before the colon, when the line begins a field (RFC 5322 §2.2, and the white space of §4.5 before the colon).
func fieldName(line []byte) (string, bool) {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || len(name) == 0 {
		return "", false
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
	}
	return string(name), true
}

// count is how often a field occurs.
func (h *head) count(name string) int {
	n := 0
	for its := range h.fields() {
		if strings.EqualFold(its, name) {
			n++
		}
	}
	return n
}

// values are the bodies of the fields of a name, unfolded.
func (h *head) values(name string) []string {
	var list []string
	for its, raw := range h.fields() {
		if strings.EqualFold(its, name) {
			_, body, _ := bytes.Cut(raw, []byte(":"))
			body = bytes.ReplaceAll(body, []byte("\r\n"), nil)
			list = append(list, strings.TrimSpace(string(body)))
		}
	}
	return list
}

// ascii tells whether the section holds no byte above 127.
func (h *head) ascii() bool { return ascii(string(h.raw)) }

// replace puts a whole field, or nothing, in the place of each field of a name.
func (h *head) replace(name, field string) {
	var kept []byte
	for its, raw := range h.fields() {
		if strings.EqualFold(its, name) {
			raw = []byte(field)
		}
		kept = append(kept, raw...)
	}
	h.raw = kept
}

// writeTo writes the section as it stands now.
func (h *head) writeTo(w io.Writer) error {
	if _, err := w.Write(h.raw); err != nil {
		return err
	}
	_, err := w.Write(h.rest)
	return err
}
