package remote

import (
	"bufio"
	"encoding/base64"
	"io"
)

// encodedLine is the longest line of an encoded body (RFC 2045 §6.7, §6.8).
const encodedLine = 76

// encode writes r in quoted-printable or base64.
func encode(w *bufio.Writer, encoding string, r io.Reader) error {
	if encoding == "base64" {
		return encodeBase64(w, r)
	}
	q := &qpWriter{w: w}
	if _, err := io.Copy(q, r); err != nil {
		return err
	}
	return q.close()
}

func encodeBase64(w *bufio.Writer, r io.Reader) error {
	e := base64.NewEncoder(base64.StdEncoding, &lineBreaker{w: w})
	if _, err := io.Copy(e, r); err != nil {
		return err
	}
	return e.Close()
}

// lineBreaker breaks what is written into lines. The last has no end: what follows a body brings it.
type lineBreaker struct {
	w      *bufio.Writer
	column int
}

func (l *lineBreaker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.column == encodedLine {
			l.w.WriteString("\r\n")
			l.column = 0
		}
		k := min(len(p), encodedLine-l.column)
		if _, err := l.w.Write(p[:k]); err != nil {
			return 0, err
		}
		l.column += k
		p = p[k:]
	}
	return n, nil
}

// qpWriter encodes text (RFC 2045 §6.7): CRLF is a line end, any other byte comes back as it was.
type qpWriter struct {
	w      *bufio.Writer
	column int
	held   byte // a blank or CR whose form depends on what follows; 0: none
}

func (q *qpWriter) Write(p []byte) (int, error) {
	for _, c := range p {
		q.take(c)
	}
	_, err := q.w.Write(nil) // tells of any error before
	return len(p), err
}

func (q *qpWriter) take(c byte) {
	held := q.held
	q.held = 0
	switch {
	case held == '\r' && c == '\n':
		q.w.WriteString("\r\n")
		q.column = 0
		return
	case held == '\r', held != 0 && c == '\r': // blanks at the end of a line would be lost (rule 3)
		q.escape(held)
	case held != 0:
		q.literal(held)
	}
	switch {
	case c == ' ' || c == '\t' || c == '\r':
		q.held = c
	case c > ' ' && c < 0x7f && c != '=':
		q.literal(c)
	default:
		q.escape(c)
	}
}

// literal writes a byte as it is; but no line begins with "-", or it could look like a boundary.
func (q *qpWriter) literal(c byte) {
	q.room(1)
	if q.column == 0 && c == '-' {
		q.escape(c)
		return
	}
	q.w.WriteByte(c)
	q.column++
}

func (q *qpWriter) escape(c byte) {
	const digits = "0123456789ABCDEF"
	q.room(3)
	q.w.WriteByte('=')
	q.w.WriteByte(digits[c>>4])
	q.w.WriteByte(digits[c&15])
	q.column += 3
}

// room breaks the line softly if it cannot hold n bytes and the "=" of such a break (rule 5).
func (q *qpWriter) room(n int) {
	if q.column+n < encodedLine {
		return
	}
	q.w.WriteString("=\r\n")
	q.column = 0
}

func (q *qpWriter) close() error {
	if q.held != 0 {
		q.escape(q.held)
	}
	_, err := q.w.Write(nil)
	return err
}
