package smtpd

import (
	"strings"
	"testing"
)

// hello begins a session.
func (r *rig) hello() *client {
	r.t.Helper()
	c := r.dial()
	c.expect("220*")
	c.say("EHLO client.example", "250*")
	return c
}

// RFC 5321 §2.4: "Verbs and argument values are not case sensitive."
func TestVerbsInAnyCase(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	c.say("ehlo client.example", "250*")
	c.say("mAiL fRoM:<x@remote.example> sIzE=10 bOdY=8bItMiMe", "250*")
	c.say("rcpt to:<alice@example.test>", "250*")
	c.say("data", "354*")
	c.send("a: b\r\n\r\n.\r\n")
	c.expect("250 2.6.0*")
	c.say("quit", "221*")
}

// RFC 5321 §2.4: "the local-part of a mailbox MUST BE treated as case sensitive [...] and preserved"; whether it matters is this site's affair.
func TestLocalPartIsKeptAsItIs(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.say("MAIL FROM:<CaMeL@Remote.example>", "250*")
	c.say("RCPT TO:<alice@example.test>", "250*")
	c.data(plainMessage, "250*")
	if m := r.one(); m.msg.EnvelopeFrom != "CaMeL@remote.example" || !strings.HasPrefix(string(m.raw), "Return-Path: <CaMeL@remote.example>\r\n") {
		t.Errorf("%v: %.60q", m.msg.EnvelopeFrom, m.raw)
	}
}

// RFC 5321 §3.1: the greeting is 220 with the server's name; §4.1.1.1: so is the answer to EHLO and HELO.
func TestGreetingNamesTheServer(t *testing.T) {
	c := start(t, MX, nil).dial()
	if got := c.expect("220*"); !strings.HasPrefix(got, "220 mx.example.test ESMTP") {
		t.Errorf("%q", got)
	}
	if got := c.say("EHLO client.example", "250*"); !strings.HasPrefix(got, "250-mx.example.test greets client.example\r\n") {
		t.Errorf("%q", got)
	}
	c.say("HELO client.example", "250 mx.example.test greets client.example")
}

// RFC 5321 §4.1.1.2: a reverse-path that is null; §4.5.5.
func TestNullReversePath(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.say("MAIL FROM:<>", "250*")
	c.say("RCPT TO:<alice@example.test>", "250*")
	c.data(plainMessage, "250*")
	if m := r.one(); m.msg.EnvelopeFrom != "" || !strings.HasPrefix(string(m.raw), "Return-Path: <>\r\n") {
		t.Errorf("%q: %.60q", m.msg.EnvelopeFrom, m.raw)
	}
}

// RFC 5321 §4.1.1.3: "MUST [...] be prepared to accept [...] source route"; appendix C: it is ignored.
func TestSourceRouteIsIgnored(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.say("MAIL FROM:<@a.example,@b.example:x@remote.example>", "250*")
	c.say("RCPT TO:<@c.example:alice@example.test>", "250*")
	c.data(plainMessage, "250*")
	if m := r.one().msg; m.EnvelopeFrom != "x@remote.example" || m.Targets[0].Account != 1 {
		t.Errorf("%v", m)
	}
}

// RFC 5321 §4.1.1.4: "Receipt of the end of mail data indication requires the server to process the stored mail transaction information.
// This processing consumes the information [...] buffers are cleared."
func TestTransactionEndsWithTheMessage(t *testing.T) {
	for _, message := range []string{plainMessage, "refused\n\r\n"} {
		c := start(t, MX, nil).hello()
		c.mail("alice@example.test")
		c.data(message, "*")
		c.say("RCPT TO:<alice@example.test>", "503*")
		c.say("DATA", "503*")
		c.mail("alice@example.test")
	}
}

// RFC 5321 §4.1.1.5: RSET aborts the transaction and nothing else; §4.1.4: EHLO does the same.
func TestResetEndsTheTransactionAlone(t *testing.T) {
	for _, command := range []string{"RSET", "EHLO other.example", "HELO other.example"} {
		c := start(t, Submission, nil).hello()
		c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "235*")
		c.say("MAIL FROM:<alice@example.test>", "250*")
		c.say("RCPT TO:<bob@example.test>", "250*")
		c.say(command, "250*")
		c.say("RCPT TO:<bob@example.test>", "503*")
		c.say("MAIL FROM:<alice@example.test>", "250*") // the login stays
	}
}

// RFC 5321 §4.1.1.9, §4.1.1.6, §4.1.1.8: NOOP, VRFY and HELP have no effect on the transaction.
func TestCommandsWithoutEffect(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.mail("alice@example.test")
	c.say("NOOP", "250*")
	c.say("NOOP with words", "250*")
	c.say("VRFY bob", "252*")
	c.say("HELP", "214*")
	c.say("HELP MAIL", "214*")
	c.say("EXPN list", "502*")
	c.say("FROB", "500*")
	c.say("RCPT TO:<bob@example.test>", "250*")
	c.data(plainMessage, "250*")
	if m := r.one().msg; len(m.Targets) != 2 {
		t.Errorf("%v", m.Targets)
	}
}

// RFC 5321 §4.2.4, appendix F: 502 for what is known and not there; SEND and its like are deprecated.
func TestCommandsThatAreNotThere(t *testing.T) {
	c := start(t, MX, nil).hello()
	for _, command := range []string{"EXPN list", "SEND FROM:<x@remote.example>", "SOML FROM:<x@remote.example>", "SAML FROM:<x@remote.example>", "TURN", "ETRN example.test"} {
		c.say(command, "502 5.5.1*")
	}
	c.say("XCLIENT NAME=x", "500 5.5.2*")
	c.say("MAIL FROM:<x@remote.example>", "250*")
}

// RFC 5321 §4.1.1.10: "the receiver MUST send a 221 OK reply and then close the transmission channel"; what was begun is not delivered.
func TestQuitWithinATransaction(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.mail("alice@example.test")
	c.say("QUIT", "221*")
	if rest := c.closed(); rest != "" {
		t.Errorf("%q", rest)
	}
	if n := len(r.store.stored()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// RFC 5321 §4.1.4: "a server MUST NOT refuse to accept a message" because EHLO's argument is not the client's true name.
func TestAnyNameInEHLOWillDo(t *testing.T) {
	for _, name := range []string{"localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]", "no_such-host", "x", "client.example with words", "-", "<script>"} {
		r := start(t, MX, nil)
		c := r.dial()
		c.expect("220*")
		c.say("EHLO "+name, "250*")
		c.mail("alice@example.test")
		c.data(plainMessage, "250*")
		if raw := string(r.one().raw); strings.Contains(raw, "<script>") {
			t.Errorf("%q", raw)
		}
	}
}

// RFC 5321 §4.5.3.1: sizes that must be taken.
func TestSizesThatMustBeTaken(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	domain := strings.TrimSuffix(strings.Repeat("d1234567.", 28), ".")                    // §4.5.3.1.2: 255 octets, of which a path leaves room for 251 or so
	c.say("EHLO "+strings.Repeat("x", 512-7), "250*")                                     // §4.5.3.1.4: a line of 512 octets
	c.say("MAIL FROM:<"+strings.Repeat("l", 64)+"@"+domain[len(domain)-185:]+">", "250*") // §4.5.3.1.1, §4.5.3.1.3: a path of 256 octets
	for range 100 {                                                                       // §4.5.3.1.8
		c.say("RCPT TO:<alice@example.test>", "250*")
	}
	c.data("a: b\r\n\r\n"+strings.Repeat("t", 998)+"\r\n"+strings.Repeat(strings.Repeat("m", 62)+"\r\n", 1024), "250*") // §4.5.3.1.6, §4.5.3.1.7
}

// RFC 5321 §4.5.1: postmaster of the site, in any case and without a domain, is always there.
func TestPostmaster(t *testing.T) {
	for _, address := range []string{"postmaster", "Postmaster", "POSTMASTER", "postmaster@example.test"} {
		r := start(t, MX, nil)
		c := r.hello()
		c.mail(address)
		c.data(plainMessage, "250*")
		if r.one().msg.Targets[0].Account != 1 {
			t.Error(address)
		}
	}
}

// RFC 5321 §4.4: the receiver adds Received on top, with from, by, with, id and date; §7.6: other recipients are not shown.
func TestReceivedField(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.mail("alice@example.test", "bob@example.test")
	c.data(plainMessage, "250*")
	raw := string(r.one().raw)
	for _, want := range []string{"\r\nReceived: from client.example ([127.0.0.1])\r\n\tby mx.example.test (n1) with ESMTP\r\n\tid ", ";\r\n\tFri, 2 Jan 2026 03:04:05 +0100\r\n"} {
		if !strings.Contains(raw, want) {
			t.Errorf("%q lacks %q", raw, want)
		}
	}
	if strings.Contains(raw, "alice@") || strings.Contains(raw, "bob@") {
		t.Errorf("a recipient is shown: %q", raw)
	}
}

// RFC 2920 §3.1: a client may send MAIL, all RCPTs and DATA at once, and the answers come in their order.
func TestPipelining(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.send("MAIL FROM:<x@remote.example>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
	for _, want := range []string{"250 2.1.0*", "550 5.1.1*", "250 2.1.5*", "354*"} {
		c.expect(want)
	}
	c.send(plainMessage + ".\r\nMAIL FROM:<x@remote.example>\r\nRCPT TO:<nobody@example.test>\r\nDATA\r\nQUIT\r\n")
	for _, want := range []string{"250 2.6.0*", "250 2.1.0*", "550 5.1.1*", "503*", "221*"} {
		c.expect(want)
	}
}

// RFC 4954 §3: AUTH comes once, not within a transaction, and a clear line takes no password.
func TestOrderOfAUTH(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.login()
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "503*")
	c.say("MAIL FROM:<alice@example.test> AUTH=<>", "250*")
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "503*")
	c.say("MAIL FROM:<alice@example.test>", "503*") // RFC 5321 §4.1.1.2: nested
}

// RFC 6531 §3.4, §3.5: what is not ASCII needs SMTPUTF8, and whoever did not ask for it does not get it.
func TestNonASCIIPathsNeedSMTPUTF8(t *testing.T) {
	c := start(t, MX, nil).hello()
	c.say("MAIL FROM:<jürgen@remote.example>", "553 5.6.7*")
	c.say("MAIL FROM:<x@bücher.example>", "553 5.6.7*")
	c.say("MAIL FROM:<x@remote.example>", "250*")
	c.say("RCPT TO:<jörg@example.test>", "553 5.6.7*")
	c.say("RCPT TO:<alice@example.test>", "250*")
	c.say("MAIL FROM:<j\xfcrgen@remote.example> SMTPUTF8", "501*") // no UTF-8 at all
}
