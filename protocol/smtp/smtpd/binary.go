package smtpd

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"strings"
)

// Bounds on a message of BODY=BINARYMIME.
const (
	maxPartHeaderBytes = 256 << 10
	maxPartDepth       = 50
	maxBoundaryBytes   = 200 // RFC 2046 §5.1.1 says 70; what is longer is no boundary, and its parts may hold no binary content
	base64LineBytes    = 57  // which make 76 letters (RFC 2045 §6.8)
)

// textual makes of a message of BODY=BINARYMIME (RFC 3030 §3) one that is lines of text: its parts in binary become base64, and those that hold
// them say that they are 8bit no longer binary. What is stored is read by lines, shown by IMAP, and passed on to servers that know no
// BINARYMIME: a lone CR or LF in it would be a line end to one and none to another. Signatures over such parts do not survive, as on any way through
// a server that has no BINARYMIME.
type textual struct {
	r          *bufio.Reader
	out        bytes.Buffer
	boundaries []string // from the outside in
	header     []byte   // of a part, as far as it was read; nil: not within one
	encoder    *lineEncoder
	held       []byte // a line end that may belong to the delimiter behind it (RFC 2046 §5.1.1)
	inLine     bool   // what comes does not begin a line
	err        error
}

func newTextual(r io.Reader) *textual {
	return &textual{r: bufio.NewReaderSize(r, 16<<10), header: []byte{}}
}

// Read implements io.Reader.
func (t *textual) Read(b []byte) (int, error) {
	for t.out.Len() == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.step()
	}
	return t.out.Read(b)
}

// step takes a line, or a piece of one.
func (t *textual) step() {
	piece, err := t.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	if len(piece) > 0 {
		begins := !t.inLine
		t.inLine = !bytes.HasSuffix(piece, []byte("\r\n"))
		if err := t.take(piece, begins); err != nil {
			t.err = err
			return
		}
	}
	if err == io.EOF {
		t.end()
	}
	if err != nil {
		t.err = err
	}
}

func (t *textual) take(piece []byte, begins bool) error {
	if begins && t.delimiter(piece) {
		return nil
	}
	switch {
	case t.header != nil:
		return t.headerLine(piece)
	case t.encoder != nil:
		t.content(piece)
	default:
		t.out.Write(piece)
	}
	return nil
}

// content encodes, but for a line end that may be the delimiter's.
func (t *textual) content(piece []byte) {
	t.encoder.write(t.held)
	text, ended := bytes.CutSuffix(piece, []byte("\r\n"))
	t.encoder.write(text)
	t.held = nil
	if ended {
		t.held = []byte("\r\n")
	}
}

// delimiter acts on a line that ends a part (RFC 2046 §5.1.1); false: it is none.
func (t *textual) delimiter(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("--")) {
		return false
	}
	text := strings.TrimRight(string(line[2:]), " \t\r\n")
	for i := len(t.boundaries) - 1; i >= 0; i-- {
		last := text == t.boundaries[i]+"--"
		if text != t.boundaries[i] && !last {
			continue
		}
		t.endPart()
		t.out.Write(line)
		t.boundaries = t.boundaries[:i+1]
		if last {
			t.boundaries = t.boundaries[:i]
		} else {
			t.header = []byte{}
		}
		return true
	}
	return false
}

// endPart writes what is left of a part.
func (t *textual) endPart() {
	if t.header != nil {
		t.out.Write(t.header)
		t.header = nil
	}
	if t.encoder != nil {
		t.encoder.flush()
		t.encoder, t.held = nil, nil
	}
}

// end is that of the message, whose last line end is its own.
func (t *textual) end() {
	if t.encoder != nil {
		t.encoder.write(t.held)
	}
	t.endPart()
}

// headerLine collects a part's header, and decides at its end.
func (t *textual) headerLine(piece []byte) error {
	ends := len(t.header) == 0 || bytes.HasSuffix(t.header, []byte("\n"))
	t.header = append(t.header, piece...)
	if len(t.header) > maxPartHeaderBytes {
		return errHeaderSize
	}
	if ends && string(piece) == "\r\n" {
		header := t.header
		t.header = nil
		return t.begin(header)
	}
	return nil
}

// begin writes a part's header, and says how what follows is to be taken.
func (t *textual) begin(header []byte) error {
	if bytes.ContainsAny(bytes.ReplaceAll(header, []byte("\r\n"), nil), "\r\n\x00") {
		return errBareLineEnd // where its fields end is anybody's guess
	}
	h := &head{raw: header[:len(header)-2], rest: []byte("\r\n")}
	kind, params, err := mime.ParseMediaType(firstOf(h.values("content-type")))
	if err != nil {
		kind, params = "text/plain", nil // RFC 2045 §5.2
	}
	binary := strings.EqualFold(firstOf(h.values("content-transfer-encoding")), "binary")
	switch {
	case len(t.boundaries) > maxPartDepth:
		return errHeaderSize
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" && len(params["boundary"]) <= maxBoundaryBytes:
		t.relabel(h, binary, "8bit")
		t.boundaries = append(t.boundaries, params["boundary"])
	case kind == "message/rfc822" || kind == "message/global":
		t.relabel(h, binary, "8bit")
		t.header = []byte{}
	case binary:
		t.relabel(h, binary, "base64")
		t.encoder = &lineEncoder{out: &t.out}
	default:
		t.relabel(h, false, "")
	}
	return nil
}

// relabel writes a header with another encoding in the place of binary.
func (t *textual) relabel(h *head, binary bool, encoding string) {
	if binary {
		h.replace("Content-Transfer-Encoding", "Content-Transfer-Encoding: "+encoding+"\r\n")
	}
	_ = h.writeTo(&t.out) // memory
}

// lineEncoder writes base64 in lines.
type lineEncoder struct {
	out  *bytes.Buffer
	rest []byte // of a line that is not full
}

func (e *lineEncoder) write(b []byte) {
	for len(b) > 0 {
		n := min(base64LineBytes-len(e.rest), len(b))
		e.rest = append(e.rest, b[:n]...)
		if b = b[n:]; len(e.rest) == base64LineBytes {
			e.flush()
		}
	}
}

// flush writes the line that there is.
func (e *lineEncoder) flush() {
	if len(e.rest) == 0 {
		return
	}
	e.out.WriteString(base64.StdEncoding.EncodeToString(e.rest) + "\r\n")
	e.rest = e.rest[:0]
}
