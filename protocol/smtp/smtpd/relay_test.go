package smtpd

import (
	"strings"
	"testing"
)

// A stranger's mail goes to this site's addresses and nowhere else, however its address is written (RFC 5321 §7.9; the ways that open relays
// were found open by).
func TestOpenRelayMatrix(t *testing.T) {
	const local, relay, none, syntax = "250 2.1.5*", "550 5.7.1 Relay access denied", "550 5.1.1*", "501*"
	for _, tt := range []struct{ path, want string }{
		{"<alice@example.test>", local},
		{"<ALICE@EXAMPLE.TEST>", local},
		{`<"alice"@example.test>`, local},
		{`<"\a\l\i\c\e"@example.test>`, local},
		// Source routes: accepted, ignored (RFC 5321 appendix C), and no way round the question.
		{"<@relay.example:alice@example.test>", local},
		{"<@relay.example,@other.example:alice@example.test>", local},
		{"<@example.test:victim@elsewhere.example>", relay},
		{"<@example.test,@mx.example.test:victim@elsewhere.example>", relay},
		{"<@example.test:victim%elsewhere.example@example.test>", none},
		// The percent hack, bang paths, and both.
		{"<victim%elsewhere.example@example.test>", none},
		{"<victim%elsewhere.example%example.test@example.test>", none},
		{"<victim%elsewhere.example@elsewhere.example>", relay},
		{"<elsewhere.example!victim@example.test>", none},
		{"<elsewhere.example!victim>", syntax},
		{"<example.test!elsewhere.example!victim@example.test>", none},
		{"<elsewhere.example!victim%elsewhere.example@example.test>", none},
		// Quoted locals that hold another address.
		{`<"victim@elsewhere.example"@example.test>`, none},
		{`<"victim@elsewhere.example">`, syntax},
		{`<"victim%elsewhere.example"@example.test>`, none},
		{`<"alice@example.test"@elsewhere.example>`, relay},
		{`<"@elsewhere.example:victim"@example.test>`, none},
		// Two at signs, trailing and leading junk.
		{"<victim@elsewhere.example@example.test>", syntax},
		{"<alice@example.test@elsewhere.example>", syntax},
		{"<victim@elsewhere.example,alice@example.test>", syntax},
		{"<alice@example.test,victim@elsewhere.example>", syntax},
		{"<<alice@example.test>>", syntax},
		{"alice@example.test", syntax},
		{"<alice@example.test> <victim@elsewhere.example>", "555*"},
		{"<alice@example.test>,<victim@elsewhere.example>", syntax},
		{"< victim@elsewhere.example>", syntax},
		{"<victim@elsewhere.example\t>", syntax},
		// Literals: none is this site's.
		{"<alice@[127.0.0.1]>", relay},
		{"<alice@[192.0.2.1]>", relay},
		{"<alice@[IPv6:::1]>", relay},
		{"<alice@127.0.0.1>", relay},
		{"<victim@[elsewhere.example]>", syntax},
		{"<alice@mx.example.test>", relay},
		{"<alice@localhost>", relay},
		{"<alice@example.test.>", syntax},
		{"<alice@sub.example.test>", relay},
		{"<alice@xexample.test>", relay},
		// No domain, no local part, nothing.
		{"<>", syntax},
		{"<alice>", syntax},
		{"<@example.test>", syntax},
		{"<postmaster>", local},
		{"<Postmaster>", local},
		{"<postmaster@elsewhere.example>", relay},
		{`<"postmaster@elsewhere.example">`, syntax},
	} {
		t.Run(tt.path, func(t *testing.T) {
			for _, sender := range []string{"<x@remote.example>", "<>", "<alice@example.test>", "<alice@[127.0.0.1]>"} {
				r := start(t, MX, nil)
				c := r.dial()
				c.expect("220*")
				c.say("EHLO c", "250*")
				c.say("MAIL FROM:"+sender, "250*")
				c.say("RCPT TO:"+tt.path, tt.want)
				if tt.want != local {
					c.say("DATA", "503*")
					return
				}
				c.data(plainMessage, "250*")
				if m := r.one().msg; len(m.Queued) != 0 || len(m.Targets) != 1 {
					t.Errorf("%v, %v", m.Targets, m.Queued)
				}
			}
		})
	}
}

// Whoever may relay has the address taken as it is written: what looks like a route in it is the other site's business.
func TestRelayedAddressIsNotInterpreted(t *testing.T) {
	r := start(t, MX, loopbackTrusted)
	c := r.dial()
	want := []string{"victim%other.example@elsewhere.example", "other.example!victim@elsewhere.example", `"a@b"@elsewhere.example`, "x@[192.0.2.1]"}
	c.begin(want...)
	c.say("RCPT TO:<@hop.example:y@elsewhere.example>", "250*")
	c.data(plainMessage, "250*")
	var got []string
	for _, e := range r.one().msg.Queued {
		got = append(got, e.Address)
	}
	if strings.Join(got, " ") != strings.Join(append(want, "y@elsewhere.example"), " ") {
		t.Errorf("queued %q", got)
	}
}
