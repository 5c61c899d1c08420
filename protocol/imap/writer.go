package imap

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Writer writes responses. It is buffered: nothing is sent for certain before Flush. The first error sticks and is
// returned by Flush and Err; what is written after it goes nowhere. A Writer is used by one goroutine at a time.
type Writer struct {
	bw    *bufio.Writer
	utf8  bool
	err   error
	fresh bool // at the start of a list or line: no blank before the next element
	num   [20]byte
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{bw: bufio.NewWriterSize(w, 16<<10), fresh: true}
}

// SetUTF8 says whether the client takes UTF-8 in quoted strings and mailbox names (after ENABLE UTF8=ACCEPT or
// IMAP4rev2; RFC 6855 §3, RFC 9051 §4.3).
func (w *Writer) SetUTF8(on bool) { w.utf8 = on }

// Flush sends what is buffered.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.bw.Flush()
	}
	return w.err
}

// Err returns the first error of writing.
func (w *Writer) Err() error { return w.err }

// Buffered returns how many bytes wait for Flush.
func (w *Writer) Buffered() int { return w.bw.Buffered() }

func (w *Writer) raw(s string) {
	if w.err == nil {
		_, w.err = w.bw.WriteString(s)
	}
}

func (w *Writer) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.bw.Write(b)
	}
}

// item starts an element: elements of a line or list are divided by one blank.
func (w *Writer) item() {
	if !w.fresh {
		w.raw(" ")
	}
	w.fresh = false
}

// Atom writes s as it is, as the next element. It must be of ATOM-CHARs or otherwise right in its place.
func (w *Writer) Atom(s string) {
	w.item()
	w.raw(s)
}

// Uint writes a number as the next element.
func (w *Writer) Uint(n uint64) {
	w.item()
	w.bytes(strconv.AppendUint(w.num[:0], n, 10))
}

// Open starts a parenthesized list as the next element.
func (w *Writer) Open() {
	w.item()
	w.raw("(")
	w.fresh = true
}

// Close ends the innermost list.
func (w *Writer) Close() {
	w.raw(")")
	w.fresh = false
}

// CRLF ends the line.
func (w *Writer) CRLF() {
	w.raw("\r\n")
	w.fresh = true
}

// String writes s as a quoted string where that can be, and as a literal otherwise (RFC 9051 §4.3).
func (w *Writer) String(s string) {
	w.item()
	if !w.quotable(s) {
		w.literalString(s)
		return
	}
	w.raw(`"`)
	if strings.ContainsAny(s, `"\`) {
		s = quoteEscapes.Replace(s)
	}
	w.raw(s)
	w.raw(`"`)
}

var quoteEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// maxQuoted is the longest string that is quoted: some clients bound the length of a line.
const maxQuoted = 4096

// quotable: no CR, LF or NUL; 8-bit only as UTF-8 to clients that asked for it.
func (w *Writer) quotable(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0 || c == '\r' || c == '\n':
			return false
		case c >= 0x80:
			ascii = false
		}
	}
	return len(s) <= maxQuoted && (ascii || w.utf8 && utf8.ValidString(s))
}

// literalString writes a literal. RFC 9051 §9: CHAR8 excludes NUL, so that none is sent.
func (w *Writer) literalString(s string) {
	s = strings.ReplaceAll(s, "\x00", "")
	w.raw("{" + strconv.Itoa(len(s)) + "}\r\n")
	w.raw(s)
}

// NString writes s, or NIL if it is not present.
func (w *Writer) NString(s string, present bool) {
	if !present {
		w.Atom("NIL")
		return
	}
	w.String(s)
}

// AString writes s as an atom where that can be, otherwise as String does.
func (w *Writer) AString(s string) {
	if isAtom(s) && !strings.EqualFold(s, "NIL") {
		w.Atom(s)
		return
	}
	w.String(s)
}

// Mailbox writes a mailbox name given in UTF-8.
func (w *Writer) Mailbox(name string) {
	if !w.utf8 {
		name = EncodeMailbox(name)
	}
	w.AString(name)
}

// Flags writes a parenthesized list of flags.
func (w *Writer) Flags(flags []Flag) {
	w.Open()
	for _, f := range flags {
		w.Atom(string(f))
	}
	w.Close()
}

// DateTime writes a date-time in quotes.
func (w *Writer) DateTime(t time.Time) { w.Atom(`"` + FormatDateTime(t) + `"`) }

// Set writes a set of numbers.
func (w *Writer) Set(s NumSet) { w.Atom(s.String()) }

// Literal writes size bytes of r as a literal, straight through. A reader that yields fewer
// breaks the connection: the client would take the next response for content. RFC 9051 §9: CHAR8 excludes NUL; where a message
// holds one all the same, the client sees 0x80 in its place, so that sizes and ranges stay right (BINARY has the real byte).
func (w *Writer) Literal(size int64, r io.Reader) error { return w.literal("{", size, noNUL{r}) }

// noNUL replaces each NUL of what it reads.
type noNUL struct{ r io.Reader }

// Read implements io.Reader.
func (n noNUL) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	for rest := p[:k]; ; {
		i := bytes.IndexByte(rest, 0)
		if i < 0 {
			return k, err
		}
		rest[i] = 0x80
		rest = rest[i+1:]
	}
}

// literal8 is Literal for content that may hold NUL (RFC 9051 §9, literal8).
func (w *Writer) literal8(size int64, r io.Reader) error { return w.literal("~{", size, r) }

func (w *Writer) literal(open string, size int64, r io.Reader) error {
	w.item()
	w.raw(open + strconv.FormatInt(size, 10) + "}\r\n")
	if w.err != nil || size == 0 {
		return w.err
	}
	n, err := io.CopyN(w.bw, r, size)
	if err != nil {
		w.err = fmt.Errorf("write literal: %d of %d bytes: %w", n, size, err)
	}
	return w.err
}
