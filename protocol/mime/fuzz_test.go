package mime

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// FuzzHeader: decoded header values are UTF-8, base subjects are stable, and what is read of dates and ids is sound.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"=?utf-8?B?xJDGsOG7nW5n?= =?utf-8?q?_ph=E1=BB=91?=", "=?iso-8859-1*vi?q?=e9?=", "=?x-unknown?b?/w==?=", "=?utf-8?b?=?=", "=?=?=?",
		"Re: [list] Fwd: [fwd: re(2): x] (fwd)", "[a][b] re: [c", "Re[2]: x", "Tue, 3 Mar 2026 23:30:00 -0800 (PST)", "31 Feb 99 25:61 GMT", "<a@b> <c", "=?gb18030?q?=ff?= x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		decoded := DecodeHeader(s)
		if !utf8.ValidString(decoded) {
			t.Fatalf("%q is decoded to %q", s, decoded)
		}
		base, _ := BaseSubject(decoded)
		if again, reply := BaseSubject(base); again != base || reply {
			t.Fatalf("%q has the base subject %q, which has %q, %v", decoded, base, again, reply)
		}
		if d, err := ParseDate(s); err == nil && (d.Year() < 1 || d.Year() > 9999+1) {
			t.Fatalf("%q is the date %v", s, d)
		}
		for _, id := range ParseMessageIDs(s) {
			if id == "" || strings.ContainsAny(id, " \t\r\n") {
				t.Fatalf("%q has the id %q", s, id)
			}
		}
		for _, a := range ParseAddressList(s) {
			if a.Kind == 0 && a.Mailbox == "" && a.Host == "" && a.Name == "" {
				t.Fatalf("%q has an empty address", s)
			}
		}
	})
}

// FuzzFields: a header taken apart and put together is the same bytes, and HEADER.FIELDS and its opposite share its fields between them.
func FuzzFields(f *testing.F) {
	f.Add([]byte("A: 1\r\nB: 2\r\n 3\r\nnonsense\r\nb : 4\r\n\r\nC: 5"), "b")
	f.Add([]byte(" x\nA:\n\n"), "A")
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		var all []byte
		for _, field := range ParseHeader(raw) {
			all = append(all, field.Raw...)
		}
		if !bytes.HasPrefix(raw, all) {
			t.Fatalf("%q: its fields are %q", raw, all)
		}
		with, without := FilterFields(raw, []string{name}, false), FilterFields(raw, []string{name}, true)
		if got := len(ParseHeader(with)) + len(ParseHeader(without)); got != len(ParseHeader(raw)) {
			t.Fatalf("%q: %q and %q are %d fields of %d", raw, with, without, got, len(ParseHeader(raw)))
		}
	})
}

// FuzzTransfer: it makes no difference in which pieces an encoded body comes.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte("YWJj\r\nZGVm=YQ==\r\nxx"), "base64")
	f.Add([]byte("a=\r\nb=C3=A9 \t\r\n=zz=0"), "quoted-printable")
	f.Fuzz(func(t *testing.T, raw []byte, encoding string) {
		whole, err := io.ReadAll(DecodeTransfer(encoding, bytes.NewReader(raw)))
		if err != nil || len(whole) > len(raw) {
			t.Fatalf("%q in %s: %q, %v", raw, encoding, whole, err)
		}
		single, err := io.ReadAll(iotest.OneByteReader(DecodeTransfer(encoding, iotest.OneByteReader(bytes.NewReader(raw)))))
		if err != nil || !bytes.Equal(whole, single) {
			t.Fatalf("%q in %s: %q at once, %q by bytes, %v", raw, encoding, whole, single, err)
		}
	})
}
