package smtp

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddressBringsSpellingsIntoOneForm(t *testing.T) {
	for _, tc := range []struct{ in, local, domain, text, canonical, wire string }{
		{in: "An.Nguyen@Example.TEST", local: "An.Nguyen", domain: "example.test", text: "An.Nguyen@example.test", canonical: "an.nguyen@example.test"},
		// RFC 5321 §4.1.2: quoting a character that needs none does not change the mailbox.
		{in: `"an"@example.test`, local: "an", domain: "example.test", text: "an@example.test"},
		{in: `"\a\n"@example.test`, local: "an", domain: "example.test", text: "an@example.test"},
		{in: `"an binh"@example.test`, local: "an binh", domain: "example.test", text: `"an binh"@example.test`},
		{in: `"a\"b\\c"@example.test`, local: `a"b\c`, domain: "example.test", text: `"a\"b\\c"@example.test`},
		{in: `"x@evil.test"@example.test`, local: "x@evil.test", domain: "example.test", text: `"x@evil.test"@example.test`},
		{in: `".."@example.test`, local: "..", domain: "example.test", text: `".."@example.test`},
		{in: `""@example.test`, local: "", domain: "example.test", text: `""@example.test`},
		{in: "user+tag@example.test", local: "user+tag", domain: "example.test", text: "user+tag@example.test"},
		{in: "!#$%&'*+-/=?^_`{|}~@example.test", local: "!#$%&'*+-/=?^_`{|}~", domain: "example.test", text: "!#$%&'*+-/=?^_`{|}~@example.test"},
		// RFC 6531 §3.3: UTF-8 in local parts; composed and decomposed are one.
		{in: "Bi\u0300nh@example.test", local: "Bình", domain: "example.test", text: "Bình@example.test", canonical: "bình@example.test"},
		{in: "ĐẶNG@example.test", local: "ĐẶNG", domain: "example.test", text: "ĐẶNG@example.test", canonical: "đặng@example.test"},
		// A-labels and U-labels are one domain.
		{in: "an@xn--bcher-kva.test", local: "an", domain: "bücher.test", text: "an@bücher.test", wire: "an@xn--bcher-kva.test"},
		{in: "an@BÜCHER.test", local: "an", domain: "bücher.test", text: "an@bücher.test", wire: "an@xn--bcher-kva.test"},
		{in: "an@bu\u0308cher.test", local: "an", domain: "bücher.test", text: "an@bücher.test", wire: "an@xn--bcher-kva.test"},
		{in: "an@straße.test", local: "an", domain: "straße.test", text: "an@straße.test", wire: "an@xn--strae-oqa.test"},
		{in: "an@my_host.test", local: "an", domain: "my_host.test", text: "an@my_host.test"},
		{in: "an@localhost", local: "an", domain: "localhost", text: "an@localhost"},
		// RFC 5321 §4.1.3.
		{in: "an@[192.0.2.1]", local: "an", domain: "[192.0.2.1]", text: "an@[192.0.2.1]"},
		{in: "an@[ipv6:2001:DB8:0:0::1]", local: "an", domain: "[IPv6:2001:db8::1]", text: "an@[IPv6:2001:db8::1]", canonical: "an@[IPv6:2001:db8::1]"},
	} {
		t.Run(tc.in, func(t *testing.T) {
			a, err := ParseAddress(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if want := (Address{Local: tc.local, Domain: tc.domain}); a != want {
				t.Errorf("got %+q, want %+q", a, want)
			}
			if got := a.String(); got != tc.text {
				t.Errorf("String %q, want %q", got, tc.text)
			}
			if got := a.Canonical(); got != or(tc.canonical, strings.ToLower(tc.text)) {
				t.Errorf("Canonical %q", got)
			}
			if got := a.Wire(false); got != or(tc.wire, tc.text) {
				t.Errorf("Wire %q", got)
			}
			if got := a.Wire(true); got != tc.text {
				t.Errorf("Wire with UTF-8 %q", got)
			}
		})
	}
}

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", "@", "an", "an@", "@example.test", "an@@example.test", "an@example.test@evil.test", "<an@example.test>",
		"an binh@example.test", "an,binh@example.test", "an:x@example.test", "an(comment)@example.test",
		".an@example.test", "an.@example.test", "a..n@example.test",
		`"an@example.test`, `"an"x@example.test`, `an"x"@example.test`, `"an\`, `"an\é"@example.test`, `"an".x@example.test`,
		// What would split a command or a header field.
		"an@example.test\r\nDATA", "an\r@example.test", "an\n@example.test", "\"a\r\nb\"@example.test", "\"a\\\nb\"@example.test", "an\x00@example.test", "an\x7f@example.test", "an\t@example.test",
		"an\u0085@example.test", "an\u2028@example.test", "an\u00a0@example.test", "an\u202e@example.test", "an\ufffd@example.test", "an\xff@example.test",
		"an@exa mple.test", "an@-example.test", "an@example-.test", "an@example..test", "an@.example.test", "an@example.test.", "an@exam!ple.test", "an@exa/mple.test",
		"an@xn--a.test", "an@xn--.test", "an@xn--\u00e9.test",
		"an@[192.0.2.1", "an@[192.0.2.256]", "an@[2001:db8::1]", "an@[IPv6:192.0.2.1]", "an@[IPv6:fe80::1%eth0]", "an@[]", "an@[IPv6:]", "an@[x:y]", "an@[192.0.2.1]x",
		strings.Repeat("a", MaxLocalBytes+1) + "@example.test",
		"a@" + strings.Repeat("b", 64) + ".test",
		"a@" + strings.Repeat("bcdefgh.", 32) + "test",
		strings.Repeat("a", MaxLocalBytes) + "@" + strings.Repeat("bcdefgh.", 16) + "test",
		"a@" + strings.Repeat("b.", 100_000) + "test",
	} {
		if a, err := ParseAddress(in); !errors.Is(err, ErrAddress) {
			t.Errorf("%.60q: got %+v, %v", in, a, err)
		}
	}
}

func TestParseAddressTakesTheLongest(t *testing.T) {
	in := strings.Repeat("a", MaxLocalBytes) + "@" + strings.Repeat("b", 63) + "." + strings.Repeat("c", 61)
	if len(in) != MaxAddressBytes {
		t.Fatalf("the test's address has %d bytes", len(in))
	}
	if _, err := ParseAddress(in); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseAddress(in + "d"); err == nil {
		t.Fatal("took one byte more")
	}
}

func TestParsePath(t *testing.T) {
	for _, tc := range []struct {
		in, rest string
		want     Address
	}{
		{in: "<>", want: Address{}},
		{in: "<> SIZE=10", rest: " SIZE=10"},
		{in: "<an@example.test> BODY=8BITMIME", rest: " BODY=8BITMIME", want: Address{"an", "example.test"}},
		{in: `<"a>b"@example.test>`, want: Address{"a>b", "example.test"}},
		{in: `<"a\">b"@example.test>`, want: Address{`a">b`, "example.test"}},
		{in: "<Postmaster>", want: Address{Local: "Postmaster"}},
		{in: "<@a.test,@b.test:an@example.test>", want: Address{"an", "example.test"}},
		{in: `<@[IPv6:2001:db8::1]:"a:b"@[IPv6:2001:db8::2]>`, want: Address{"a:b", "[IPv6:2001:db8::2]"}},
	} {
		got, rest, err := ParsePath(tc.in)
		if err != nil || got != tc.want || rest != tc.rest {
			t.Errorf("%s: got %+v, %q, %v", tc.in, got, rest, err)
		}
	}
	for _, in := range []string{"", "an@example.test", "<an@example.test", "<an@example.test>x", "<an@example.test>\tSIZE=1", "<an>", "< an@example.test>", "<an@example.test >",
		`<"an@example.test>`, "<@a.test>", "<@a.test:>", "<@a.test,b.test:an@example.test>", "<@a b:an@example.test>", "<@[1:an@example.test>", "<<an@example.test>>"} {
		if a, _, err := ParsePath(in); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: got %+v, %v", in, a, err)
		}
	}
}

func TestSplitDetail(t *testing.T) {
	for _, tc := range []struct {
		in, separator, base, detail string
		ok                          bool
	}{
		{in: "an+lists@example.test", separator: "+", base: "an@example.test", detail: "lists", ok: true},
		{in: "an+lists+go@example.test", separator: "+", base: "an@example.test", detail: "lists+go", ok: true},
		{in: "an+@example.test", separator: "+", base: "an@example.test", ok: true},
		{in: "an--x@example.test", separator: "--", base: "an@example.test", detail: "x", ok: true},
		{in: "an@example.test", separator: "+", base: "an@example.test"},
		{in: "+an@example.test", separator: "+", base: "+an@example.test"},
		{in: "an+x@example.test", separator: "", base: "an+x@example.test"},
	} {
		a, err := ParseAddress(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		base, detail, ok := a.SplitDetail(tc.separator)
		if base.String() != tc.base || detail != tc.detail || ok != tc.ok {
			t.Errorf("%s at %q: got %s, %q, %v", tc.in, tc.separator, base, detail, ok)
		}
	}
}

func TestNeedsUTF8(t *testing.T) {
	for in, want := range map[string]bool{"an@bücher.test": false, "bình@example.test": true, "an@example.test": false} {
		a, err := ParseAddress(in)
		if err != nil || a.NeedsUTF8() != want {
			t.Errorf("%s: got %v, %v", in, a.NeedsUTF8(), err)
		}
	}
}

func TestAddressLiteralHasIP(t *testing.T) {
	for in, want := range map[string]string{"a@[192.0.2.1]": "192.0.2.1", "a@[IPv6:2001:db8::1]": "2001:db8::1"} {
		a, err := ParseAddress(in)
		if err != nil {
			t.Fatal(err)
		}
		if ip, ok := a.IP(); !ok || ip.String() != want {
			t.Errorf("%s: got %v, %v", in, ip, ok)
		}
	}
	if _, ok := (Address{Local: "a", Domain: "example.test"}).IP(); ok {
		t.Error("a domain name has an IP")
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"an@example.test", `"a b\"c"@[IPv6:2001:db8::1]`, "bình@bücher.test", "a@xn--bcher-kva.test", "K@\u2126.test", "a\u037eb@x", "Ⱥ@x", "a@x\u3002y", "İ@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		for _, text := range []string{a.String(), a.Wire(false), a.Wire(true)} {
			if strings.ContainsAny(text, "\r\n\x00") {
				t.Fatalf("%q yields control characters: %q", s, text)
			}
			if again, err := ParseAddress(text); err != nil || again != a {
				t.Fatalf("%q is %+q, written %q, read again as %+q, %v", s, a, text, again, err)
			}
		}
		c, err := ParseAddress(a.Canonical())
		if err != nil || c.Canonical() != a.Canonical() {
			t.Fatalf("%q: canonical %q, again %q, %v", s, a.Canonical(), c.Canonical(), err)
		}
		if path, rest, err := ParsePath("<" + a.String() + ">"); err != nil || rest != "" || path != a {
			t.Fatalf("%q as a path: %+q, %q, %v", s, path, rest, err)
		}
		if base, _, ok := a.SplitDetail("+"); ok && (base.Local == "" || !strings.HasPrefix(a.Local, base.Local)) {
			t.Fatalf("%q splits to %+q", s, base)
		}
	})
}
