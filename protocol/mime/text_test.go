package mime

import (
	"bytes"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"
)

func decode(t *testing.T, p *Part, body string) string {
	t.Helper()
	whole, err := io.ReadAll(DecodePart(p, strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	slow, err := io.ReadAll(iotest.OneByteReader(DecodePart(p, iotest.OneByteReader(strings.NewReader(body)))))
	if err != nil || !bytes.Equal(whole, slow) {
		t.Errorf("byte by byte: %q, %v, whole %q", slow, err, whole)
	}
	return string(whole)
}

func TestDecodePart(t *testing.T) {
	part := func(sub, charset, encoding string) *Part {
		return &Part{Type: "text", Subtype: sub, Encoding: encoding, Params: []Param{{"charset", charset}}}
	}
	for _, tt := range []struct {
		p        *Part
		in, want string
	}{
		{part("plain", "utf-8", "7bit"), "a\r\nb", "a\r\nb"},
		{part("plain", "utf-8", "quoted-printable"), "a=C4=91 =\r\nb=\nc  \r\nd=zz =4", "ađ bc\r\nd=zz =4"},
		{part("plain", "iso-8859-1", "quoted-printable"), "caf=e9", "café"},
		{part("plain", "utf-8", "base64"), "xJHh\r\nurdu\r\nZw==\r\n", "đặng"},
		{part("plain", "utf-8", "base64"), "YQ==YmM=\r\nZA", "abcd"},
		{part("plain", "utf-8", "base64"), "!Y!Q!=!=", "a"},
		{part("plain", "utf-8", "8bit"), "caf\xe9 đ", "café đ"},
		{part("plain", "unknown-8bit", "8bit"), "caf\xe9", "café"},
		{part("plain", "utf-16le", "base64"), "YQBiAA==", "ab"},
		{part("html", "utf-8", "7bit"), "<p>a&amp;b <b>c</b>d<br/>e<!-- x > y --><script>if (a<b) x</script>f&#273;&nbsp;g</p>", " a&b cd ef đ g "},
		{part("html", "utf-8", "7bit"), "1 < 2 <a href=\"x>y\">z</a> &unknown; & <style>p{}</style>", "1 < 2 z &unknown; & "},
		{part("html", "utf-8", "7bit"), "<!doctype html><title>t</title>x<!---->y<", " xy<"},
	} {
		got := decode(t, tt.p, tt.in)
		if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(tt.want, " ", "") || tt.p.Subtype == "plain" && got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestDecodeTransferAgreesWithEncoders(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 200 {
		data := make([]byte, rng.IntN(20_000))
		for i := range data {
			if data[i] = byte(rng.IntN(256)); n%2 == 0 {
				data[i] = ' ' + data[i]%90
			}
		}
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		w.Binary = true
		_, _ = w.Write(data)
		_ = w.Close()
		got, err := io.ReadAll(DecodeTransfer("quoted-printable", &b))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("quoted-printable of %d bytes: %d came back, %v", len(data), len(got), err)
		}
		got, err = io.ReadAll(DecodeTransfer("base64", strings.NewReader(base64.StdEncoding.EncodeToString(data))))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("base64 of %d bytes: %d came back, %v", len(data), len(got), err)
		}
	}
	// One line without an end, with an escape at every place where it may be cut.
	for shift := range 4 {
		data := strings.Repeat("x", shift) + strings.Repeat("đ", 20_000)
		var b strings.Builder
		b.WriteString(data[:shift])
		for i := shift; i < len(data); i++ {
			const hex = "0123456789ABCDEF"
			b.WriteString("=" + string(hex[data[i]>>4]) + string(hex[data[i]&15]))
		}
		got, err := io.ReadAll(DecodeTransfer("quoted-printable", strings.NewReader(b.String())))
		if err != nil || string(got) != data {
			t.Errorf("long line: %d of %d bytes, %v", len(got), len(data), err)
		}
	}
}

func TestFoldText(t *testing.T) {
	for _, tt := range [][2]string{
		{"Đường đi KHÔNG khó", "duong di khong kho"}, {"Nguye\u0302\u0303n", "nguyen"}, {"ĐẶNG", "dang"}, {"Straße", "strasse"}, {"ＡＢＣ", "abc"},
		{"ﬁn", "fin"}, {"Ñandú", "nandu"}, {"Ærø", "æro"}, {"İstanbul", "istanbul"}, {"co\u00adop", "coop"}, {"a\u00a0b", "a b"},
	} {
		if got := FoldText(tt[0]); got != tt[1] {
			t.Errorf("%q: %q, want %q", tt[0], got, tt[1])
		}
	}
	for _, s := range []string{"が", "한국어", "ไทย", "हिन्दी"} {
		if got := FoldText(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	if FoldText("か") == FoldText("が") {
		t.Error("marks that make another letter were dropped")
	}
	if !ContainsFolded("Xin chào Việt Nam", "viet") || ContainsFolded("abc", "x") {
		t.Error("ContainsFolded")
	}
}

func FuzzFoldText(f *testing.F) {
	f.Add("Đường ﷺ ẞ")
	f.Add("Đường phố – “Hà\u0300 No\u0302\u0323i…” ﬁ\u0345 İ")
	f.Fuzz(func(t *testing.T, s string) {
		once := FoldText(s)
		if slow := foldAny(s); once != slow && !isASCII(s) {
			t.Errorf("%q: %q, and %q by the slow way", s, once, slow)
		}
		if twice := FoldText(once); twice != once {
			t.Errorf("%q: %q, then %q", s, once, twice)
		}
		DecodeHeader(s)
		ParseAddressList(s)
		BaseSubject(s)
		_, _ = ParseDate(s)
		parseValue(s)
		_, _ = io.Copy(io.Discard, newHTMLText(strings.NewReader(s)))
		for _, e := range []string{"base64", "quoted-printable"} {
			_, _ = io.Copy(io.Discard, DecodeTransfer(e, strings.NewReader(s)))
		}
	})
}

func TestMatcher(t *testing.T) {
	filler := strings.Repeat("Lorem ipsum đồ ", 3000)
	for _, gap := range []int{0, 1, 8190, 8191, 8192, 8193, 16383, 16384, 16385, 30000} {
		for _, step := range []int{1, 1000, 100_000} {
			text := filler[:gap] + "Kho\u0302ng co\u0301 gì" + filler
			m := NewMatcher("KHÔNG CÓ")
			for i := 0; i < len(text); i += step {
				_, _ = m.Write([]byte(text[i:min(i+step, len(text))]))
			}
			if !m.Matched() {
				t.Errorf("not found after %d bytes, written by %d", gap, step)
			}
		}
	}
	m := NewMatcher("absent")
	_, _ = io.WriteString(m, "abs")
	if m.Matched() {
		t.Error("matched too early")
	}
	_, _ = io.WriteString(m, "ent")
	if !m.Matched() {
		t.Error("not found after an early look")
	}
	if !NewMatcher("").Matched() {
		t.Error("the empty text is in every text")
	}
	m = NewMatcher("xyz")
	_, _ = io.WriteString(m, strings.Repeat("\u0301", 50_000)+"xyz")
	if !m.Matched() {
		t.Error("not found behind endless marks")
	}
}

func TestPreview(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"plain", "\n  Hello\n\n  world  \n", "Hello world"},
		{"none", "Content-Type: image/png\n\nxx", ""},
		{"plain before html", "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>H</p>\n--b\n\nplain\n--b--\n", "plain"},
		{"html", "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<style>x</style><p>=C4=91</p><p>b</p>", "đ b"},
		{"blank plain text", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\n \n--b\nContent-Type: text/html\n\n<p>H</p>\n--b--\n", "H"},
		{"attachment", "Content-Disposition: attachment\n\nx", ""},
		{"nested", "Content-Type: message/rfc822\n\n\nx", ""},
		{"long", "\n" + strings.Repeat("đặng ", 5000), strings.TrimSpace(strings.Repeat("đặng ", PreviewRunes/5))},
	} {
		if got := summarize(crlf(tt.raw)).Preview; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func BenchmarkSummarizer(b *testing.B) {
	body := strings.Repeat(strings.Repeat("x", 70)+"\n", 280)
	raw := crlf("From: A <a@example.test>\nTo: b@example.test\nSubject: hello\nMessage-ID: <x@y>\nContent-Type: multipart/mixed; boundary=bbbbbbbb\n\n--bbbbbbbb\n\n" + body + "--bbbbbbbb--\n")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		summarize(raw).Marshal()
	}
}
