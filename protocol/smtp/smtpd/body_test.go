package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// referenceBody decodes a DATA stream as RFC 5321 §4.5.2 says it, by looking at all of it at once.
func referenceBody(stream string) (body, rest string, ok bool) {
	framed := "\r\n" + stream
	end := strings.Index(framed, "\r\n.\r\n")
	if end < 0 {
		return "", "", false
	}
	inner := framed[:end+2]
	return strings.ReplaceAll(inner, "\r\n.", "\r\n")[2:], framed[end+5:], true
}

func decode(stream string, r io.Reader) (string, string, error) {
	w := &wire{srv: &Server{}, br: bufio.NewReaderSize(r, 16)}
	body, err := io.ReadAll(w.body())
	if err != nil {
		return string(body), "", err
	}
	rest, err := io.ReadAll(w.br)
	return string(body), string(rest), err
}

func checkBody(t *testing.T, stream string) {
	t.Helper()
	body, rest, ok := referenceBody(stream)
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(stream), "bytes": iotest.OneByteReader(strings.NewReader(stream))} {
		gotBody, gotRest, err := decode(stream, r)
		if ok != (err == nil) || ok && (gotBody != body || gotRest != rest) {
			t.Fatalf("%q by %s: %q, rest %q, %v; want %q, rest %q, %v", stream, name, gotBody, gotRest, err, body, rest, ok)
		}
		if err != nil && !errors.Is(err, errBody) {
			t.Fatalf("%q: %v", stream, err)
		}
	}
}

func FuzzDataEndsAtItsEndAlone(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nrest", "a\n.\r\n.\n\r\n.\r\n", "\r\r\n.\r\n", "..\r\n.\r\nx", ".\r.\r\n\r\n.\r\n", strings.Repeat("x", 40) + "\r\n.\r\n",
		strings.Repeat("x", 15) + "\r\n.\r\n", "\r\n.\r", "", ".", ".\n.\r\n"} {
		f.Add(s)
	}
	f.Fuzz(checkBody)
}

func FuzzLineEnds(f *testing.F) {
	for _, s := range []string{"a\r\nb\r\n", "a\nb", "a\rb\r", "\r\r\n", "\x00", "", "a\r\n\x00\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		whole, err := io.ReadAll(newLineEnds(bytes.NewReader(raw), true))
		if err != nil {
			t.Fatal(err)
		}
		single, err := io.ReadAll(newLineEnds(iotest.OneByteReader(bytes.NewReader(raw)), true))
		if err != nil || !bytes.Equal(whole, single) {
			t.Fatalf("%q: %q at once, %q by bytes, %v", raw, whole, single, err)
		}
		bare := strings.ReplaceAll(string(whole), "\r\n", "")
		if strings.ContainsAny(bare, "\r\n\x00") {
			t.Fatalf("%q: repaired to %q", raw, whole)
		}
		clean := !strings.ContainsAny(strings.ReplaceAll(string(raw), "\r\n", ""), "\r\n\x00")
		strict, err := io.ReadAll(newLineEnds(bytes.NewReader(raw), false))
		switch {
		case clean != (err == nil):
			t.Fatalf("%q: clean %v, %v", raw, clean, err)
		case clean && !bytes.Equal(bytes.TrimSuffix(strict, []byte("\r\n")), bytes.TrimSuffix(raw, []byte("\r\n"))):
			t.Fatalf("%q: became %q", raw, strict)
		}
	})
}
