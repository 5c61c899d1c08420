package dsn

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode/utf8"
)

// returned is how much of the message comes back.
//
// The whole message comes back with a failure only (RFC 3461 §4.3), when the sender asked for it or said nothing and it is small, when it is not
// larger than MaxOriginalBytes, and when it consists of lines, since a message within a message cannot be encoded (RFC 2046 §5.2.1). In
// all other cases its header comes back. It is never cut in its middle: half a message helps nobody.
type returned uint8

const (
	nothing returned = iota
	header
	whole
)

// maxLine is RFC 5322 §2.1.1, with its end.
const maxLine = 1000

// original is what the first reading of the message found out.
type original struct {
	header       []byte // without its blank line, at most MaxHeaderBytes
	size         int64  // bytes read
	large        bool   // it has more than were asked for
	header8      bool   // 8-bit bytes in the header
	body8        bool   // and behind it
	noLines      bool   // NUL, CR or LF alone, or long lines
	digest       hash.Hash
	inHeader     bool
	headerCut    bool
	fieldStart   int // of the last field in header
	lineLen      int
	betweenLines bool // the next byte begins a line
}

// openOriginal reads the message behind our own Return-Path field, which was of final delivery and is no part of what was sent.
func openOriginal(open func() (io.ReadCloser, error)) (*bufio.Reader, io.Closer, error) {
	rc, err := open()
	if err != nil {
		return nil, nil, fmt.Errorf("open the message: %w", err)
	}
	r := bufio.NewReaderSize(rc, 4<<10)
	const name = "return-path:"
	if b, _ := r.Peek(len(name)); !strings.EqualFold(string(b), name) {
		return r, rc, nil
	}
	for {
		_, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			continue
		}
		if b, _ := r.Peek(1); err != nil || len(b) == 0 || b[0] != ' ' && b[0] != '\t' {
			return r, rc, nil // what err is, the next read says again
		}
	}
}

// scanOriginal reads the message, as far as limit if it is larger.
func scanOriginal(open func() (io.ReadCloser, error), limit int64) (*original, error) {
	r, closer, err := openOriginal(open)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	o := &original{digest: sha256.New(), inHeader: true, betweenLines: true}
	for {
		b, err := r.ReadSlice('\n')
		o.take(b)
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF:
			return o, nil
		default:
			return nil, fmt.Errorf("read the message: %w", err)
		}
		if o.large = o.size > limit; o.large && (!o.inHeader || o.headerCut) {
			return o, nil
		}
	}
}

// take looks at a line, or at a piece of a long one.
func (o *original) take(b []byte) {
	if len(b) == 0 {
		return
	}
	o.digest.Write(b) // never fails
	o.size += int64(len(b))
	start, end := o.betweenLines, b[len(b)-1] == '\n'
	o.lineLen += len(b)
	text := b
	if end {
		text = bytes.TrimSuffix(b[:len(b)-1], []byte{'\r'})
		o.noLines = o.noLines || len(text) == len(b)-1
	}
	o.noLines = o.noLines || o.lineLen > maxLine || bytes.IndexByte(text, 0) >= 0 || bytes.IndexByte(text, '\r') >= 0
	if o.betweenLines = end; end {
		o.lineLen = 0
	}
	if o.inHeader && start && end && len(text) == 0 {
		o.inHeader = false
	}
	eight := bytes.IndexFunc(b, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0
	if !o.inHeader {
		o.body8 = o.body8 || eight
		return
	}
	o.header8 = o.header8 || eight
	o.keep(b, start)
}

// keep adds a piece to the header, up to the last field that fits.
func (o *original) keep(b []byte, start bool) {
	if o.headerCut {
		return
	}
	if start && b[0] != ' ' && b[0] != '\t' {
		o.fieldStart = len(o.header)
	}
	if len(o.header)+len(b) > MaxHeaderBytes {
		o.header, o.headerCut = o.header[:o.fieldStart], true
		return
	}
	o.header = append(o.header, b...)
}

// choose decides what comes back.
func (r *Report) choose(o *original, limit int64) returned {
	failed := false
	for _, to := range r.Recipients {
		failed = failed || r.actionOf(to) == Failed
	}
	small := r.Ret == RetFull || r.Ret == RetUnsaid && o.size <= SmallOriginalBytes
	if failed && small && !o.large && o.size <= limit && !o.noLines {
		return whole
	}
	return header
}

// copyWhole writes the message as it is.
func copyWhole(w io.Writer, open func() (io.ReadCloser, error), size int64) error {
	r, closer, err := openOriginal(open)
	if err != nil {
		return err
	}
	defer closer.Close()
	n, err := io.Copy(w, r)
	switch {
	case err != nil:
		return fmt.Errorf("copy the message: %w", err)
	case n != size:
		return fmt.Errorf("copy the message: it has %d bytes now, and had %d", n, size)
	}
	return nil
}
