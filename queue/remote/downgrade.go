package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
)

// errConvert is wrapped by what makes a message impossible to convert.
var errConvert = errors.New("the server cannot take the message as it is, and it cannot be converted")

// convert makes a form of the message that a server bears (RFC 6152 §3): bodies are encoded, labels corrected, long header lines folded. The
// bytes that a reader decodes stay the same. It tries the conversion once, which tells the size, and whether it succeeds.
func convert(ctx context.Context, c *content, to carriage) *converted {
	p, err := planConversion(ctx, c.open, to)
	if err != nil {
		return &converted{bad: inconvertible(c.facts, err)}
	}
	var scan scanner
	if err := p.writeTo(ctx, &scan); err != nil {
		return &converted{bad: inconvertible(c.facts, err)}
	}
	f := scan.finish()
	if !f.fits(to) {
		return &converted{bad: inconvertible(c.facts, errConvert)}
	}
	return &converted{body: body{p.writeTo, f}}
}

// inconvertible: RFC 3463 §3.7: X.6.3 conversion required but not supported, X.6.0 something is wrong with the content.
func inconvertible(f facts, err error) *failure {
	switch {
	case !errors.Is(err, errConvert):
		return deferred(0, "4.3.0", err.Error())
	case f.bare:
		return refused(554, "5.6.0", "the message holds a bare CR or LF, which ends a line for some servers and not for others")
	}
	return refused(554, "5.6.3", err.Error())
}

// plan is how a message is converted: its segments in order, from the first byte to the last.
type plan struct {
	open     func(context.Context) (io.ReadCloser, error)
	to       carriage
	segments []*segment
	headers  map[*mime.Part]*segment
	bodies   map[*mime.Part]*segment // of leaves
}

// segment is a header with its blank line, the body of a leaf, or what stands between parts.
type segment struct {
	part       *mime.Part // nil between parts
	header     bool
	root       bool // a message's own header, where MIME-Version belongs
	start, end int64
	facts      facts
	raw        []byte // of a header, if it is short enough to be changed

	encoding string // of a header: the label it gets; of a body: how it is encoded. "": as it is
	fold     bool
}

// planConversion reads the message twice: for its structure, and for what each segment holds. Errors wrap errConvert, or are those of reading.
func planConversion(ctx context.Context, open func(context.Context) (io.ReadCloser, error), to carriage) (*plan, error) {
	p := &plan{open: open, to: to, headers: map[*mime.Part]*segment{}, bodies: map[*mime.Part]*segment{}}
	structure, err := p.structure(ctx)
	if err != nil {
		return nil, err
	}
	if structure.Truncated {
		return nil, fmt.Errorf("%w: it has too many parts or too long headers", errConvert)
	}
	p.part(structure.Root, true)
	p.between(structure.Root.End, structure.Size)
	if err := p.each(ctx, p.look); err != nil {
		return nil, err
	}
	return p, p.decide(structure.Root, false)
}

func (p *plan) structure(ctx context.Context) (*mime.Structure, error) {
	r, err := p.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	summary, err := mime.Summarize(r)
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return summary.Structure, nil
}

// part lists the segments of a part.
func (p *plan) part(part *mime.Part, root bool) {
	h := &segment{part: part, header: true, root: root, start: part.HeaderStart, end: part.BodyStart}
	p.headers[part] = h
	p.segments = append(p.segments, h)
	at := part.BodyStart
	switch {
	case part.Message != nil:
		p.part(part.Message.Root, true)
		at = part.Message.Root.End
	case part.IsMultipart():
		for _, child := range part.Parts {
			p.between(at, child.HeaderStart)
			p.part(child, false)
			at = child.End
		}
	default:
		b := &segment{part: part, start: at, end: part.End}
		p.bodies[part] = b
		p.segments = append(p.segments, b)
		return
	}
	p.between(at, part.End)
}

func (p *plan) between(start, end int64) {
	if start < end {
		p.segments = append(p.segments, &segment{start: start, end: end})
	}
}

// each reads the message and gives f each segment's bytes.
func (p *plan) each(ctx context.Context, f func(*segment, io.Reader) error) error {
	r, err := p.open(ctx)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	for _, s := range p.segments {
		part := &io.LimitedReader{R: r, N: s.end - s.start}
		if err := f(s, part); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, part); err != nil {
			return err
		}
		if part.N > 0 {
			return fmt.Errorf("read message: %w", io.ErrUnexpectedEOF)
		}
	}
	return nil
}

func (p *plan) look(s *segment, r io.Reader) error {
	var scan scanner
	if s.header && s.end-s.start <= mime.MaxHeaderBytes {
		raw, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		s.raw = raw
		scan.Write(raw)
	} else if _, err := io.Copy(&scan, r); err != nil {
		return err
	}
	s.facts = scan.finish()
	if s.part == nil && !s.facts.fits(p.to) {
		return fmt.Errorf("%w: what stands between its parts does not suit", errConvert)
	}
	return nil
}

// decide says what becomes of a part and of those in it. RFC 1847 §2.1: what is signed must not change by a byte.
func (p *plan) decide(part *mime.Part, signed bool) error {
	if err := p.decideHeader(p.headers[part], signed); err != nil {
		return err
	}
	switch {
	case part.Message != nil:
		return p.decide(part.Message.Root, signed)
	case part.IsMultipart():
		for _, child := range part.Parts {
			if err := p.decide(child, signed || part.Type == "multipart" && part.Subtype == "signed"); err != nil {
				return err
			}
		}
		return nil
	}
	return p.decideBody(part, signed)
}

// decideHeader: long lines can be folded; other bytes than ASCII would need another message.
func (p *plan) decideHeader(s *segment, signed bool) error {
	without := s.facts
	without.long = false
	switch {
	case !without.fits(p.to):
		return fmt.Errorf("%w: a header has bytes that do not suit", errConvert)
	case s.facts.long && !p.to.binary:
		s.fold = true
	}
	if !signed {
		s.encoding = p.label(s.part.Encoding)
	}
	return p.changeable(s, signed)
}

func (p *plan) changeable(s *segment, signed bool) error {
	switch {
	case s.encoding == "" && !s.fold:
		return nil
	case signed:
		return fmt.Errorf("%w: it is signed", errConvert)
	case s.raw == nil && s.end > s.start:
		return fmt.Errorf("%w: a header is too long", errConvert)
	}
	return nil
}

// label is the Content-Transfer-Encoding in place of one that promises more than may come, "" if it may stay (RFC 2045 §6.2).
func (p *plan) label(encoding string) string {
	switch {
	case p.to.binary, encoding != "8bit" && encoding != "binary":
		return ""
	case !p.to.eightBit:
		return "7bit"
	case encoding == "binary":
		return "8bit"
	}
	return ""
}

// decideBody chooses an encoding for a body that does not suit.
func (p *plan) decideBody(part *mime.Part, signed bool) error {
	header, body := p.headers[part], p.bodies[part]
	if body.facts.fits(p.to) {
		return nil
	}
	if signed {
		return fmt.Errorf("%w: it is signed", errConvert)
	}
	if body.facts.bare && part.Encoding != "binary" {
		// Only binary data may hold a CR or LF alone (RFC 2045 §2.7 to §2.9). In a text nobody can tell what was meant.
		return fmt.Errorf("%w: it has a bare CR or LF", errConvert)
	}
	declared := strings.ToLower(strings.TrimSpace(mime.ParseHeader(header.raw).Get("Content-Type")))
	switch part.Encoding {
	case "base64", "quoted-printable":
		body.encoding = part.Encoding // decoded and encoded anew; the label stays
		return nil
	case "7bit", "8bit", "binary":
	default:
		return fmt.Errorf("%w: it has a part in the encoding %q", errConvert, part.Encoding)
	}
	// RFC 2045 §6.4, RFC 2046 §5.2: these may not be encoded. A multipart here is one without parts.
	if strings.HasPrefix(declared, "multipart/") || strings.HasPrefix(declared, "message/") {
		return fmt.Errorf("%w: it has a part of a type that must not be encoded", errConvert)
	}
	body.encoding = "base64"
	if part.Type == "text" {
		body.encoding = "quoted-printable"
	}
	header.encoding = body.encoding
	return p.changeable(header, signed)
}

// writeTo writes the converted message.
func (p *plan) writeTo(ctx context.Context, w io.Writer) error {
	bw := bufio.NewWriterSize(w, 16<<10)
	if err := p.each(ctx, func(s *segment, r io.Reader) error { return p.write(bw, s, r) }); err != nil {
		return err
	}
	return bw.Flush()
}

func (p *plan) write(bw *bufio.Writer, s *segment, r io.Reader) error {
	switch {
	case s.header && (s.encoding != "" || s.fold):
		_, err := bw.Write(p.rewrite(s))
		return err
	case !s.header && s.encoding != "":
		if s.part.Encoding == s.encoding {
			r = mime.DecodeTransfer(s.encoding, r)
		}
		return encode(bw, s.encoding, r)
	}
	_, err := io.Copy(bw, r)
	return err
}
