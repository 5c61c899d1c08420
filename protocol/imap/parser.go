package imap

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parser reads the elements of one whole command in wire form. The first error sticks, and all that is read after it
// is empty; no method moves on then, so loops must ask for p.err.
type parser struct {
	b        []byte
	i        int
	utf8     bool
	depth    int
	maxDepth int
	err      error
	refusal  *RefusedError  // set with err when the command is right but cannot be done
	message  *AppendMessage // the head of APPEND's first message
}

func (p *parser) fail(text string) {
	if p.err == nil {
		p.err = errors.New(text)
	}
}

// peek returns the next byte, 0 at the end (a NUL is refused wherever it stands).
func (p *parser) peek() byte {
	if p.err != nil || p.i >= len(p.b) {
		return 0
	}
	return p.b[p.i]
}

func (p *parser) atEnd() bool { return p.i >= len(p.b) }

// end fails unless everything was read. Blanks at the end of a line are common and harmless.
func (p *parser) end() {
	for p.peek() == ' ' {
		p.i++
	}
	if p.err == nil && !p.atEnd() {
		p.fail("unexpected text after the arguments")
	}
}

func (p *parser) accept(c byte) bool {
	if p.err == nil && p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(c byte) {
	if !p.accept(c) {
		p.fail("\"" + string(c) + "\" expected")
	}
}

func (p *parser) sp() {
	if !p.accept(' ') {
		p.fail("missing argument")
	}
}

// open enters a parenthesis; each successful open has its close.
func (p *parser) open() {
	p.expect('(')
	if p.depth++; p.depth > p.maxDepth {
		p.fail("too deeply nested")
	}
}

func (p *parser) close() {
	p.expect(')')
	p.depth--
}

// list reads "(" item *(SP item) ")", possibly empty.
func (p *parser) list(item func()) {
	p.open()
	if p.peek() != ')' {
		item()
		for p.accept(' ') {
			item()
		}
	}
	p.close()
}

// while reads the longest run of bytes that satisfy ok.
func (p *parser) while(ok func(byte) bool) string {
	start := p.i
	for p.err == nil && p.i < len(p.b) && ok(p.b[p.i]) {
		p.i++
	}
	return string(p.b[start:p.i])
}

// isAtomChar: RFC 9051 §9, ATOM-CHAR. Bytes above 127 are not.
func isAtomChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`(){%*"\]`, c) < 0
}

// isAstringChar: ASTRING-CHAR = ATOM-CHAR / "]". Bytes above 127 are let in: clients send raw UTF-8 names.
func isAstringChar(c byte) bool { return isAtomChar(c) || c == ']' || c >= 0x80 }

func (p *parser) tag() string {
	s := p.while(func(c byte) bool { return isAtomChar(c) && c != '+' || c == ']' })
	if s == "" || len(s) > 128 {
		p.fail("bad tag")
	}
	return s
}

func (p *parser) atom() string {
	s := p.while(isAtomChar)
	if s == "" {
		p.fail("atom expected")
	}
	return s
}

// keyword reads an atom that is a word of the protocol, in upper case.
func (p *parser) keyword() string { return strings.ToUpper(p.atom()) }

// word reads a word made of letters, digits, dots and dashes: what precedes "[" in FETCH items.
func (p *parser) word() string {
	return strings.ToUpper(p.while(func(c byte) bool {
		return isLetter(c) || isDigit(c) || c == '.' || c == '-'
	}))
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

func (p *parser) number(bits int) uint64 {
	s := p.while(isDigit)
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		p.fail("number expected")
	}
	return n
}

func (p *parser) number32() uint32 { return uint32(p.number(32)) }

// number64 reads a number of at most 63 bits (RFC 9051 §9, number64).
func (p *parser) number64() uint64 { return p.number(63) }

// astring: RFC 9051 §9.
func (p *parser) astring() string {
	if c := p.peek(); c == '"' || c == '{' {
		return p.str()
	}
	s := p.while(isAstringChar)
	if s == "" {
		p.fail("string expected")
	}
	return s
}

// str reads a quoted string or a literal.
func (p *parser) str() string {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literal()
	}
	p.fail("string expected")
	return ""
}

// nstring reads a string or NIL.
func (p *parser) nstring() (s string, present bool) {
	if c := p.peek(); c == '"' || c == '{' {
		return p.str(), true
	}
	if p.keyword() != "NIL" {
		p.fail("string or NIL expected")
	}
	return "", false
}

func (p *parser) quoted() string {
	p.expect('"')
	var out []byte
	for {
		c := p.peek()
		switch {
		case c == 0 || c == '\r' || c == '\n':
			p.fail("unfinished quoted string")
			return ""
		case c == '"':
			p.i++
			return string(out)
		case c == '\\':
			p.i++
			if c = p.peek(); c != '"' && c != '\\' {
				p.fail("bad escape in a quoted string")
				return ""
			}
		}
		out = append(out, c)
		p.i++
	}
}

// literal reads {n}CRLF and n octets. RFC 9051 §4.3.1: no NUL outside of literal8.
func (p *parser) literal() string {
	p.expect('{')
	n := p.number(31)
	p.accept('+')
	p.expect('}')
	p.expect('\r')
	p.expect('\n')
	if p.err != nil || uint64(len(p.b)-p.i) < n {
		p.fail("bad literal")
		return ""
	}
	s := p.b[p.i : p.i+int(n)]
	p.i += int(n)
	if bytes.IndexByte(s, 0) >= 0 {
		p.fail("NUL in a literal")
	}
	return string(s)
}

// mailbox reads a mailbox name, decoded to UTF-8; INBOX in any case is "INBOX" (RFC 9051 §5.1).
func (p *parser) mailbox() string { return CanonicalMailbox(p.mailboxName(p.astring())) }

// listMailbox reads the pattern of LIST: list-char allows the wildcards.
func (p *parser) listMailbox() string {
	if c := p.peek(); c == '"' || c == '{' {
		return p.mailboxName(p.str())
	}
	s := p.while(func(c byte) bool { return isAstringChar(c) || c == '%' || c == '*' })
	if s == "" {
		p.fail("mailbox pattern expected")
	}
	return p.mailboxName(s)
}

// maxMailboxBytes bounds mailbox names and patterns, in UTF-8.
const maxMailboxBytes = 2048

func (p *parser) mailboxName(s string) string {
	if p.err != nil {
		return ""
	}
	if !p.utf8 {
		decoded, err := DecodeMailbox(s)
		if err != nil {
			p.fail("bad modified UTF-7 in a mailbox name")
		}
		s = decoded
	}
	if len(s) > maxMailboxBytes {
		p.fail("mailbox name too long")
	}
	if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
		p.fail("bad character in a mailbox name")
	}
	return s
}

// numSet reads a sequence-set.
func (p *parser) numSet() NumSet {
	s := p.while(func(c byte) bool { return isDigit(c) || c == ':' || c == ',' || c == '*' || c == '$' })
	set, err := ParseNumSet(s)
	if err != nil {
		p.fail("message set expected")
	}
	return set
}

// flag reads a system flag or keyword.
func (p *parser) flag() Flag {
	system := p.accept('\\')
	s := p.atom()
	if len(s) > 255 {
		p.fail("flag too long")
	}
	if !system {
		return Flag(s)
	}
	f := CanonicalFlag(Flag(`\` + s))
	if !isSystemFlag(f) {
		p.fail("unknown system flag")
	}
	return f
}

func (p *parser) flagList() []Flag {
	flags := []Flag{}
	p.list(func() { flags = append(flags, p.flag()) })
	return flags
}
