package mime

import (
	"bufio"
	"html"
	"io"
	"strings"
)

// htmlText yields the text of an HTML document in UTF-8: tags become blanks where they divide words, scripts, styles and comments
// vanish, character references are resolved. It is meant for search and previews and bounded in memory.
type htmlText struct {
	br   *bufio.Reader
	out  []byte
	skip string // the element whose content is dropped
	err  error
}

func newHTMLText(r io.Reader) io.Reader { return &htmlText{br: bufio.NewReader(r)} }

const (
	maxTag       = 1024 // bytes kept of a tag; the rest of it is dropped
	maxReference = 32   // bytes of a character reference
)

func (h *htmlText) Read(p []byte) (int, error) {
	for len(h.out) == 0 {
		if h.err != nil {
			return 0, h.err
		}
		h.fill()
	}
	n := copy(p, h.out)
	h.out = h.out[n:]
	return n, nil
}

// fill decodes some more.
func (h *htmlText) fill() {
	h.out = h.out[:0]
	for len(h.out) < 512 {
		c, err := h.br.ReadByte()
		if err != nil {
			h.err = err
			return
		}
		switch {
		case c == '<':
			h.tag()
		case h.skip != "":
		case c == '&':
			h.reference()
		default:
			h.out = append(h.out, c)
		}
	}
}

// tag reads from "<" to ">". What does not look like a tag is text.
func (h *htmlText) tag() {
	if h.skip != "" {
		// In a script, "<" is no tag: only the element's own end is looked for.
		if b, _ := h.br.Peek(len(h.skip) + 1); len(b) == 0 || b[0] != '/' || !strings.EqualFold(string(b[1:]), h.skip) {
			return
		}
	}
	if b, _ := h.br.Peek(3); string(b) == "!--" {
		h.comment()
		return
	}
	if b, err := h.br.Peek(1); err != nil || !isTagStart(b[0]) {
		h.out = append(h.out, '<')
		return
	}
	var name strings.Builder
	quote := byte(0)
	inName := true
	for n := 0; ; n++ {
		c, err := h.br.ReadByte()
		if err != nil {
			h.err = err
			return
		}
		switch {
		case c == '>' && (quote == 0 || n > maxTag): // an open quote must not swallow the document
			h.tagEnd(strings.ToLower(name.String()))
			return
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
			inName = false
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			inName = false
		}
		if inName && n < 32 {
			name.WriteByte(c)
		}
	}
}

func isTagStart(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '/' || c == '!' || c == '?'
}

// inline elements do not divide words.
var inlineTags = map[string]bool{
	"a": true, "abbr": true, "b": true, "big": true, "em": true, "font": true, "i": true, "ins": true, "del": true, "mark": true,
	"s": true, "small": true, "span": true, "strong": true, "sub": true, "sup": true, "tt": true, "u": true, "wbr": true, "o:p": true,
}

func (h *htmlText) tagEnd(name string) {
	name = strings.TrimSuffix(name, "/")
	closing := strings.HasPrefix(name, "/")
	name = strings.TrimPrefix(name, "/")
	if h.skip != "" {
		if closing && name == h.skip {
			h.skip = ""
		}
		return
	}
	switch name {
	case "script", "style", "title", "template":
		if !closing {
			h.skip = name
		}
	}
	if !inlineTags[name] {
		h.out = append(h.out, ' ')
	}
}

func (h *htmlText) comment() {
	dashes := 0 // those that open it may end it too: "<!-->" is a comment
	for {
		c, err := h.br.ReadByte()
		if err != nil {
			h.err = err
			return
		}
		switch {
		case c == '>' && dashes >= 2:
			return
		case c == '-':
			dashes++
		default:
			dashes = 0
		}
	}
}

// reference resolves "&name;" and "&#n;".
func (h *htmlText) reference() {
	b, _ := h.br.Peek(maxReference)
	n := 0
	for n < len(b) && (isAlnum(b[n]) || n == 0 && b[n] == '#') {
		n++
	}
	if n < len(b) && b[n] == ';' {
		n++
	}
	text := "&" + string(b[:n])
	_, _ = h.br.Discard(n) // was peeked: cannot fail
	h.out = append(h.out, strings.ReplaceAll(html.UnescapeString(text), "\u00a0", " ")...)
}

func isAlnum(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' }
