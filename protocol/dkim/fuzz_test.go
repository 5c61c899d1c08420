package dkim

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// FuzzSign: what is signed verifies, as long as it consists of lines; signed fields are those of the message, and no others.
func FuzzSign(f *testing.F) {
	for _, s := range []string{plain, "From: a@b\n\n", "From:a\nfrom : b\n c\n\n \n x", "Return-Path: <>\n x\nFrom: a\n", "\n", "nonsense\nFrom: a\n\nx", "From: a\n \n \nTo:\n\n"} {
		f.Add([]byte(crlf(s)))
	}
	s, err := NewSigner(keys()[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		// Stored messages have no CR or LF alone.
		message = bytes.ReplaceAll(bytes.ReplaceAll(message, []byte("\r"), nil), []byte("\n"), []byte("\r\n"))
		fields, err := s.Sign(t.Context(), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(message)), nil })
		if errors.Is(err, ErrUnsignable) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		whole := string(fields) + string(message)
		if !strings.Contains(string(message), "\r\n\r\n") {
			whole += "\r\n\r\n"
		}
		if got := verify(t, whole, keys()[1]); len(got) == 0 || !got[0] {
			t.Fatalf("%q signed as %q: %v", message, fields, got)
		}
	})
}
