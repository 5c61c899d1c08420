package dkim

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorumail/quorumail/protocol/mime"
)

// overSigned are signed as often as they are there and once more.
//
// RFC 6376 §5.4.1 names what says whose the message is, what it is about, and where answers go; the fields of MIME decide what a reader sees.
var overSigned = []string{"From", "Reply-To", "Subject", "Date", "To", "Cc", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}

// signed are signed as often as they are there. Lists and gateways add some of them in good faith, so that a later one does not break anything.
var signed = []string{
	"Sender", "In-Reply-To", "References", "Content-ID", "Content-Description",
	"Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Message-ID",
	"List-Id", "List-Help", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	"List-Unsubscribe", "List-Unsubscribe-Post", // RFC 8058 §4: one-click needs both signed
}

const (
	// MaxHeaderBytes bounds the header of a message that can be signed.
	MaxHeaderBytes = 256 << 10
	// maxNames bounds h=, which stands on one line (RFC 5322 §2.1.1).
	maxNames = 900
)

// ErrUnsignable is wrapped by errors about messages that cannot be signed, whatever the key.
var ErrUnsignable = errors.New("message cannot be signed")

// readHeader reads up to the body, without our own Return-Path field.
func readHeader(r *bufio.Reader) (mime.Header, error) {
	var raw []byte
	start := true
	for {
		b, err := r.ReadSlice('\n')
		if start && (string(b) == "\r\n" || string(b) == "\n") || err == io.EOF && len(b) == 0 {
			break // a message may end with its header
		}
		if raw = append(raw, b...); len(raw) > MaxHeaderBytes {
			return nil, fmt.Errorf("%w: a header of more than %d bytes", ErrUnsignable, MaxHeaderBytes)
		}
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("read header: %w", err)
		}
		start = err == nil
	}
	h := mime.ParseHeader(raw)
	if len(h) > 0 && strings.EqualFold(h[0].Name, "Return-Path") {
		h = h[1:]
	}
	for _, f := range h {
		if f.Name == "" { // verifiers differ in what they take such a line for
			return nil, fmt.Errorf("%w: a line of its header that is no field", ErrUnsignable)
		}
	}
	return h, nil
}

// choose returns the fields that are signed, in their order, with a blank line, and the names for h=.
func choose(h mime.Header) (fields []byte, names []string, err error) {
	counts := map[string]int{}
	for _, f := range h {
		counts[strings.ToLower(f.Name)]++
	}
	if counts["from"] == 0 { // RFC 6376 §5.4: it must be signed
		return nil, nil, fmt.Errorf("%w: no From field", ErrUnsignable)
	}
	if counts["from"] > 1 { // RFC 5322 §3.6: one; which of them a reader sees, and whose domain that is, nobody can say
		return nil, nil, fmt.Errorf("%w: %d From fields", ErrUnsignable, counts["from"])
	}
	total := 0
	for i, name := range append(append([]string{}, overSigned...), signed...) {
		n := counts[strings.ToLower(name)]
		if i < len(overSigned) {
			n++
		}
		if total += n * (len(name) + 1); total > maxNames {
			return nil, nil, fmt.Errorf("%w: %d fields of the name %s", ErrUnsignable, counts[strings.ToLower(name)], name)
		}
		for range n {
			names = append(names, name)
		}
	}
	return append(pick(h, names), "\r\n"...), names, nil
}

func pick(h mime.Header, names []string) []byte {
	var fields []byte
	for _, f := range h {
		for _, name := range names {
			if strings.EqualFold(f.Name, name) {
				fields = append(append(fields, bytes.TrimRight(f.Raw, "\r\n")...), "\r\n"...)
				break
			}
		}
	}
	return fields
}
