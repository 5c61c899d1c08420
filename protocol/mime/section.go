package mime

// Specifier selects a piece of a message or part (RFC 3501 §6.4.5, section-spec).
type Specifier uint8

const (
	// SpecAll is BODY[] or BODY[1.2]: the whole message, or the body of a part.
	SpecAll Specifier = iota
	// SpecHeader is HEADER: the header of the message or of a nested message, with its blank line.
	SpecHeader
	// SpecHeaderFields is HEADER.FIELDS; Section.Fields names them.
	SpecHeaderFields
	// SpecHeaderFieldsNot is HEADER.FIELDS.NOT.
	SpecHeaderFieldsNot
	// SpecText is TEXT: the body of the message or nested message.
	SpecText
	// SpecMIME is MIME: the header of a part.
	SpecMIME
)

// Span is a range of bytes of the raw message: [Start, End).
type Span struct{ Start, End int64 }

// Len returns the number of bytes.
func (s Span) Len() int64 { return s.End - s.Start }

// Find returns the part with the given IMAP part number, or nil (RFC 3501 §6.4.5: a message that is no
// multipart has one part, number 1; the numbers of a message/rfc822 part's own parts follow after its own).
func (s *Structure) Find(path []int) *Part {
	p := s.Root
	for i, n := range path {
		if p == nil {
			return nil
		}
		if i > 0 && p.Message != nil {
			p = p.Message.Root
		} else if i > 0 && !p.IsMultipart() {
			return nil
		}
		switch {
		case p.IsMultipart():
			if n < 1 || n > len(p.Parts) {
				return nil
			}
			p = p.Parts[n-1]
		case n != 1:
			return nil
		}
	}
	return p
}

// Section returns the bytes that BODY[path.spec] means. For the HEADER.FIELDS forms the span is that of the whole
// header, from which FilterFields cuts. ok is false when the message has no such section.
func (s *Structure) Section(path []int, spec Specifier) (span Span, ok bool) {
	if len(path) == 0 {
		return rootSection(s.Root, s.Size, spec)
	}
	p := s.Find(path)
	if p == nil {
		return Span{}, false
	}
	switch spec {
	case SpecAll:
		return Span{p.BodyStart, p.End}, true
	case SpecMIME:
		return Span{p.HeaderStart, p.BodyStart}, true
	}
	if p.Message == nil {
		return Span{}, false
	}
	return rootSection(p.Message.Root, p.End, spec)
}

func rootSection(root *Part, end int64, spec Specifier) (Span, bool) {
	switch spec {
	case SpecAll:
		return Span{root.HeaderStart, end}, true
	case SpecHeader, SpecHeaderFields, SpecHeaderFieldsNot:
		return Span{root.HeaderStart, root.BodyStart}, true
	case SpecText:
		return Span{root.BodyStart, end}, true
	}
	return Span{}, false
}
