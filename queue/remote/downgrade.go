package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/protocol/mime"
)

// errConvert is wrapped by what makes a message impossible to convert.
var errConvert = errors.New("the server cannot take the message as it is, and it cannot be converted")

// convert makes a form of the message that a server bears (RFC 6152 §3): bodies are encoded, labels corrected, long header lines folded. The
// bytes that a reader decodes stay the same. It is signed anew: signatures are about bytes (RFC 6376 §5.3). It tries the conversion once, which
// tells the size, and whether it succeeds.
func convert(ctx context.Context, c *content, to carriage) *converted {
	open := c.open
	if c.unsigned != nil {
		open = c.unsigned
	}
	p, err := planConversion(ctx, open, to)
	if err != nil {
		return &converted{bad: inconvertible(c.facts, err)}
	}
	write, err := p.signed(ctx, c.sign)
	if err != nil {
		return &converted{bad: inconvertible(c.facts, err)}
	}
	var scan scanner
	if err := write(ctx, &scan); err != nil {
		return &converted{bad: inconvertible(c.facts, err)}
	}
	f := scan.finish()
	if !f.fits(to) {
		return &converted{bad: inconvertible(c.facts, errConvert)}
	}
	return &converted{body: body{write, f}}
}

// signed writes the converted message with signatures of its own above.
func (p *plan) signed(ctx context.Context, sign signer) (func(context.Context, io.Writer) error, error) {
	if sign == nil {
		return p.writeTo, nil
	}
	fields, err := sign(ctx, func() (io.ReadCloser, error) { return readWritten(ctx, p.writeTo), nil })
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return func(ctx context.Context, w io.Writer) error {
		if _, err := w.Write(fields); err != nil {
			return err
		}
		return p.writeTo(ctx, w)
	}, nil
}

// written is what is being written, to be read. Its Close ends the goroutine that writes.
type written struct {
	*io.PipeReader
	done chan struct{}
}

func readWritten(ctx context.Context, write func(context.Context, io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	out := written{r, make(chan struct{})}
	go func() {
		defer close(out.done)
		w.CloseWithError(write(ctx, w)) // io.EOF when all was written
	}()
	return out
}

func (w written) Close() error {
	err := w.PipeReader.Close() // a write that is under way fails
	<-w.done
	return err
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
