package imap

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/mime"
)

// BenchmarkReadCommand compares a short command with one that names many messages.
func BenchmarkReadCommand(b *testing.B) {
	for _, bb := range []struct{ name, command string }{
		{"noop", "a1 NOOP\r\n"},
		{"fetch", "a1 UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (From To Cc Subject References)])\r\n"},
		{"store", "a1 UID STORE " + strings.Repeat("4000000000:4000000001,", 2000) + "5 +FLAGS.SILENT (\\Seen)\r\n"},
		{"literals", "a1 LOGIN {15+}\r\nan@example.test {6+}\r\nsecret\r\n"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.command)))
			b.ReportAllocs()
			r := NewReader(&again{text: bb.command}, ReaderConfig{Continue: func() error { return nil }})
			for b.Loop() {
				if _, err := r.ReadCommand(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// again yields its text for ever.
type again struct {
	text string
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.text[a.at:])
	a.at = (a.at + n) % len(a.text)
	return n, nil
}

// BenchmarkWriteFetch compares what is told of a message: its flags, its envelope, its structure, its text.
func BenchmarkWriteFetch(b *testing.B) {
	raw := "From: A <a@example.test>\r\nTo: b@example.test, c@example.test\r\nSubject: =?utf-8?q?hello?=\r\nDate: Tue, 3 Mar 2026 23:30:00 +0700\r\nMessage-ID: <x@y>\r\n" +
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>x\r\n--b--\r\n"
	sum, err := mime.Summarize(strings.NewReader(raw))
	if err != nil {
		b.Fatal(err)
	}
	env, _ := sum.Envelope()
	text := strings.Repeat("x", 20<<10)
	for _, bb := range []struct {
		name string
		item func(*FetchWriter)
	}{
		{"flags", func(f *FetchWriter) { f.Flags([]Flag{FlagSeen, "$Label"}); f.InternalDate(time.Unix(0, 0)) }},
		{"envelope", func(f *FetchWriter) { f.Envelope(env) }},
		{"structure", func(f *FetchWriter) { f.BodyStructure(sum.Structure.Root) }},
		{"20 KiB of text", func(f *FetchWriter) {
			_ = f.Section(&Section{}, int64(len(text)), strings.NewReader(text)) // the Writer keeps the error
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			w := NewWriter(io.Discard)
			for b.Loop() {
				f := w.Fetch(1)
				bb.item(f)
				f.End()
			}
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
