package smtp

import (
	"strings"
	"testing"
)

// FuzzParsePath: a path is read in one way only. What ParsePath takes from a command and what a parser would take that looks for the last
// bracket outside of quotes agree, the rest is parameters, and the address written again is the same address.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<> SIZE=1", "<a@b>", `<"a>b"@c> BODY=7BIT`, "<@x,@y:a@b>", "<Postmaster>", "<a@b> <c@d>", "<a@[IPv6:::1]>", `<"\">"@b>`, "<<a@b>>", "<@[1.2.3.4]:a@b>",
		"<a@b>x", "< a@b>", "<a@b >", "<@a@b>", "<bình@ví-dụ.test> SMTPUTF8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, rest, err := ParsePath(s)
		if err != nil {
			if path != (Address{}) || rest != "" {
				t.Fatalf("%q: an error, and %+v, %q", s, path, rest)
			}
			return
		}
		if rest != "" && rest[0] != ' ' || !strings.HasSuffix(s, rest) || s[len(s)-len(rest)-1] != '>' {
			t.Fatalf("%q leaves %q", s, rest)
		}
		if path.Domain == "" && !path.IsNull() && !strings.EqualFold(path.Local, "postmaster") {
			t.Fatalf("%q is %+v, without a domain", s, path)
		}
		written := "<" + path.String() + ">"
		if strings.ContainsAny(written, "\r\n\x00") {
			t.Fatalf("%q is written %q", s, written)
		}
		if again, more, err := ParsePath(written + rest); err != nil || again != path || more != rest {
			t.Fatalf("%q is %+v, written %q, read again as %+v, %q, %v", s, path, written, again, more, err)
		}
	})
}

// FuzzParseDomain: a domain has one form, and its ASCII form leads back to it.
func FuzzParseDomain(f *testing.F) {
	for _, s := range []string{"example.test", "EXAMPLE.test", "xn--bcher-kva.test", "bücher.test", "[192.0.2.1]", "[IPv6:2001:DB8::1]", "ví-dụ。test", "a_b.test", "-a.test", "a..b", "a.", "ß.test", "xn--a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDomain(s)
		if err != nil {
			return
		}
		if again, err := ParseDomain(d); err != nil || again != d {
			t.Fatalf("%q is %q, then %q, %v", s, d, again, err)
		}
		ascii, err := ASCIIDomain(d)
		if err != nil || !isASCII(ascii) || len(ascii) > MaxDomainBytes {
			t.Fatalf("%q is %q, in ASCII %q, %v", s, d, ascii, err)
		}
		if back, err := ParseDomain(ascii); err != nil || back != d {
			t.Fatalf("%q is %q, in ASCII %q, which is %q, %v", s, d, ascii, back, err)
		}
	})
}
