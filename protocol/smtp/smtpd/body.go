package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// dataReader reads a DATA body off the wire: it takes the dots away (RFC 5321 §4.5.2) and ends at CRLF.CRLF, at nothing else. Lone CRs and
// LFs pass; lineEnds judges them.
type dataReader struct {
	w       *wire
	rest    []byte // of the piece in the wire's buffer
	newLine bool   // the next byte begins a line, which CRLF ended
	cr      bool   // the last byte was a CR
	err     error  // sticky; io.EOF: the end was seen
}

// body is a message's bytes as they come off the wire.
type body interface {
	// Read ends with io.EOF at the message's end, and with errBody when that never comes.
	io.Reader
	// finish brings the connection behind a message that was not read to its end, or has it closed after the reply.
	finish(limit int64)
}

// body begins the body that the library expects now.
func (w *wire) body() body {
	w.endBody = true
	w.bodyDeadline(true)
	if w.bdat != nil {
		return w.bdat
	}
	return &dataReader{w: w, newLine: true}
}

// Read implements io.Reader. It takes as many lines as have arrived: a message has many.
func (r *dataReader) Read(b []byte) (n int, err error) {
	for n < len(b) {
		for len(r.rest) == 0 {
			if r.err != nil {
				return n, err0(r.err, n)
			}
			if n > 0 && !r.lineThere() {
				return n, nil
			}
			r.fill()
		}
		c := copy(b[n:], r.rest)
		r.rest = r.rest[c:]
		n += c
	}
	return n, nil
}

// lineThere is whether the next line has arrived whole.
func (r *dataReader) lineThere() bool {
	there, err := r.w.br.Peek(r.w.br.Buffered())
	return err == nil && bytes.IndexByte(there, '\n') >= 0
}

// fill reads the next line, or as much of it as the buffer holds.
func (r *dataReader) fill() {
	piece, err := r.w.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
	case errors.Is(err, io.EOF):
		r.fail(io.ErrUnexpectedEOF)
		return
	case err != nil:
		r.fail(err)
		return
	}
	if r.newLine {
		if string(piece) == ".\r\n" {
			r.err = io.EOF
			r.w.bodyDeadline(false)
			return
		}
		if piece[0] == '.' {
			piece = piece[1:]
		}
	}
	r.newLine = bytes.HasSuffix(piece, []byte("\r\n")) || r.cr && string(piece) == "\n"
	r.cr = bytes.HasSuffix(piece, []byte("\r"))
	r.rest = piece
}

func (r *dataReader) fail(err error) {
	r.err = fmt.Errorf("%w: %w", errBody, err)
	r.w.endAfterReply()
}

// finish reads on to the end of a body whose message is refused, so that the client reads the reply. When the end is not near, or does not
// come, the connection is closed after the reply: what follows is no command.
func (r *dataReader) finish(limit int64) {
	if r.err == nil {
		_, _ = io.CopyN(io.Discard, r, limit) // r.err says how it went
	}
	if r.err != io.EOF {
		r.w.endAfterReply()
	}
	r.w.bodyDeadline(false)
}
