package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// head is a message's header section, as it came.
type head struct {
	fields []field
	rest   []byte // what was read of the message below the fields: the empty line, or the first line that is no field
}

// field is one header field with its line ends.
type field struct {
	name string // lower case
	raw  []byte
}

// readHead reads the header section. It reads limit bytes at most: a longer one comes back as far as it was read, with errHeaderSize.
func readHead(r *bufio.Reader, limit int) (*head, error) {
	h := &head{}
	size := 0
	for {
		line, err := readWholeLine(r, limit-size)
		if size += len(line); err != nil {
			h.rest = line
			if err == io.EOF {
				return h, nil
			}
			return h, err
		}
		switch name, ok := fieldName(line); {
		case (line[0] == ' ' || line[0] == '\t') && len(h.fields) > 0:
			last := &h.fields[len(h.fields)-1]
			last.raw = append(last.raw, line...)
		case ok:
			h.fields = append(h.fields, field{name: name, raw: line})
		default:
			h.rest = line
			return h, nil
		}
	}
}

// readWholeLine reads one line into memory of its own.
func readWholeLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > limit:
			return line, errHeaderSize
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		}
		return line, err
	}
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
	return strings.ToLower(string(name)), true
}

// count is how often a field occurs.
func (h *head) count(name string) int {
	n := 0
	for _, f := range h.fields {
		if f.name == name {
			n++
		}
	}
	return n
}

// values are the bodies of the fields of a name, unfolded.
func (h *head) values(name string) []string {
	var list []string
	for _, f := range h.fields {
		if f.name == name {
			_, body, _ := bytes.Cut(f.raw, []byte(":"))
			body = bytes.ReplaceAll(body, []byte("\r\n"), nil)
			list = append(list, strings.TrimSpace(string(body)))
		}
	}
	return list
}

// ascii tells whether no field holds a byte above 127.
func (h *head) ascii() bool {
	for _, f := range h.fields {
		if !ascii(string(f.raw)) {
			return false
		}
	}
	return true
}

// remove drops the fields of a name.
func (h *head) remove(name string) {
	kept := h.fields[:0]
	for _, f := range h.fields {
		if f.name != name {
			kept = append(kept, f)
		}
	}
	h.fields = kept
}

// writeTo writes the section as it stands now.
func (h *head) writeTo(w io.Writer) error {
	for _, f := range h.fields {
		if _, err := w.Write(f.raw); err != nil {
			return err
		}
	}
	_, err := w.Write(h.rest)
	return err
}
