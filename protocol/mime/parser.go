package mime

import (
	"bytes"
	"strings"
)

// parser finds the parts of a message in one pass. It keeps one header, one line and the tree, all bounded.
type parser struct {
	offset int64 // bytes seen
	lines  int64 // line ends seen
	last   byte  // the last byte seen

	line      []byte // the beginning of an unfinished line, at most lineCap bytes
	lineStart int64
	overlong  bool // the line has more bytes than were kept

	prevTerm  int64 // bytes of the line end before the current line: 0, 1, 2
	prevBlank bool  // the line before had no content

	stack    []*frame // open parts, the root first
	inHeader bool     // of the innermost part
	header   []byte   // that header so far, at most MaxHeaderBytes
	cut      bool     // that header was longer

	parts    int
	metadata int // bytes of strings kept
	limited  bool

	root       *Part
	onRoot     func(header []byte, cut bool) // called when the message header is complete
	onLeaf     func(*Part) *capture          // called when a leaf's header is complete, not for nested messages' leaves
	boundaries int                           // frames with an open boundary
}

// frame is an open part.
type frame struct {
	part      *Part
	boundary  string // of a multipart whose end was not yet seen
	digest    bool   // children are message/rfc822 by default
	bodyLines int64  // line ends before the body
	capture   *capture
}

// capture keeps the first bytes of a body.
type capture struct {
	part *Part
	data []byte
	max  int
}

func newParser() *parser {
	p := &parser{root: &Part{}, inHeader: true, parts: 1}
	p.stack = []*frame{{part: p.root}}
	return p
}

func (p *parser) top() *frame { return p.stack[len(p.stack)-1] }

// write takes the next bytes of the message.
func (p *parser) write(b []byte) {
	for len(b) > 0 {
		if !p.inHeader && p.boundaries == 0 {
			p.skim(b)
			return
		}
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			p.hold(b)
			return
		}
		p.finishLine(b[:n])
		b = b[n:]
	}
}

// skim is write where no line can matter any more: nothing can end the innermost body but the message's end.
func (p *parser) skim(b []byte) {
	p.captureBytes(b)
	p.offset += int64(len(b))
	p.lines += int64(bytes.Count(b, []byte{'\n'}))
	p.last = b[len(b)-1]
}

func (p *parser) captureBytes(b []byte) {
	if c := p.top().capture; c != nil && !p.inHeader {
		c.data = append(c.data, b[:min(len(b), c.max-len(c.data))]...)
	}
}

// hold keeps the beginning of a line whose end has not come.
func (p *parser) hold(b []byte) {
	p.captureBytes(b)
	p.offset += int64(len(b))
	p.last = b[len(b)-1]
	room := MaxBoundaryBytes + 64 // a boundary, dashes, and blanks behind it
	if p.inHeader {
		room = MaxHeaderBytes
	}
	if k := max(0, room-len(p.line)); len(b) > k {
		b, p.overlong = b[:k], true
	}
	p.line = append(p.line, b...)
}

// finishLine takes the rest of a line with its line end.
func (p *parser) finishLine(b []byte) {
	line, beforeLF := b, p.last
	if len(b) > 1 {
		beforeLF = b[len(b)-2]
	}
	if len(p.line) > 0 || p.overlong {
		p.hold(b)
		line = p.line
	} else {
		p.captureBytes(b)
		p.offset += int64(len(b))
	}
	p.last = '\n'
	p.lines++
	term := int64(1)
	if beforeLF == '\r' && p.offset-p.lineStart > 1 {
		term = 2
	}
	p.endLine(line, term)
	p.prevTerm, p.prevBlank = term, p.offset-p.lineStart == term
	p.startLine()
}

func (p *parser) startLine() {
	p.line, p.overlong, p.lineStart = p.line[:0], false, p.offset
}

// endLine looks at a whole line; term is the length of its line end.
func (p *parser) endLine(line []byte, term int64) {
	if k, final := p.boundary(line); k >= 0 {
		p.delimiter(k, final)
		return
	}
	if !p.inHeader {
		return
	}
	if len(p.header)+len(line) > MaxHeaderBytes || p.overlong {
		p.cut, p.limited = true, true
	}
	if !p.cut {
		p.header = append(p.header, line...)
	}
	if p.offset-p.lineStart == term {
		p.endHeader(p.offset, p.lines)
	}
}

// boundary tells whether line is a delimiter of an open multipart (RFC 2046 §5.1.1): its place in the stack, or -1. An
// outer one ends the inner ones, for their own ends may be missing (§5.1.2).
func (p *parser) boundary(line []byte) (frame int, final bool) {
	if p.boundaries == 0 || p.overlong || len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return -1, false
	}
	text := string(bytes.TrimRight(line[2:], " \t\r\n"))
	for k := len(p.stack) - 1; k >= 0; k-- {
		b := p.stack[k].boundary
		if b == "" {
			continue
		}
		if text == b {
			return k, false
		}
		if len(text) == len(b)+2 && text[:len(b)] == b && text[len(b):] == "--" {
			return k, true
		}
	}
	return -1, false
}

// delimiter ends the parts inside of stack[k] and starts its next part, or its epilogue. It is called before startLine: the
// current line is the delimiter.
func (p *parser) delimiter(k int, final bool) {
	end, endLines, lastLF := p.lineStart, p.lines, true
	if p.last == '\n' && p.offset > p.lineStart {
		endLines-- // the delimiter's own line end
	}
	if p.prevTerm > 0 { // the line end before the delimiter is part of it
		end -= p.prevTerm
		endLines--
		lastLF = p.prevBlank
	}
	p.closeTo(k+1, end, endLines, lastLF)
	f := p.stack[k]
	p.inHeader = false
	if final {
		f.boundary = ""
		p.boundaries--
		return
	}
	if p.parts >= MaxParts {
		p.limited = true
		return
	}
	child := &Part{HeaderStart: p.offset}
	f.part.Parts = append(f.part.Parts, child)
	p.push(child)
}

// push opens a part whose header comes next.
func (p *parser) push(part *Part) {
	p.parts++
	p.stack = append(p.stack, &frame{part: part})
	p.inHeader, p.header, p.cut = true, p.header[:0], false
}

// closeTo closes stack[n:], innermost first. A blank line that ends a header right before a delimiter belongs to the header:
// then the end of the part, and of those around it, moves behind it.
func (p *parser) closeTo(n int, end, endLines int64, lastLF bool) {
	for k := len(p.stack) - 1; k >= n; k-- {
		f := p.stack[k]
		if p.inHeader {
			if f.part.HeaderStart > end {
				end, endLines, lastLF = f.part.HeaderStart, endLines+1, true
			}
			p.headerOnly(f, end, endLines)
			p.inHeader = false
		}
		if f.part.BodyStart > end {
			end, endLines, lastLF = f.part.BodyStart, f.bodyLines, true
		}
		p.closeFrame(f, end, endLines, lastLF)
		p.stack = p.stack[:k]
	}
}

func (p *parser) closeFrame(f *frame, end, endLines int64, lastLF bool) {
	part := f.part
	part.End = end
	part.Lines = endLines - f.bodyLines
	if !lastLF && part.Size() > 0 {
		part.Lines++
	}
	if f.boundary != "" {
		p.boundaries--
	}
	if part.Type == "multipart" && len(part.Parts) == 0 {
		// Nothing divides it: it is one text to its reader (RFC 2045 §5.2).
		part.Type, part.Subtype, part.Params = "text", "plain", nil
	}
	if c := f.capture; c != nil && int64(len(c.data)) > part.Size() {
		c.data = c.data[:part.Size()]
	}
}

// finish takes the end of the message.
func (p *parser) finish() {
	if p.offset > p.lineStart && (p.inHeader || p.boundaries > 0) {
		p.endLine(p.line, 0)
		if p.inHeader {
			p.startLine()
		}
	}
	p.closeTo(0, p.offset, p.lines, p.offset == 0 || p.last == '\n')
}

// endHeader is called behind the blank line: the body begins.
func (p *parser) endHeader(bodyStart, bodyLines int64) {
	f := p.top()
	f.part.BodyStart, f.bodyLines = bodyStart, bodyLines
	p.inHeader = false
	header := ParseHeader(p.header)
	p.describe(f.part, header)
	if f.part == p.root && p.onRoot != nil {
		p.onRoot(p.header, p.cut)
	}
	switch {
	case f.part.Type == "multipart":
		p.openMultipart(f)
	case f.part.isMessage():
		p.openMessage(f)
	case p.onLeaf != nil && !p.nested():
		f.capture = p.onLeaf(f.part)
	}
}

// nested tells whether the innermost part belongs to a message within the message.
func (p *parser) nested() bool {
	for _, f := range p.stack {
		if f.part.Message != nil {
			return true
		}
	}
	return false
}

func (p *parser) openMultipart(f *frame) {
	b := strings.TrimRight(f.part.Param("boundary"), " \t")
	switch {
	case len(p.stack) >= MaxDepth:
		f.part.asOctets()
		p.limited = true
	case b != "" && len(b) <= MaxBoundaryBytes:
		f.boundary = b
		f.digest = f.part.Subtype == "digest"
		p.boundaries++
	}
}

func (p *parser) openMessage(f *frame) {
	if len(p.stack) >= MaxDepth || p.parts >= MaxParts {
		f.part.asOctets()
		p.limited = true
		return
	}
	root := &Part{HeaderStart: f.part.BodyStart}
	f.part.Message = &Nested{Root: root}
	p.push(root)
}

// headerOnly completes a part that ended inside its header: the body is empty.
func (p *parser) headerOnly(f *frame, end, endLines int64) {
	f.part.BodyStart, f.bodyLines = end, endLines
	p.describe(f.part, ParseHeader(p.header))
	if f.part == p.root && p.onRoot != nil {
		p.onRoot(p.header, p.cut)
	}
	if f.part.isMessage() {
		empty := &Part{HeaderStart: end, BodyStart: end, End: end}
		empty.describe(nil, false)
		f.part.Message = &Nested{Root: empty}
	}
}

// describe fills in the fields that the header tells, within the budget for strings.
func (p *parser) describe(part *Part, h Header) {
	var parent *frame
	digest := false
	if len(p.stack) > 1 {
		parent = p.stack[len(p.stack)-2]
		digest = parent.digest
	}
	part.describe(h, digest)
	p.metadata += part.metadataSize()
	if p.metadata > MaxMetadataBytes {
		part.forgetMetadata()
		p.limited = true
	}
	if parent == nil || parent.part.Message == nil || parent.part.Message.Root != part {
		return
	}
	e := h.envelope()
	if p.metadata += e.size(); p.metadata > MaxMetadataBytes {
		p.limited = true
		return
	}
	parent.part.Message.Envelope = e
}
