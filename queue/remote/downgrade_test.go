package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/mime"
)

// lines joins lines with CRLF.
func lines(all ...string) string { return strings.Join(all, "\r\n") + "\r\n" }

func downgraded(raw string, to carriage) (string, error) {
	p, err := planConversion(context.Background(), opens(raw), to)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = p.writeTo(context.Background(), &out)
	return out.String(), err
}

func TestConversionToSevenBits(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"a text", lines("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "MIME-Version: 1.0", "", "chào =", "dòng hai ", "-- ", "ký"),
			lines("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "MIME-Version: 1.0", "",
				"ch=C3=A0o =3D", "d=C3=B2ng hai=20", "=2D-=20", "k=C3=BD")},
		{"a message that knows nothing of MIME", lines("Subject: s", "", "chào"),
			lines("Subject: s", "Content-Transfer-Encoding: quoted-printable", "Content-Type: text/plain; charset=unknown-8bit", "MIME-Version: 1.0", "", "ch=C3=A0o")},
		{"two labels", lines("Content-Transfer-Encoding:", " 8bit", "Subject: s", "Content-Transfer-Encoding: 7bit", "MIME-Version: 1.0", "Content-Type: text/x", "", "ò"),
			lines("Content-Transfer-Encoding: quoted-printable", "Subject: s", "MIME-Version: 1.0", "Content-Type: text/x", "", "=C3=B2")},
		{"only the parts that need it; labels around them", lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: 8bit", "", "preamble",
			"--b", "", "plain", "--b", "Content-Type: image/png", "Content-Transfer-Encoding: binary", "", "\x00\xff\n", "--b",
			"Content-Type: text/plain", "Content-Transfer-Encoding: 8bit", "", "ascii", "--b--", "epilogue"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: 7bit", "", "preamble",
				"--b", "", "plain", "--b", "Content-Type: image/png", "Content-Transfer-Encoding: base64", "", "AP8K", "--b",
				"Content-Type: text/plain", "Content-Transfer-Encoding: 7bit", "", "ascii", "--b--", "epilogue")},
		{"a message in a message", lines("MIME-Version: 1.0", "Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", "", "Subject: inner", "MIME-Version: 1.0",
			"Content-Type: text/plain; charset=utf-8", "", "ò"),
			lines("MIME-Version: 1.0", "Content-Type: message/rfc822", "Content-Transfer-Encoding: 7bit", "", "Subject: inner", "MIME-Version: 1.0",
				"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "", "=C3=B2")},
		{"something signed that needs nothing beside something that does", lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=a", "", "--a",
			"Content-Type: multipart/signed; boundary=b", "", "--b", "Content-Transfer-Encoding: 8bit", "", "signed", "--b", "", "signature", "--b--", "--a", "", "ò", "--a--"),
			lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=a", "", "--a",
				"Content-Type: multipart/signed; boundary=b", "", "--b", "Content-Transfer-Encoding: 8bit", "", "signed", "--b", "", "signature", "--b--", "--a",
				"Content-Transfer-Encoding: quoted-printable", "Content-Type: text/plain; charset=unknown-8bit", "", "=C3=B2", "--a--")},
		{"long lines", lines("MIME-Version: 1.0", "Subject: "+strings.Repeat("x", 980)+" "+strings.Repeat("y", 500), "", strings.Repeat("z", 1000)),
			lines("MIME-Version: 1.0", "Subject: "+strings.Repeat("x", 980), " "+strings.Repeat("y", 500), "Content-Transfer-Encoding: quoted-printable", "") +
				strings.Repeat(strings.Repeat("z", 75)+"=\r\n", 13) + strings.Repeat("z", 25) + "\r\n"},
		{"an encoded part with long lines", lines("MIME-Version: 1.0", "Content-Type: x/y", "Content-Transfer-Encoding: base64", "", strings.Repeat("AAAA", 250)),
			lines("MIME-Version: 1.0", "Content-Type: x/y", "Content-Transfer-Encoding: base64", "") +
				strings.Repeat(strings.Repeat("A", 76)+"\r\n", 13) + strings.Repeat("A", 12)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := downgraded(c.in, carriage{})
			if err != nil || got != c.out {
				t.Errorf("%v\n got %q\nwant %q", err, got, c.out)
			}
		})
	}
}

func TestConversionKeepsEightBitsWhereTheyMayTravel(t *testing.T) {
	in := lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: binary", "", "--b",
		"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "", "ò", "--b", "Content-Type: x/y", "Content-Transfer-Encoding: binary", "", "\x00", "--b--")
	want := lines("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: 8bit", "", "--b",
		"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "", "ò", "--b", "Content-Type: x/y", "Content-Transfer-Encoding: base64", "", "AA==", "--b--")
	if got, err := downgraded(in, carriage{eightBit: true}); err != nil || got != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}

func TestWhatCannotBeConvertedIsNot(t *testing.T) {
	for name, in := range map[string]string{
		"signed":                    lines("Content-Type: multipart/signed; boundary=b", "", "--b", "", "ò", "--b", "", "signature", "--b--"),
		"a signed long header":      lines("Content-Type: multipart/signed; boundary=b", "", "--b", "Subject: "+strings.Repeat("x ", 600), "", "x", "--b--"),
		"a header beyond ASCII":     lines("Subject: ò", "", "x"),
		"a preamble beyond ASCII":   lines("Content-Type: multipart/mixed; boundary=b", "", "ò", "--b", "", "x", "--b--"),
		"a long word in a header":   lines("Subject: "+strings.Repeat("x", 1000), "", "x"),
		"message/partial":           lines("Content-Type: message/partial; id=x; number=1", "", "ò"),
		"a multipart without parts": lines("Content-Type: multipart/mixed; boundary=b", "", "ò"),
		"an unknown encoding":       lines("Content-Transfer-Encoding: x-uuencode", "", "ò"),
		"a bare LF in a text":       lines("Content-Type: text/plain", "", "a\nb"),
		"too many parts":            lines("Content-Type: multipart/mixed; boundary=b", "") + strings.Repeat(lines("--b", "", "ò"), mime.MaxParts+1),
	} {
		c := &content{open: opens(in)}
		var scan scanner
		io.WriteString(&scan, in)
		c.facts = scan.finish()
		if done := convert(context.Background(), c, carriage{}); done.bad == nil || done.bad.status != Failed {
			t.Errorf("%s: %+v", name, done.bad)
		}
	}
}

// failingReader stands for a store that fails in the middle of a message.
func TestConversionOfWhatCannotBeReadIsTriedAgainLater(t *testing.T) {
	bad := errors.New("disk")
	c := &content{open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("Subject: s\r\n"), iotestErr{bad})), nil
	}, facts: facts{eightBit: true}}
	if done := convert(context.Background(), c, carriage{}); done.bad == nil || done.bad.status != Deferred {
		t.Errorf("%+v", done.bad)
	}
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

// FuzzDowngrade: what comes out can travel, has the same parts, and every part decodes to the same bytes.
func FuzzDowngrade(f *testing.F) {
	f.Add("Content-Type: text/plain\r\n\r\nch\xc3\xa0o -\t\r\n--\r\n", false)
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\nContent-Type: a/b\r\n\r\n\xff\n\x00\r\n--b--\r\n", true)
	f.Add("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n--b\r\n\r\n", false)
	f.Add("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: x\r\n\r\n\xff --b=20", false)
	f.Add("Content-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n--=4\xff=41 \r\n", false)
	f.Add("Content-Type: text/x\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ=\x80QUJD\r\n", false)
	f.Fuzz(func(t *testing.T, raw string, eightBit bool) {
		to := carriage{eightBit: eightBit}
		out, err := downgraded(raw, to)
		if err != nil {
			if !errors.Is(err, errConvert) {
				t.Fatal(err)
			}
			return
		}
		var scan scanner
		io.WriteString(&scan, out)
		if f := scan.finish(); !f.fits(to) && !headerTooLong(raw) {
			t.Fatalf("does not fit: %+v\n in %q\nout %q", f, raw, out)
		}
		compareParts(t, raw, out)
	})
}

// headerTooLong: a long word in a header stays, and convert refuses the message when it sees it.
func headerTooLong(raw string) bool {
	for line := range strings.Lines(raw) {
		if len(line) > maxLine {
			return true
		}
	}
	return false
}

func compareParts(t *testing.T, in, out string) {
	a, b := leaves(t, in), leaves(t, out)
	if len(a) != len(b) {
		t.Fatalf("%d parts, now %d\n in %q\nout %q", len(a), len(b), in, out)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("part %d: %q, now %q\n in %q\nout %q", i, a[i], b[i], in, out)
		}
	}
}

// leaves are the decoded bodies of all parts, in order.
func leaves(t *testing.T, raw string) (all []string) {
	s, err := mime.Summarize(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(p *mime.Part)
	walk = func(p *mime.Part) {
		switch {
		case p.Message != nil:
			walk(p.Message.Root)
		case p.IsMultipart():
			for _, child := range p.Parts {
				walk(child)
			}
		default:
			b, _ := io.ReadAll(mime.DecodeTransfer(p.Encoding, strings.NewReader(raw[p.BodyStart:p.End])))
			all = append(all, p.Type+"/"+p.Subtype+" "+string(b))
		}
	}
	walk(s.Structure.Root)
	return all
}

// sum is a signature of a kind: it says what stands below it.
func sum(_ context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	below, err := io.ReadAll(r)
	return fmt.Appendf(nil, "X-Sum: %x\r\n", sha256.Sum256(below)), err
}

// RFC 6376 §5.3: a message is signed in the form in which it leaves, also where that is not the one in which it is kept. The form that a server
// with other abilities gets keeps its own signature.
func TestConvertedMessageIsSignedAnew(t *testing.T) {
	for name, body := range map[string]string{"8 bits": "chào", "long lines": strings.Repeat("z", 2000), "long": strings.Repeat("chào\r\n", smallContent/4)} {
		stored := "Return-Path: <an@b>\r\n" + lines("MIME-Version: 1.0", "From: an@b", "", body)
		c, err := newContent(t.Context(), Message{Open: opens(stored), Prefix: []byte("Delivered-To: x@y\r\n"), Sign: sum})
		if err != nil {
			t.Fatal(err)
		}
		done := convert(t.Context(), c, carriage{})
		if done.bad != nil {
			t.Fatal(done.bad)
		}
		for form, write := range map[string]func(context.Context, io.Writer) error{"kept": c.writeTo, "converted": done.body.write} {
			var out bytes.Buffer
			if err := write(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			said, below, _ := strings.Cut(out.String(), "\r\n")
			if want := fmt.Sprintf("X-Sum: %x", sha256.Sum256([]byte(below))); said != want || !strings.HasPrefix(below, "Delivered-To: x@y\r\nMIME") {
				t.Errorf("%s, %s: %s stands above\n%.200q", name, form, said, below)
			}
			if converted := strings.Contains(below, "quoted-printable"); converted != (form == "converted") {
				t.Errorf("%s, %s: %.200q", name, form, below)
			}
		}
	}
}

// What cannot be signed now is put off; a signature that is given up half-way leaves nothing running.
func TestSigningThatFailsPutsOff(t *testing.T) {
	bad := errors.New("no key")
	stored := lines("MIME-Version: 1.0", "", "chào")
	if _, err := newContent(t.Context(), Message{Open: opens(stored), Sign: func(context.Context, func() (io.ReadCloser, error)) ([]byte, error) { return nil, bad }}); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	calls := 0
	c, err := newContent(t.Context(), Message{Open: opens(stored), Sign: func(_ context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
		if calls++; calls == 1 {
			return []byte("X: y\r\n"), nil
		}
		r, err := open()
		if err != nil {
			return nil, err
		}
		return nil, errors.Join(bad, r.Close())
	}})
	if err != nil {
		t.Fatal(err)
	}
	if done := convert(t.Context(), c, carriage{}); done.bad == nil || done.bad.status != Deferred {
		t.Errorf("%+v", done.bad)
	}
}
