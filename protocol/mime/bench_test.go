package mime

import (
	"bytes"
	"strings"
	"testing"
)

// BenchmarkMatcher compares the search through text in ASCII and in Vietnamese.
func BenchmarkMatcher(b *testing.B) {
	for _, bb := range []struct{ name, text string }{
		{"ascii", strings.Repeat("The quick brown fox jumps over the lazy dog\r\n", 5000)},
		{"vietnamese", strings.Repeat("Một hai ba bốn năm sáu bảy tám chín mười\r\n", 5000)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.text)))
			b.ReportAllocs()
			for b.Loop() {
				m := NewMatcher("absent")
				_, _ = m.Write([]byte(bb.text)) // never fails
				if m.Matched() {
					b.Fatal("found")
				}
			}
		})
	}
}

// BenchmarkSummary compares a summary that is read with one that is made from the message again: what it spares to keep it.
func BenchmarkSummary(b *testing.B) {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 280)
	raw := []byte("From: A <a@example.test>\r\nTo: b@example.test\r\nSubject: hello\r\nMessage-ID: <x@y>\r\nContent-Type: multipart/mixed; boundary=bbbbbbbb\r\n\r\n--bbbbbbbb\r\n\r\n" + body + "--bbbbbbbb--\r\n")
	kept := summarize(raw).Marshal()
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := UnmarshalSummary(kept)
			if err != nil || len(s.Structure.Root.Parts) != 1 {
				b.Fatal(err)
			}
			s.Envelope()
		}
	})
	b.Run("made", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := Summarize(bytes.NewReader(raw))
			if err != nil {
				b.Fatal(err)
			}
			s.Envelope()
		}
	})
}
