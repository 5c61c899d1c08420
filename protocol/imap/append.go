package imap

import (
	"bytes"
	"io"
)

// appendState follows an APPEND through its messages (RFC 9051 §6.3.12; several: RFC 3502).
type appendState struct {
	lit   literal
	first *AppendMessage // parsed with the command, not yet handed out
	tag   string
	body  *appendBody // the message that was handed out last
}

// appendMessageAt tells whether the literal whose header starts at the given place is a message of APPEND: all are but
// one that stands for the mailbox name.
func appendMessageAt(buf []byte, header int, hadLiteral bool) bool {
	_, rest, ok := bytes.Cut(buf[:header], []byte(" "))
	if !ok {
		return false
	}
	name, rest, ok := bytes.Cut(rest, []byte(" "))
	return ok && bytes.EqualFold(name, []byte("APPEND")) && (hadLiteral || len(bytes.TrimLeft(rest, " ")) > 0)
}

// NextAppend returns the next message of the APPEND that ReadCommand returned, or io.EOF when the command is
// complete. Other errors are those of ReadCommand; after any of them the APPEND is over and must fail as a whole.
func (r *Reader) NextAppend() (*AppendMessage, error) {
	st := r.append
	if st == nil {
		return nil, io.EOF
	}
	if st.first == nil {
		if err := r.nextMessage(st); err != nil {
			return nil, err
		}
	}
	msg := st.first
	st.first = nil
	st.body = &appendBody{r: r, left: st.lit.size, wait: !st.lit.nonSync, utf8: msg.UTF8}
	msg.Size, msg.Body = st.lit.size, st.body
	return msg, nil
}

// nextMessage reads the line behind a message: its end, or the head of one more message.
func (r *Reader) nextMessage(st *appendState) error {
	if st.body == nil || st.body.left > 0 || st.body.wait && !st.body.asked {
		if err := r.finishAppend(); err != nil {
			return err
		}
		return io.EOF
	}
	r.buf = r.buf[:0]
	if err := r.line(); err != nil {
		return r.fail(err)
	}
	lit, more := literalAtEnd(r.buf)
	p := &parser{b: r.buf, utf8: r.utf8, maxDepth: r.lim.Depth}
	if st.body.utf8 {
		p.expect(')')
	}
	if !more {
		r.append = nil
		p.end()
		if p.err != nil {
			return &SyntaxError{Tag: st.tag, Name: "APPEND", Text: p.err.Error()}
		}
		return io.EOF
	}
	st.lit, st.body = lit, nil
	msg := p.appendMessage()
	if p.err != nil {
		return &SyntaxError{Tag: st.tag, Name: "APPEND", Text: p.err.Error()}
	}
	st.first = msg
	return r.checkAppendSize(st.tag)
}

// checkAppendSize refuses a message that is too large before any of it is read.
func (r *Reader) checkAppendSize(tag string) error {
	r.append.tag = tag
	lit := r.append.lit
	if lit.size <= r.lim.AppendBytes {
		return nil
	}
	r.append.first = nil
	if lit.nonSync && lit.size > r.lim.DrainBytes {
		return r.fail(&FatalError{Text: "message too large"})
	}
	return &RefusedError{Tag: tag, Name: "APPEND", Code: CodeTooBig, Text: "Message too large"}
}

// finishAppend drains what a client still sends of an APPEND that the server is done with. A literal that the client
// announced and was not asked for never comes: the tagged answer took the place of the continuation.
func (r *Reader) finishAppend() error {
	if r.broken != nil {
		return r.broken
	}
	st := r.append
	if st == nil {
		return nil
	}
	r.append = nil
	lit := st.lit
	left, coming := lit.size, lit.nonSync
	if st.body != nil {
		left, coming = st.body.left, lit.nonSync || st.body.asked
	}
	for coming {
		if left > r.lim.DrainBytes {
			return r.fail(&FatalError{Text: "message too large"})
		}
		if _, err := io.CopyN(io.Discard, r.br, left); err != nil {
			return r.fail(unexpected(err))
		}
		r.buf = r.buf[:0]
		if err := r.line(); err != nil {
			return r.fail(err)
		}
		lit, more := literalAtEnd(r.buf)
		left, coming = lit.size, more && lit.nonSync
	}
	return nil
}

// appendBody streams the octets of one message.
type appendBody struct {
	r     *Reader
	left  int64
	wait  bool // the client waits for a continuation
	asked bool // and got it
	utf8  bool // a ")" stands behind the literal
}

func (b *appendBody) Read(p []byte) (int, error) {
	if b.r.append == nil || b.r.append.body != b {
		return 0, io.ErrClosedPipe // the Reader went on to the next command
	}
	if b.wait && !b.asked {
		if err := b.r.cont(); err != nil {
			return 0, b.r.fail(err)
		}
		b.asked = true
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.br.Read(p)
	b.left -= int64(n)
	if b.left > 0 && err != nil {
		err = b.r.fail(unexpected(err))
	} else {
		err = nil
	}
	return n, err
}

// append parses APPEND's mailbox and the head of its first message.
// RFC 9051 §9: append = "APPEND" SP mailbox SP [flag-list SP] [date-time SP] append-data.
func (p *parser) append() any {
	p.sp()
	args := &AppendArgs{Mailbox: p.mailbox()}
	p.message = p.appendMessage()
	return args
}

// appendMessage parses what stands before a message, up to the header of its literal at the end of the buffer.
func (p *parser) appendMessage() *AppendMessage {
	msg := &AppendMessage{}
	p.sp()
	if p.peek() == '(' {
		msg.Flags = p.flagList()
		p.sp()
	}
	if p.peek() == '"' {
		msg.Date = p.dateTime()
		p.sp()
	}
	if p.peek() == 'U' || p.peek() == 'u' { // RFC 6855 §4: UTF8 (~{n}
		if p.keyword() != "UTF8" {
			p.fail("bad APPEND data")
		}
		p.sp()
		p.expect('(')
		msg.UTF8 = true
	}
	if lit, ok := literalAtEnd(p.b); !ok || p.i != len(p.b)-lit.header {
		p.fail("message literal expected")
	}
	p.i = len(p.b)
	return msg
}
