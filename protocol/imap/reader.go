package imap

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
)

// Limits bounds what a Reader takes from a client. A zero field means its default.
type Limits struct {
	LineBytes    int   // the text of one command without its literals; default 64 KiB
	LiteralBytes int64 // the literals of one command together, APPEND's messages apart; default 64 KiB
	AppendBytes  int64 // one message of APPEND; default 64 MiB
	// DrainBytes is the largest message that is refused politely when the client sends it without waiting:
	// up to here it is read and thrown away, beyond it the connection ends. Default: 4 * AppendBytes.
	DrainBytes int64
	Depth      int // nesting of parentheses; default 32
}

func (l Limits) withDefaults() Limits {
	def := func(p *int64, n int64) {
		if *p <= 0 {
			*p = n
		}
	}
	if l.LineBytes <= 0 {
		l.LineBytes = 64 << 10
	}
	if l.Depth <= 0 {
		l.Depth = 32
	}
	def(&l.LiteralBytes, 64<<10)
	def(&l.AppendBytes, 64<<20)
	def(&l.DrainBytes, min(l.AppendBytes, math.MaxInt64/4)*4)
	return l
}

// ReaderConfig is what NewReader needs to know.
type ReaderConfig struct {
	Limits Limits
	// Continue sends a continuation ("+ ...\r\n") and flushes it, so that the client sends its literal.
	// Its error is returned by the call that needed it. Required.
	Continue func() error
}

// Reader reads the commands of one connection. It is used by one goroutine at a time.
type Reader struct {
	br     *bufio.Reader
	lim    Limits
	cont   func() error
	utf8   bool
	buf    []byte       // the command in wire form, without its last line end
	append *appendState // while the messages of an APPEND may remain
	broken error        // once the stream cannot be followed any more
}

// NewReader returns a Reader of the commands in r.
func NewReader(r io.Reader, cfg ReaderConfig) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, 8<<10), lim: cfg.Limits.withDefaults(), cont: cfg.Continue}
}

// SetUTF8 says whether mailbox names come as UTF-8 (after ENABLE UTF8=ACCEPT or IMAP4rev2; RFC 6855 §3, RFC 9051
// §5.1) or in modified UTF-7 (RFC 3501 §5.1.3).
func (r *Reader) SetUTF8(on bool) { r.utf8 = on }

// SetLimits changes what is taken from the client from now on: before the login it should be little.
func (r *Reader) SetLimits(l Limits) { r.lim = l.withDefaults() }

// Buffered returns how many bytes were read from the connection and not yet used. At STARTTLS it must be 0:
// what a client sent before the handshake must not count as sent under its protection.
func (r *Reader) Buffered() int { return r.br.Buffered() }

// ReadCommand reads the next command. What is left of the command before it is drained first. Errors are
// *SyntaxError and *RefusedError (answer and go on), *FatalError (say BYE and close), or those of the connection.
func (r *Reader) ReadCommand() (*Command, error) {
	if err := r.finishAppend(); err != nil {
		return nil, err
	}
	if cap(r.buf) > 16<<10 {
		r.buf = nil // an idle connection keeps no large buffer
	}
	r.buf = r.buf[:0]
	lit, err := r.gather()
	if err != nil {
		return nil, r.fail(err)
	}
	p := &parser{b: r.buf, utf8: r.utf8, maxDepth: r.lim.Depth}
	cmd := p.command()
	if lit != nil {
		r.append = &appendState{lit: *lit, first: p.message}
	}
	if p.err != nil {
		return nil, p.commandError(cmd)
	}
	if lit != nil {
		return cmd, r.checkAppendSize(cmd.Tag)
	}
	return cmd, nil
}

// ReadLine reads one line that is no command: DONE after IDLE, or a client's answer in AUTHENTICATE. The line end is cut.
func (r *Reader) ReadLine() (string, error) {
	if err := r.finishAppend(); err != nil {
		return "", err
	}
	start := len(r.buf)
	err := r.line()
	line := string(r.buf[start:])
	r.buf = r.buf[:start]
	return line, r.fail(err)
}

// fail remembers an error after which nothing more can be read.
func (r *Reader) fail(err error) error {
	if err == nil {
		return nil
	}
	var syntax *SyntaxError
	var refused *RefusedError
	if !errors.As(err, &syntax) && !errors.As(err, &refused) {
		r.broken = err
	}
	return err
}

// gather appends one command to r.buf: lines and, between them, literals, all in wire form. At the
// message of an APPEND it stops and returns the literal's header, which is the last thing in r.buf.
func (r *Reader) gather() (*literal, error) {
	literals := int64(0)
	for {
		start := len(r.buf)
		if err := r.line(); err != nil {
			return nil, err
		}
		lit, ok := literalAtEnd(r.buf[start:])
		if !ok {
			return nil, nil
		}
		if appendMessageAt(r.buf, len(r.buf)-lit.header, literals > 0) {
			return &lit, nil
		}
		literals += max(lit.size, 1)
		if lit.size > r.lim.LiteralBytes || literals > r.lim.LiteralBytes {
			return nil, r.tooLarge(lit)
		}
		if err := r.literal(lit); err != nil {
			return nil, err
		}
	}
}

// literal appends the octets of lit to r.buf behind its header, asking the client for them where it waits.
func (r *Reader) literal(lit literal) error {
	if !lit.nonSync {
		if openQuote(r.buf) {
			// The client may not have meant a literal, and waits for nothing.
			return syntaxError(r.buf, "unfinished quoted string")
		}
		if err := r.cont(); err != nil {
			return err
		}
	}
	r.buf = append(r.buf, '\r', '\n')
	start := len(r.buf)
	r.buf = append(r.buf, make([]byte, lit.size)...)
	_, err := io.ReadFull(r.br, r.buf[start:])
	return unexpected(err)
}

// tooLarge refuses a literal: one that the client announces is never sent once the command was answered
// (RFC 9051 §4.3), but one that follows at once would have to be read (RFC 7888 §4 allows to close instead).
func (r *Reader) tooLarge(lit literal) error {
	if lit.nonSync {
		return &FatalError{Text: "literal too large"}
	}
	tag, name := tagAndName(r.buf)
	return &RefusedError{Tag: tag, Name: name, Code: CodeTooBig, Text: "Literal too large"}
}

// line appends the next line to r.buf without its line end. A bare LF ends a line too, but not inside a quoted string: there
// what follows would be the rest of the string, taken for a command.
func (r *Reader) line() error {
	if r.broken != nil {
		return r.broken
	}
	start := len(r.buf)
	for {
		piece, err := r.br.ReadSlice('\n')
		r.buf = append(r.buf, piece...)
		if len(r.buf)-start > r.lim.LineBytes || len(r.buf) > r.lim.LineBytes+int(r.lim.LiteralBytes) {
			return &FatalError{Text: "command line too long"}
		}
		if err == nil {
			break
		}
		if err != bufio.ErrBufferFull {
			if len(r.buf) > start {
				err = unexpected(err)
			}
			return err
		}
	}
	n := len(r.buf) - 1
	if n > start && r.buf[n-1] == '\r' {
		r.buf = r.buf[:n-1]
		return nil
	}
	r.buf = r.buf[:n]
	if openQuote(r.buf[start:]) {
		return &FatalError{Text: "line feed in a quoted string"}
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// literal is the header of a literal: {size}, {size+} or ~{size}.
type literal struct {
	size    int64
	nonSync bool
	header  int // bytes from "{" (or "~{") to "}"
}

// literalAtEnd finds the header of a literal at the end of a line. Whatever stands before it: outside of a literal no
// valid line ends in this form, and to take text for a literal is harmless where the opposite is not.
func literalAtEnd(line []byte) (literal, bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return literal{}, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return literal{}, false
	}
	digits, nonSync := bytes.CutSuffix(line[open+1:len(line)-1], []byte("+"))
	if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) != 0 {
		return literal{}, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		n = math.MaxInt64 // beyond every limit
	}
	if open > 0 && line[open-1] == '~' {
		open--
	}
	return literal{size: n, nonSync: nonSync, header: len(line) - open}, true
}

// openQuote tells whether text (literals may be among it) ends inside a quoted string. It is a guess where literals
// hold quotes, and used only to be more careful.
func openQuote(b []byte) bool {
	open := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '"':
			open = !open
		case b[i] == '\\' && open:
			i++
		}
	}
	return open
}

// syntaxError makes the error for a command that could not even be gathered.
func syntaxError(buf []byte, text string) error {
	tag, name := tagAndName(buf)
	return &SyntaxError{Tag: tag, Name: name, Text: text}
}

// tagAndName reads the first words of a command as far as they are well-formed.
func tagAndName(buf []byte) (tag, name string) {
	p := &parser{b: buf}
	tag = p.tag()
	if p.err != nil {
		return "*", ""
	}
	p.sp()
	name = p.keyword()
	if p.err != nil {
		name = ""
	}
	return tag, name
}
