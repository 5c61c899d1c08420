package mime

import "strings"

// token is a lexical element of an address list.
type token struct {
	kind  byte // 'a' atom, 'q' quoted string, 'c' comment, 'd' domain literal, or the special character itself
	text  string
	space bool // blanks stand before it
}

// ParseAddressList reads the value of an address field (RFC 5322 §3.4, RFC 6532), unfolded. Whatever it holds, each element
// between commas becomes an address of some sort; empty elements are passed over. At most MaxAddresses are returned.
func ParseAddressList(s string) []Address {
	p := &addressParser{s: s}
	for len(p.out) < MaxAddresses {
		if !p.next() {
			break
		}
	}
	if p.group && len(p.out) < MaxAddresses {
		p.out = append(p.out, Address{Kind: GroupEnd})
	}
	return p.out
}

type addressParser struct {
	s     string
	i     int
	group bool
	out   []Address
}

// next reads one element of the list with the delimiter behind it; false at the end.
func (p *addressParser) next() bool {
	var tokens []token
	angle := false
	for {
		t, ok := p.token()
		if !ok {
			p.add(tokens)
			return false
		}
		switch {
		case t.kind == '<' && !angle:
			// Without an end, the address reaches to the next comma.
			angle = strings.IndexByte(p.s[p.i:], '>') >= 0
		case t.kind == '>':
			angle = false
		case angle:
		case t.kind == ',':
			p.add(tokens)
			return true
		case t.kind == ';':
			p.add(tokens)
			if p.group {
				p.out, p.group = append(p.out, Address{Kind: GroupEnd}), false
			}
			return true
		case t.kind == ':' && !p.group:
			p.group = true
			p.out = append(p.out, Address{Kind: GroupStart, Mailbox: phrase(tokens)})
			return true
		}
		tokens = append(tokens, t)
	}
}

const addressSpecials = "<>@,;:.()[]\""

func (p *addressParser) token() (token, bool) {
	t := token{}
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t') {
		p.i++
		t.space = true
	}
	if p.i >= len(p.s) {
		return t, false
	}
	switch c := p.s[p.i]; c {
	case '"':
		t.kind, t.text = 'q', p.delimited('"', '"')
	case '(':
		t.kind, t.text = 'c', p.delimited('(', ')')
	case '[':
		t.kind, t.text = 'd', "["+p.delimited('[', ']')+"]"
	default:
		if strings.IndexByte(addressSpecials, c) >= 0 {
			p.i++
			t.kind, t.text = c, string(c)
			break
		}
		t.kind, t.text = 'a', p.atom()
	}
	return t, true
}

// delimited reads from an opening to its closing character, which may lack, without escapes. Parentheses nest.
func (p *addressParser) delimited(open, close byte) string {
	var b strings.Builder
	depth := 1
	for p.i++; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch {
		case c == '\\' && p.i+1 < len(p.s):
			p.i++
			c = p.s[p.i]
		case c == close:
			if depth--; depth == 0 {
				p.i++
				return b.String()
			}
		case c == open:
			depth++
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (p *addressParser) atom() string {
	rest := p.s[p.i:]
	// An encoded-word is one atom even with characters in it that RFC 2047 §5 forbids in a phrase.
	if n := encodedWordLen(rest); n > 0 {
		p.i += n
		return rest[:n]
	}
	n := strings.IndexAny(rest, addressSpecials+" \t")
	if n < 0 {
		n = len(rest)
	}
	p.i += n
	return rest[:n]
}

// add makes an address of the tokens between two delimiters.
func (p *addressParser) add(tokens []token) {
	var plain []token
	comment := ""
	for _, t := range tokens {
		if t.kind == 'c' {
			comment = strings.TrimSpace(t.text)
			continue
		}
		plain = append(plain, t)
	}
	if len(plain) == 0 {
		return
	}
	for i, t := range plain {
		if t.kind == '<' {
			p.addAngle(phrase(plain[:i]), comment, plain[i+1:])
			return
		}
	}
	a := addrSpec(plain)
	a.Name = comment
	if a.Host == "" && len(plain) > 1 && !hasKind(plain, '@') {
		a = Address{Name: phrase(plain)} // words, but no address
	}
	p.keep(a)
}

// keep passes over an element that says nothing, such as "@" or "<>".
func (p *addressParser) keep(a Address) {
	if a.Name != "" || a.Mailbox != "" || a.Host != "" {
		p.out = append(p.out, a)
	}
}

func (p *addressParser) addAngle(name, comment string, tokens []token) {
	for i, t := range tokens {
		if t.kind == '>' {
			tokens = tokens[:i]
			break
		}
	}
	// RFC 5322 §4.4: an obsolete route, "@a,@b:", is dropped.
	if len(tokens) > 0 && tokens[0].kind == '@' {
		for i, t := range tokens {
			if t.kind == ':' {
				tokens = tokens[i+1:]
				break
			}
		}
	}
	a := addrSpec(tokens)
	if a.Name = name; name == "" {
		a.Name = comment
	}
	p.keep(a)
}

func hasKind(tokens []token, kind byte) bool {
	for _, t := range tokens {
		if t.kind == kind {
			return true
		}
	}
	return false
}

// addrSpec splits local-part "@" domain at the last "@".
func addrSpec(tokens []token) Address {
	at := -1
	for i, t := range tokens {
		if t.kind == '@' {
			at = i
		}
	}
	if at < 0 {
		return Address{Mailbox: concat(tokens)}
	}
	return Address{Mailbox: concat(tokens[:at]), Host: concat(tokens[at+1:])}
}

func concat(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(t.text)
	}
	return b.String()
}

// phrase joins words as they were written, without quotes and with one blank where there were some.
func phrase(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		if t.kind == 'c' {
			continue
		}
		if t.space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.text)
	}
	return strings.TrimSpace(b.String())
}
