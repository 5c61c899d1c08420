package mime

import (
	"io"
)

// DecodePart returns the text of a part in UTF-8 for search, given its raw body: the transfer encoding undone, the charset
// converted, HTML reduced to its text. For parts that are no text only the transfer encoding is undone.
func DecodePart(p *Part, r io.Reader) io.Reader {
	r = DecodeTransfer(p.Encoding, r)
	if p.Type != "text" {
		return r
	}
	r = charsetReader(p.Param("charset"), r)
	if p.Subtype == "html" {
		r = newHTMLText(r)
	}
	return r
}

// TextParts returns the leaves whose text a search in the body looks at, in order, those of nested messages
// included.
func (s *Structure) TextParts() []*Part {
	var out []*Part
	s.Walk(func(p *Part) {
		if p.Type == "text" {
			out = append(out, p)
		}
	})
	return out
}

// Walk calls f for all parts, each before its children. The root of a nested message counts as a child of its part.
func (s *Structure) Walk(f func(*Part)) {
	if s.Root != nil {
		s.Root.walk(f)
	}
}

func (p *Part) walk(f func(*Part)) {
	f(p)
	for _, c := range p.Parts {
		c.walk(f)
	}
	if p.Message != nil {
		p.Message.Root.walk(f)
	}
}
