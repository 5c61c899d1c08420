package mime

// Structure is what one pass over a message finds out about its shape.
// All offsets count bytes from the first byte of the raw message.
type Structure struct {
	// Root is the message itself: its header is the message header.
	Root *Part
	// Size is the number of bytes of the whole message.
	Size int64
	// Lines is the number of line ends in the whole message.
	Lines int64
	// Truncated tells that a limit (parts, depth, header or metadata bytes) was met. The offsets that
	// are present are still right; what lies beyond the limit is part of an enclosing leaf.
	Truncated bool
}

// Part is one node of the MIME tree (RFC 2045, RFC 2046).
//
// Invariant: HeaderStart <= BodyStart <= End, and children lie within [BodyStart, End).
type Part struct {
	Type    string // lower case: "text"
	Subtype string // lower case: "plain"
	Params  []Param

	ID          string // Content-ID, "" when absent
	Description string // Content-Description, unfolded, encoded-words kept
	Encoding    string // Content-Transfer-Encoding in lower case, "7bit" when absent

	MD5               string // Content-MD5
	Disposition       string // lower case: "attachment"; "" when absent
	DispositionParams []Param
	Language          []string // Content-Language
	Location          string   // Content-Location

	// HeaderStart is the offset of the first header byte; BodyStart that of the first byte after the
	// blank line, so [HeaderStart, BodyStart) is the header with its blank line; End is one past the last byte
	// of the body. The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1).
	HeaderStart, BodyStart, End int64

	// Lines counts the lines of the body; a last line without a line end counts too.
	Lines int64

	// Parts are the children of a multipart, in order. Never empty when Type is "multipart".
	Parts []*Part
	// Message is the nested message of a message/rfc822 or message/global part; nil for all others.
	Message *Nested
}

// Param is one parameter of Content-Type or Content-Disposition, in order of appearance. RFC 2231
// continuations are joined and charset-tagged values decoded to UTF-8.
type Param struct {
	Name  string // lower case
	Value string
}

// Nested is the message inside a message/rfc822 part. Root.HeaderStart equals the outer part's BodyStart.
type Nested struct {
	Envelope Envelope
	Root     *Part
}

// Size returns the number of bytes of the body as transferred: the size that BODYSTRUCTURE tells.
func (p *Part) Size() int64 { return p.End - p.BodyStart }

// IsMultipart tells whether the part has children of its own.
func (p *Part) IsMultipart() bool { return len(p.Parts) > 0 }

// Param returns the value of the named Content-Type parameter, or "".
func (p *Part) Param(name string) string { return param(p.Params, name) }

// FileName returns the file name that the part suggests, decoded (disposition first, then the type's name), or "".
func (p *Part) FileName() string {
	if s := param(p.DispositionParams, "filename"); s != "" {
		return DecodeHeader(s)
	}
	return DecodeHeader(param(p.Params, "name"))
}

func param(params []Param, name string) string {
	for _, q := range params {
		if q.Name == name {
			return q.Value
		}
	}
	return ""
}
