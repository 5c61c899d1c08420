package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// content is a message as it goes out: signatures, its prefix, and the stored bytes without the Return-Path that begins them.
type content struct {
	open     func(ctx context.Context) (io.ReadCloser, error)
	unsigned func(ctx context.Context) (io.ReadCloser, error) // without the signatures; nil where there are none
	sign     signer
	facts    facts
}

// signer is Message.Sign.
type signer func(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error)

// smallContent is how much of a message is kept in memory. A longer one is read anew for each use.
const smallContent = 64 << 10

// newContent reads the message once, to know what a server must bear.
func newContent(ctx context.Context, msg Message) (*content, error) {
	c := &content{open: func(ctx context.Context) (io.ReadCloser, error) { return openStored(ctx, msg) }}
	if err := c.putSignatures(ctx, msg.Sign); err != nil {
		return nil, err
	}
	r, err := c.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	var scan scanner
	var kept bytes.Buffer
	if _, err := io.CopyN(io.MultiWriter(&scan, &kept), r, smallContent); err == nil {
		_, err = io.Copy(&scan, r)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		c.facts = scan.finish()
		return c, nil
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read message: %w", err)
	}
	small := kept.Bytes()
	c.open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(small)), nil }
	c.facts = scan.finish()
	return c, nil
}

// putSignatures puts above the message what sign says of it.
func (c *content) putSignatures(ctx context.Context, sign signer) error {
	if sign == nil {
		return nil
	}
	unsigned := c.open
	fields, err := sign(ctx, func() (io.ReadCloser, error) { return unsigned(ctx) })
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if len(fields) == 0 {
		return nil
	}
	c.unsigned, c.sign = unsigned, sign
	c.open = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := unsigned(ctx)
		if err != nil {
			return nil, err
		}
		return opened{io.MultiReader(bytes.NewReader(fields), r), r}, nil
	}
	return nil
}

// writeTo writes the message as it is.
func (c *content) writeTo(ctx context.Context, w io.Writer) error {
	r, err := c.open(ctx)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 32<<10))
	return err
}

// localError is met while the message is read: no server is to blame.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// localReader marks the errors of reading.
type localReader struct{ r io.Reader }

func (l localReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil && err != io.EOF {
		err = &localError{err}
	}
	return n, err
}

// opened is a stored message with the prefix above it.
type opened struct {
	io.Reader
	io.Closer
}

func openStored(ctx context.Context, msg Message) (io.ReadCloser, error) {
	r, err := msg.Open(ctx)
	if err != nil {
		return nil, &localError{err}
	}
	br := bufio.NewReader(localReader{r})
	if err := skipReturnPath(br); err != nil {
		r.Close()
		return nil, err
	}
	return opened{io.MultiReader(bytes.NewReader(msg.Prefix), br), r}, nil
}

// skipReturnPath passes over a Return-Path field at the very start, continuation lines too. It is ours, made when the message was stored;
// RFC 5321 §4.4 wants it made at final delivery, and that is elsewhere now.
func skipReturnPath(br *bufio.Reader) error {
	const name = "return-path:"
	if head, _ := br.Peek(len(name)); !strings.EqualFold(string(head), name) {
		return nil // what was wrong with Peek comes again with the next read
	}
	for {
		if _, err := br.ReadSlice('\n'); errors.Is(err, bufio.ErrBufferFull) {
			continue
		} else if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if next, _ := br.Peek(1); len(next) == 0 || next[0] != ' ' && next[0] != '\t' {
			return nil
		}
	}
}
