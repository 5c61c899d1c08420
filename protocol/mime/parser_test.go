package mime

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crlf writes a message the way it stands on the wire.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func summarize(raw []byte) *Summary {
	s := NewSummarizer()
	_, _ = s.Write(raw)
	return s.Summary()
}

// sketch writes a tree on one line: type{children}, with the body of leaves.
func sketch(raw []byte, p *Part) string {
	s := p.Type + "/" + p.Subtype
	switch {
	case p.IsMultipart():
		var kids []string
		for _, c := range p.Parts {
			kids = append(kids, sketch(raw, c))
		}
		return s + "{" + strings.Join(kids, ", ") + "}"
	case p.Message != nil:
		return s + "<" + p.Message.Envelope.Subject.Text + ">{" + sketch(raw, p.Message.Root) + "}"
	}
	return fmt.Sprintf("%s %q:%d", s, raw[p.BodyStart:p.End], p.Lines)
}

func TestStructure(t *testing.T) {
	const mixed = "Content-Type: multipart/mixed; boundary=b\n\n"
	tests := []struct{ name, raw, want string }{
		{"plain", "Subject: x\n\nhi\nyou\n", `text/plain "hi\r\nyou\r\n":2`},
		{"empty message", "", `text/plain "":0`},
		{"header alone", "Subject: x\n", `text/plain "":0`},
		{"blank line alone", "\n", `text/plain "":0`},
		{"no line end at the end", "\nabc", `text/plain "abc":1`},
		{"two parts", mixed + "pre\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n\n--b--\nepilogue\n",
			`multipart/mixed{text/plain "one":1, text/html "two\r\n":1}`},
		{"no line end after the last boundary", mixed + "--b\n\none\n--b--", `multipart/mixed{text/plain "one":1}`},
		{"last boundary missing", mixed + "--b\n\none\n", `multipart/mixed{text/plain "one\r\n":1}`},
		{"blanks behind the boundary", mixed + "--b \t\n\none\n--b-- \n", `multipart/mixed{text/plain "one":1}`},
		{"boundary is not a prefix", mixed + "--b\n\n--bc\n--b--\n", `multipart/mixed{text/plain "--bc":1}`},
		{"boundary within a line", mixed + "--b\n\nx--b\n--b--\n", `multipart/mixed{text/plain "x--b":1}`},
		{"empty parts", mixed + "--b\n\n--b\n--b--\n", `multipart/mixed{text/plain "":0, text/plain "":0}`},
		{"header ended by the boundary", mixed + "--b\nContent-Type: text/html\n--b--\n", `multipart/mixed{text/html "":0}`},
		{"no boundary parameter", "Content-Type: multipart/mixed\n\n--b\n\none\n", `text/plain "--b\r\n\r\none\r\n":3`},
		{"boundary never seen", mixed + "text\n", `text/plain "text\r\n":1`},
		{"outer boundary ends inner parts",
			"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\none\n--o\n\ntwo\n--o--\n",
			`multipart/mixed{multipart/alternative{text/plain "one":1}, text/plain "two":1}`},
		{"delimiter of the inner right before the outer's",
			"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n--o--\n",
			`multipart/mixed{multipart/alternative{text/plain "":0}}`},
		{"epilogue of the inner is not a part",
			"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\n1\n--i--\nx\n--i\ny\n--o--\n",
			`multipart/mixed{multipart/alternative{text/plain "1":1}}`},
		{"nested message", mixed + "--b\nContent-Type: message/rfc822\n\nSubject: in\n\ntext\n--b--\n",
			`multipart/mixed{message/rfc822<in>{text/plain "text":1}}`},
		{"nested message without a body", mixed + "--b\nContent-Type: message/rfc822\n\n--b--\n", `multipart/mixed{message/rfc822<>{text/plain "":0}}`},
		{"nested message that is nothing", mixed + "--b\nContent-Type: message/rfc822\n--b--\n", `multipart/mixed{message/rfc822<>{text/plain "":0}}`},
		{"message as the root", "Content-Type: message/rfc822\n\nSubject: in\n\ntext", `message/rfc822<in>{text/plain "text":1}`},
		{"encoded message stays a leaf", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQQ==\n",
			`application/octet-stream "QQ==\r\n":1`},
		{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nt\n--b--\n", `multipart/digest{message/rfc822<in>{text/plain "t":1}}`},
		{"quoted boundary with odd characters", "Content-Type: multipart/mixed;\n boundary=\"a;b=(c)\"\n\n--a;b=(c)\n\none\n--a;b=(c)--\n",
			`multipart/mixed{text/plain "one":1}`},
		{"nonsense type", "Content-Type: ;;;\n\nx", `text/plain "x":1`},
		{"type without subtype", "Content-Type: text\n\nx", `text/plain "x":1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := crlf(tt.raw)
			s := summarize(raw)
			if got := sketch(raw, s.Structure.Root); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			checkStructure(t, raw, s)
			lf := summarize([]byte(tt.raw))
			checkStructure(t, []byte(tt.raw), lf)
			if got, want := sketch([]byte(tt.raw), lf.Structure.Root), strings.ReplaceAll(tt.want, `\r\n`, `\n`); got != want {
				t.Errorf("with bare line feeds: got %s\nwant %s", got, want)
			}
		})
	}
}

// checkStructure holds what is true of every message, however broken.
func checkStructure(t *testing.T, raw []byte, s *Summary) {
	t.Helper()
	if s.RawBytes != int64(len(raw)) || s.Structure.Size != s.RawBytes {
		t.Errorf("RawBytes %d, Size %d, want %d", s.RawBytes, s.Structure.Size, len(raw))
	}
	if n := int64(bytes.Count(raw, []byte("\n"))); s.Lines != n {
		t.Errorf("Lines %d, want %d", s.Lines, n)
	}
	root := s.Structure.Root
	if root.HeaderStart != 0 || root.End != int64(len(raw)) || s.HeaderBytes != root.BodyStart {
		t.Errorf("root is %d..%d..%d of %d", root.HeaderStart, root.BodyStart, root.End, len(raw))
	}
	checkPart(t, raw, root)
	for _, step := range []int{1, 7} {
		other := NewSummarizer()
		for i := 0; i < len(raw); i += step {
			_, _ = other.Write(raw[i:min(i+step, len(raw))])
		}
		if !reflect.DeepEqual(s, other.Summary()) {
			t.Errorf("written in pieces of %d: not the same", step)
		}
	}
	b := s.Marshal()
	if len(b) > MaxSummaryBytes {
		t.Errorf("marshalled: %d bytes", len(b))
	}
	back, err := UnmarshalSummary(b)
	if err != nil {
		t.Fatal(err)
	}
	if back.Structure == nil {
		if !back.StructureOmitted {
			t.Error("structure lost silently")
		}
	} else if !reflect.DeepEqual(s.Structure, back.Structure) {
		t.Error("marshalled and back: not the same")
	}
}

func checkPart(t *testing.T, raw []byte, p *Part) {
	t.Helper()
	if p.HeaderStart > p.BodyStart || p.BodyStart > p.End || p.End > int64(len(raw)) {
		t.Fatalf("part is %d..%d..%d of %d", p.HeaderStart, p.BodyStart, p.End, len(raw))
	}
	if p.Type == "" || p.Subtype == "" || p.Encoding == "" {
		t.Errorf("type %q, subtype %q, encoding %q", p.Type, p.Subtype, p.Encoding)
	}
	if p.Type == "multipart" && len(p.Parts) == 0 {
		t.Error("multipart without parts")
	}
	body := raw[p.BodyStart:p.End]
	lines := int64(bytes.Count(body, []byte("\n")))
	if len(body) > 0 && body[len(body)-1] != '\n' {
		lines++
	}
	if p.Lines != lines {
		t.Errorf("Lines %d, want %d in %q", p.Lines, lines, body)
	}
	at := p.BodyStart
	for _, c := range p.Parts {
		if c.HeaderStart < at || c.End > p.End {
			t.Errorf("child is %d..%d..%d, its siblings end at %d, its parent at %d", c.HeaderStart, c.BodyStart, c.End, at, p.End)
		}
		at = c.End
		checkPart(t, raw, c)
	}
	if m := p.Message; m != nil {
		if m.Root.HeaderStart != p.BodyStart || m.Root.End != p.End {
			t.Errorf("nested message is %d..%d, its part %d..%d", m.Root.HeaderStart, m.Root.End, p.BodyStart, p.End)
		}
		checkPart(t, raw, m.Root)
	}
}

// corpus calls f for every message of the corpus folder.
func corpus(t *testing.T, f func(t *testing.T, raw []byte)) {
	dir := os.Getenv("QUORUMAIL_CORPUS")
	if dir == "" {
		t.Skip("QUORUMAIL_CORPUS is not set")
	}
	names, err := filepath.Glob(filepath.Join(dir, "eml", "*.eml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no messages in %s: %v", dir, err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(name), func(t *testing.T) { f(t, raw) })
	}
}

func TestCorpusStructure(t *testing.T) {
	corpus(t, func(t *testing.T, raw []byte) {
		s := summarize(raw)
		checkStructure(t, raw, s)
		wire := bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		checkStructure(t, wire, summarize(wire))
		if e, known := s.Envelope(); !known || cmp.Diff(*e, ParseEnvelope(raw[:s.HeaderBytes])) != "" {
			t.Error("envelope of the summary differs from that of the message")
		}
		names := []string{"Subject", "from", "TO", "Message-Id", "References"}
		got, known := s.HeaderFields(names)
		if want := FilterFields(raw[:s.HeaderBytes], names, false); !known || !bytes.Equal(got, want) {
			t.Errorf("fields from the summary: %q, want %q", got, want)
		}
	})
}

// TestMutatedCorpus breaks messages in the ways that bytes get lost or doubled.
func TestMutatedCorpus(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	corpus(t, func(t *testing.T, raw []byte) {
		for range 20 {
			b := bytes.Clone(raw)
			for range 1 + rng.IntN(4) {
				i, j := rng.IntN(len(b)+1), rng.IntN(len(b)+1)
				i, j = min(i, j), max(i, j)
				switch rng.IntN(3) {
				case 0:
					b = append(b[:i:i], b[j:]...)
				case 1:
					b = append(b[:j:j], b[i:]...)
				case 2:
					b = append(b[:i:i], append([]byte("\r\n--"), b[i:]...)...)
				}
			}
			checkStructure(t, b, summarize(b))
			if t.Failed() {
				t.Fatalf("message: %q", b)
			}
		}
	})
}

func TestLimits(t *testing.T) {
	t.Run("parts", func(t *testing.T) {
		raw := crlf("Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 3*MaxParts) + "--b--\n")
		s := summarize(raw)
		if n := len(s.Structure.Root.Parts); n != MaxParts-1 || !s.Structure.Truncated {
			t.Errorf("%d parts, truncated %v", n, s.Structure.Truncated)
		}
		checkStructure(t, raw, s)
	})
	t.Run("depth of multiparts", func(t *testing.T) {
		var b strings.Builder
		for i := range 200 {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
		}
		s := summarize(crlf(b.String()))
		if !s.Structure.Truncated {
			t.Error("not truncated")
		}
		checkStructure(t, crlf(b.String()), s)
	})
	t.Run("depth of messages", func(t *testing.T) {
		raw := crlf(strings.Repeat("Content-Type: message/rfc822\n\n", 200))
		s := summarize(raw)
		if !s.Structure.Truncated {
			t.Error("not truncated")
		}
		checkStructure(t, raw, s)
	})
	t.Run("long header", func(t *testing.T) {
		raw := crlf("Subject: a\n" + strings.Repeat("X-A: "+strings.Repeat("y", 500)+"\n", 1000) + "To: late@example.test\n\nbody\n")
		s := summarize(raw)
		if _, known := s.Envelope(); known {
			t.Error("envelope told of a header that was not read to its end")
		}
		checkStructure(t, raw, s)
	})
	t.Run("long line in the header", func(t *testing.T) {
		raw := crlf("Subject: a\nX-A: " + strings.Repeat("y", 500_000) + "\n\nbody\n")
		s := summarize(raw)
		if _, _, known := s.Field("Subject"); known {
			t.Error("a field told as known of a header that was not read to its end")
		}
		checkStructure(t, raw, s)
	})
	t.Run("large field", func(t *testing.T) {
		raw := crlf("Subject: a\nTo: " + strings.Repeat("someone@example.test,\n ", 2000) + "end@example.test\n\nbody\n")
		back, err := UnmarshalSummary(summarize(raw).Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, known := back.Field("To"); known {
			t.Error("To is told though it was omitted")
		}
		if v, _, known := back.Field("Subject"); !known || v != "a" {
			t.Errorf("Subject %q, known %v", v, known)
		}
		checkStructure(t, raw, summarize(raw))
	})
	t.Run("metadata", func(t *testing.T) {
		part := "--b\nContent-Type: text/plain; name=\"" + strings.Repeat("n", 900) + "\"\n\nx\n"
		raw := crlf("Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat(part, 500) + "--b--\n")
		s := summarize(raw)
		checkStructure(t, raw, s)
		back, err := UnmarshalSummary(s.Marshal())
		if err != nil || !back.StructureOmitted {
			t.Errorf("structure of %d bytes kept: %v", len(s.Marshal()), err)
		}
	})
}

func TestSection(t *testing.T) {
	raw := crlf(`Subject: outer
Content-Type: multipart/mixed; boundary=o

--o

one
--o
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/alternative; boundary=i

--i
Content-Type: text/plain

two one
--i
Content-Type: text/html

two two
--i--
--o
Content-Type: message/rfc822

Subject: single

three
--o--
`)
	st := summarize(raw).Structure
	inner := "Subject: inner\nContent-Type: multipart/alternative; boundary=i\n\n"
	innerBody := "--i\nContent-Type: text/plain\n\ntwo one\n--i\nContent-Type: text/html\n\ntwo two\n--i--"
	tests := []struct {
		path []int
		spec Specifier
		want string // "-": there is no such section
	}{
		{nil, SpecHeader, "Subject: outer\nContent-Type: multipart/mixed; boundary=o\n\n"},
		{[]int{1}, SpecAll, "one"},
		{[]int{1}, SpecMIME, "\n"},
		{[]int{1}, SpecHeader, "-"},
		{[]int{1, 1}, SpecAll, "-"},
		{[]int{2}, SpecMIME, "Content-Type: message/rfc822\n\n"},
		{[]int{2}, SpecAll, inner + innerBody},
		{[]int{2}, SpecHeader, inner},
		{[]int{2}, SpecText, innerBody},
		{[]int{2, 1}, SpecAll, "two one"},
		{[]int{2, 1}, SpecMIME, "Content-Type: text/plain\n\n"},
		{[]int{2, 2}, SpecAll, "two two"},
		{[]int{2, 3}, SpecAll, "-"},
		{[]int{3, 1}, SpecAll, "three"},
		{[]int{3}, SpecText, "three"},
		{[]int{4}, SpecAll, "-"},
		{[]int{0}, SpecAll, "-"},
	}
	for _, tt := range tests {
		got := "-"
		if span, ok := st.Section(tt.path, tt.spec); ok {
			got = strings.ReplaceAll(string(raw[span.Start:span.End]), "\r\n", "\n")
		}
		if got != tt.want {
			t.Errorf("section %v %d: %q, want %q", tt.path, tt.spec, got, tt.want)
		}
	}
	if span, _ := st.Section(nil, SpecAll); span.Len() != int64(len(raw)) {
		t.Errorf("BODY[] has %d bytes of %d", span.Len(), len(raw))
	}
	single := summarize(crlf("Subject: x\n\nbody")).Structure
	if span, ok := single.Section([]int{1}, SpecAll); !ok || span.Len() != 4 {
		t.Errorf("BODY[1] of a message without parts: %v, %v", span, ok)
	}
}

func FuzzSummarizer(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"))
	f.Add([]byte("Content-Type: message/rfc822\n\nContent-Type: multipart/digest; boundary=b\n\n--b\n\n--b--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := summarize(raw)
		checkStructure(t, raw, s)
		s.Envelope()
		s.ThreadKeys()
		s.SentDate()
	})
}

func FuzzUnmarshalSummary(f *testing.F) {
	f.Add(summarize(crlf("Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n")).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := UnmarshalSummary(b)
		if err == nil {
			s.Marshal()
		}
	})
}
