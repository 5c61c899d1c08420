package smtpd

import (
	"bytes"
	"io"
)

// lineEnds judges the bytes of a message (RFC 5321 §2.3.8): a CR without LF, a LF without CR or a NUL is an error, or, where repair is
// set, becomes a CRLF, or vanishes. It ends a last line that has no end.
type lineEnds struct {
	r      io.Reader
	repair bool
	buf    []byte // raw input
	store  []byte // backs out
	out    []byte // repaired, not yet taken
	cr     bool   // the last byte was a CR, not yet passed on
	last   byte   // the last byte passed on
	err    error
}

func newLineEnds(r io.Reader, repair bool) *lineEnds {
	return &lineEnds{r: r, repair: repair, buf: make([]byte, 16<<10), store: make([]byte, 0, 20<<10)}
}

// Read implements io.Reader.
func (l *lineEnds) Read(b []byte) (int, error) {
	for len(l.out) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		n, err := l.r.Read(l.buf)
		l.take(l.buf[:n])
		if err != nil && l.err == nil {
			l.err = err
			if err == io.EOF {
				l.end()
			}
		}
	}
	n := copy(b, l.out)
	l.out = l.out[n:]
	return n, nil
}

// take judges raw bytes and appends them, repaired, to out.
func (l *lineEnds) take(raw []byte) {
	out := l.store[:0]
	for len(raw) > 0 && l.err == nil {
		// The common case in one piece: no CR pending, and nothing special before the next line end.
		i := special(raw)
		if i > 0 {
			out = l.flushCR(out)
			out = append(out, raw[:i]...)
			raw = raw[i:]
			continue
		}
		c := raw[0]
		raw = raw[1:]
		switch {
		case c == '\n' && l.cr:
			l.cr = false
			out = append(out, '\r', '\n')
		case c == '\n':
			out = l.bare(out)
		case c == '\r':
			out = l.flushCR(out)
			l.cr = true
		default: // NUL
			out = l.flushCR(out)
			if !l.repair {
				l.err = errBareLineEnd
			}
		}
	}
	if len(out) > 0 {
		l.last = out[len(out)-1]
	}
	l.store, l.out = out, out
}

// special is the index of the first byte that is not taken as it is, len(raw) for none. Three searches that each stop where the one before found
// something are several times as fast as one for a set of bytes.
func special(raw []byte) int {
	n := len(raw)
	for _, c := range []byte{'\n', '\r', 0} {
		if i := bytes.IndexByte(raw[:n], c); i >= 0 {
			n = i
		}
	}
	return n
}

// flushCR ends a CR that no LF followed.
func (l *lineEnds) flushCR(out []byte) []byte {
	if l.cr {
		l.cr = false
		return l.bare(out)
	}
	return out
}

func (l *lineEnds) bare(out []byte) []byte {
	if !l.repair {
		l.err = errBareLineEnd
		return out
	}
	return append(out, '\r', '\n')
}

// end completes the last line: BDAT can leave it open.
func (l *lineEnds) end() {
	out := l.flushCR(l.out)
	if len(out) > 0 {
		l.last = out[len(out)-1]
	}
	if l.err == io.EOF && l.last != '\n' && l.last != 0 {
		out = append(out, '\r', '\n')
	}
	l.out = out
}
