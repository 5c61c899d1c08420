package filter

import (
	"context"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/protocol/mime"
)

// Limits on what is looked at of one message.
const (
	// MaxTextBytes bounds the decoded text of all text parts together.
	MaxTextBytes = 1 << 20
	// MaxTextParts bounds the text parts.
	MaxTextParts = 50
	// MaxHeaderBytes bounds the message's header.
	MaxHeaderBytes = mime.MaxHeaderBytes
)

// content reads a message for the rules: its header, its structure, its texts.
type content struct {
	m *Message
	// cut tells that there was more than is looked at.
	cut bool
}

// open starts at the first byte of the message. Reads fail when ctx ends.
func (c *content) open(ctx context.Context) (io.ReadCloser, error) {
	if c.m.Open == nil {
		return nil, ErrNoContent
	}
	r, err := c.m.Open()
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	return &cancellable{ReadCloser: r, stopped: ctx.Err}, nil
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	io.ReadCloser
	stopped func() error
}

func (r *cancellable) Read(p []byte) (int, error) {
	if err := r.stopped(); err != nil {
		return 0, err
	}
	return r.ReadCloser.Read(p)
}

// header returns the message's own header fields.
func (c *content) header(ctx context.Context) (mime.Header, error) {
	r, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, MaxHeaderBytes))
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	h := mime.ParseHeader(raw)
	used := 0
	for _, f := range h {
		used += len(f.Raw)
	}
	c.cut = c.cut || used == MaxHeaderBytes
	return h, nil
}

// structure finds the parts of the message.
func (c *content) structure(ctx context.Context) (*mime.Structure, error) {
	r, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s, err := mime.Summarize(r)
	if err != nil {
		return nil, err
	}
	c.cut = c.cut || s.Structure.Truncated
	return s.Structure, nil
}

// texts calls look for each text part, in the order of their bytes, with its decoded text.
func (c *content) texts(ctx context.Context, st *mime.Structure, look func(p *mime.Part, text io.Reader) error) error {
	parts := st.TextParts()
	if len(parts) > MaxTextParts {
		parts, c.cut = parts[:MaxTextParts], true
	}
	r, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	budget := &io.LimitedReader{N: MaxTextBytes}
	at := int64(0)
	for i, p := range parts {
		if _, err := io.CopyN(io.Discard, r, p.BodyStart-at); err != nil {
			return fmt.Errorf("read to a text part: %w", err)
		}
		body := &io.LimitedReader{R: r, N: p.Size()}
		budget.R = mime.DecodePart(p, body)
		if err := look(p, budget); err != nil {
			return err
		}
		if budget.N == 0 {
			c.cut = c.cut || i < len(parts)-1 || more(budget.R)
			return nil
		}
		at = p.End - body.N
	}
	return nil
}

// more tells whether there is anything left.
func more(r io.Reader) bool {
	n, err := io.ReadFull(r, make([]byte, 1))
	return n > 0 || err != io.EOF
}
