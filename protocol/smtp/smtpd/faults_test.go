package smtpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
)

// begin brings a client to the point where the body is due.
func (c *client) begin(recipients ...string) {
	c.t.Helper()
	c.expect("220*")
	c.say("EHLO client.example", "250*")
	c.mail(recipients...)
}

func (c *client) mail(recipients ...string) {
	c.t.Helper()
	c.say("MAIL FROM:<x@remote.example>", "250*")
	for _, r := range recipients {
		c.say("RCPT TO:<"+r+">", "250*")
	}
}

func TestMessageIsStoredBelowItsTrace(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO client.example", "250*")
	c.startTLS()
	if got := c.say("EHLO client.example", "250*"); strings.Contains(got, "STARTTLS") {
		t.Errorf("STARTTLS is offered under TLS: %q", got)
	}
	c.mail("alice@example.test", "alias@example.test", "team@example.test")
	c.say("DATA", "354*")
	body := "Subject: x\r\n\r\nline\r\n.dot\r\n"
	c.send(strings.ReplaceAll(body, "\r\n.", "\r\n..") + ".\r\n")
	c.expect("250 2.6.0*")
	got := r.store.stored()
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	m := got[0]
	if len(m.msg.Targets) != 2 || m.msg.Targets[0].Account != 1 || m.msg.Targets[1].Account != 2 {
		t.Errorf("targets %v: want each account once", m.msg.Targets)
	}
	if m.msg.EnvelopeFrom != "x@remote.example" || string(m.msg.Summary) != "summary" {
		t.Errorf("command %v", m.msg)
	}
	suite := tls.CipherSuiteName(c.c.(*tls.Conn).ConnectionState().CipherSuite)
	want := "Return-Path: <x@remote.example>\r\n" +
		"Received: from client.example ([127.0.0.1])\r\n" +
		"\tby mx.example.test (n1) with ESMTPS\r\n" +
		"\t(version=TLS1.3 cipher=" + suite + ")\r\n" +
		"\tid " + m.msg.QueueId + ";\r\n" +
		"\tFri, 2 Jan 2026 03:04:05 +0100\r\n" + body
	if string(m.raw) != want {
		t.Errorf("stored:\n%q\nwant:\n%q", m.raw, want)
	}
}

func TestSubmittedMessageIsCompleted(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO client.example", "250*")
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "235*")
	c.say("MAIL FROM:<alice@example.test>", "250*")
	c.say("RCPT TO:<bob@example.test>", "250*")
	c.say("DATA", "354*")
	c.send("From: alice@example.test\r\nBcc: bob@example.test,\r\n other@example.test\r\nTo: x@example.test\r\n\r\na\nb\r\n.\r\n")
	c.expect("250*")
	raw := string(r.store.stored()[0].raw)
	for _, want := range []string{"\tfor <bob@example.test>;", "with ESMTPA", "\r\nMessage-ID: <", "\r\nDate: Fri, 2 Jan 2026 03:04:05 +0100\r\n",
		"From: alice@example.test\r\nTo: x@example.test\r\n\r\na\r\nb\r\n"} {
		if !strings.Contains(raw, want) {
			t.Errorf("%q lacks %q", raw, want)
		}
	}
	if strings.Contains(raw, "Bcc") || strings.Contains(raw, "other@") {
		t.Errorf("Bcc was kept: %q", raw)
	}
}

func TestNothingSaidInTheClearSurvivesSTARTTLS(t *testing.T) {
	t.Run("injection", func(t *testing.T) {
		r := start(t, MX, nil)
		c := r.dial()
		c.expect("220*")
		c.say("EHLO c", "250*")
		c.send("STARTTLS\r\nMAIL FROM:<evil@remote.example>\r\n")
		c.expect("503*")
		if rest := c.closed(); rest != "" {
			t.Errorf("the server goes on: %q", rest)
		}
	})
	t.Run("state", func(t *testing.T) {
		r := start(t, MX, nil)
		c := r.dial()
		c.begin("alice@example.test")
		c.startTLS()
		c.say("MAIL FROM:<x@remote.example>", "503*") // EHLO is due again
		c.say("EHLO c", "250*")
		c.say("RCPT TO:<bob@example.test>", "503*") // and so is MAIL
		c.say("STARTTLS", "503*")
	})
}

func TestPasswordsNeedTLSFromAfar(t *testing.T) {
	r := start(t, Submission, func(c *Config) { c.AllowPlainAuth = false })
	c := r.dial()
	c.expect("220*")
	if got := c.say("EHLO c", "250*"); strings.Contains(got, "AUTH") {
		t.Errorf("AUTH is offered in the clear: %q", got)
	}
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "5*")
	c.startTLS()
	if got := c.say("EHLO c", "250*"); !strings.Contains(got, "AUTH PLAIN LOGIN") {
		t.Errorf("no AUTH under TLS: %q", got)
	}
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "235*")
}

func TestSubmissionsSpeaksTLSFromTheStart(t *testing.T) {
	r := start(t, Submissions, nil)
	c := r.dial()
	conn := tls.Client(c.c, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.c, c.r = conn, newReader(conn)
	c.expect("220*")
	got := c.say("EHLO c", "250*")
	if strings.Contains(got, "STARTTLS") || !strings.Contains(got, "AUTH PLAIN LOGIN") {
		t.Errorf("EHLO: %q", got)
	}
}

func TestNodeThatIsNotReadyAnswers421(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	r.store.setReady(fmt.Errorf("no quorum: %w", store.ErrUnavailable))
	c.say("MAIL FROM:<x@remote.example>", "421 4.3.2*")
	c.closed()
	c = r.dial()
	c.expect("421 4.3.2*")
	c.closed()

	r.store.setReady(nil)
	c = r.dial()
	c.begin("alice@example.test")
	r.store.setReady(fmt.Errorf("disk: %w", store.ErrNoSpace))
	c.say("DATA", "354*")
	c.send("a: b\r\n\r\n.\r\n")
	c.expect("452 4.3.1*")
	c.say("NOOP", "250*")
}

func TestErrorsBecomeTheirReplies(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"unavailable", store.ErrUnavailable, "451 4.3.2*"},
		{"unknown outcome", fmt.Errorf("x: %w", store.ErrUnknownOutcome), "451 4.3.0*"},
		{"no space", store.ErrNoSpace, "452 4.3.1*"},
		{"over quota", store.ErrOverQuota, "452 4.2.2*"},
		{"too large", store.ErrTooLarge, "552 5.3.4*"},
		{"any other", errFake, "451 4.3.0*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, MX, nil)
			r.store.addErr = tt.err
			c := r.dial()
			c.begin("alice@example.test")
			c.say("DATA", "354*")
			c.send("a: b\r\n\r\n.\r\n")
			c.expect(tt.want)
			c.say("NOOP", "250*")
		})
	}
}

func TestLMTPTellsEachRecipientsQuota(t *testing.T) {
	r := start(t, LMTP, nil)
	r.store.codes[2] = 5
	c := r.dial()
	c.expect("220*")
	c.say("LHLO c", "250*")
	c.mail("alice@example.test", "bob@example.test", "team@example.test")
	for _, body := range []string{"DATA", "BDAT 8 LAST"} {
		if body == "DATA" {
			c.say("DATA", "354*")
			c.send("a: b\r\n\r\n.\r\n")
		} else {
			c.mail("alice@example.test", "bob@example.test", "team@example.test")
			c.send(body + "\r\na: b\r\n\r\n")
		}
		c.expect("250 2.6.0 <alice@example.test>*")
		c.expect("452 4.2.2 <bob@example.test>*")
		c.expect("250 2.6.0 <team@example.test>*")
	}
}

func TestBodyThatBreaksOffIsNotStored(t *testing.T) {
	for _, tt := range []struct{ name, sent string }{
		{"data", "DATA\r\na: b\r\n\r\nhalf"},
		{"data at a line end", "DATA\r\na: b\r\n\r\nhalf\r\n"},
		{"data before the last CRLF", "DATA\r\na: b\r\n\r\nhalf\r\n."},
		{"last chunk", "BDAT 100 LAST\r\na: b\r\n\r\nhalf\r\n"},
		{"between chunks", "BDAT 6\r\na: b\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, MX, nil)
			c := r.dial()
			c.begin("alice@example.test")
			c.send(tt.sent)
			_ = c.c.(*net.TCPConn).CloseWrite()
			if said := c.closed(); strings.Contains(said, "250 2.6.0") {
				t.Errorf("the server says %q", said)
			}
			r.stop()
			<-r.done
			r.done <- nil
			if n := len(r.store.stored()); n != 0 {
				t.Errorf("%d messages stored", n)
			}
		})
	}
}

func TestSlowBodyEndsTheConnection(t *testing.T) {
	for _, verb := range []string{"DATA", "BDAT 1000 LAST"} {
		t.Run(verb, func(t *testing.T) {
			r := start(t, MX, func(c *Config) { c.Limits.Data = 50 * time.Millisecond })
			c := r.dial()
			c.begin("alice@example.test")
			c.send(verb + "\r\na: b\r\n\r\nMAIL FROM:<x@remote.example>\r\n")
			said := c.closed()
			if strings.Contains(said, "250") || verb == "DATA" && !strings.Contains(said, "421 4.4.2") {
				t.Errorf("the server says %q", said)
			}
			if len(r.store.stored()) != 0 {
				t.Error("stored")
			}
		})
	}
}

func TestTricklingBodyMeetsTheTimeOfAMessage(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Message = 150 * time.Millisecond })
	c := r.dial()
	c.begin("alice@example.test")
	c.say("DATA", "354*")
	go func() {
		for { // until the server closes
			if _, err := c.c.Write([]byte("x: y\r\n")); err != nil {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
	}()
	c.expect("421 4.4.2*")
}

func TestIdleClientHears421(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Command = 50 * time.Millisecond })
	c := r.dial()
	c.expect("220*")
	c.expect("421 4.4.2*")
	c.closed()
}

func TestLoopIsCut(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.begin("alice@example.test")
	for _, tt := range []struct {
		n    int
		want string
	}{{50, "250 2.6.0*"}, {51, "554 5.4.6*"}} {
		if tt.n == 51 {
			c.mail("alice@example.test")
		}
		c.say("DATA", "354*")
		c.send(strings.Repeat("Received: from a\r\n\tby b; x\r\n", tt.n) + "\r\nReceived: not\r\n.\r\n")
		c.expect(tt.want)
	}
}

func TestDrainEndsBetweenCommands(t *testing.T) {
	r := start(t, MX, nil)
	r.store.hold = make(chan struct{})
	idle, busy := r.dial(), r.dial()
	idle.expect("220*")
	busy.begin("alice@example.test")
	busy.say("DATA", "354*")
	busy.send("a: b\r\n\r\n.\r\n")
	r.stop()
	idle.expect("421 4.3.2*")
	idle.closed()
	close(r.store.hold)
	busy.expect("250 2.6.0*")
	busy.expect("421 4.3.2*")
	busy.closed()
}

// RFC 5321 §3.8: a server that shuts down says 421, also to a client that has stopped in the middle of a message.
func TestDrainTells421WhatDoesNotEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		mode  Mode
		begin func(c *client)
	}{
		"DATA":      {MX, func(c *client) { c.say("DATA", "354*"); c.send("a: b\r\n") }},
		"DATA LMTP": {LMTP, func(c *client) { c.say("DATA", "354*"); c.send("a: b\r\n") }},
		"BDAT":      {MX, func(c *client) { c.send("BDAT 100\r\na: b\r\n") }},
		"a command": {MX, func(c *client) { c.send("NO") }},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, tt.mode, func(c *Config) { c.Limits.Drain = 50 * time.Millisecond })
			c := r.dial()
			if tt.mode == LMTP {
				c.expect("220*")
				c.say("LHLO client.example.net", "250*")
				c.mail("alice@example.test")
			} else {
				c.begin("alice@example.test")
			}
			tt.begin(c)
			r.stop()
			c.expect("421*")
			c.closed()
		})
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Connections = 1 })
	first := r.dial()
	first.expect("220*")
	second := r.dial()
	second.expect("421 4.7.0*")
	second.closed()
	first.say("QUIT", "221*")
	first.closed()
	third := r.dial() // the place is free once the server has closed its side, which was seen
	third.expect("220*")
}

func TestRecipientsAreLimited(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Recipients = 1 })
	c := r.dial()
	c.begin()
	for range 100 { // RFC 5321 §4.5.3.1.8: at least 100
		c.say("RCPT TO:<alice@example.test>", "250*")
	}
	for range 2 * r.srv.cfg.Limits.Errors { // a client that offers all that it has may still send the message to those that were taken
		c.say("RCPT TO:<alice@example.test>", "452 4.5.3*")
	}
	c.say("DATA", "354*")
	c.send("a: b\r\n\r\n.\r\n")
	c.expect("250 2.6.0*")
	c.mail("alice@example.test") // the rest
}

// Groups and aliases lead to more accounts than one command carries: who does not fit is put off to another message.
func TestMailboxesOfOneMessageAreLimited(t *testing.T) {
	most := strconv.Itoa(state.MaxTargets)
	for _, tt := range []struct{ name, before, address, want string }{
		{"as many as there may be", "", "many-" + most, "250*"},
		{"a group over it by itself", "", "many-" + strconv.Itoa(state.MaxTargets+1), "550 5.5.3*"},
		{"a group over the site's limit", "", "huge", "550 5.5.3*"},
		{"one too many", "many-" + most, "bob", "452 4.5.3*"},
		{"a group that does not fit any more", "bob", "many-" + most, "452 4.5.3*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, MX, nil)
			c := r.dial()
			c.begin()
			taken := 0
			if tt.before != "" {
				c.say("RCPT TO:<"+tt.before+"@example.test>", "250*")
				taken++
			}
			c.say("RCPT TO:<"+tt.address+"@example.test>", tt.want)
			if tt.want == "250*" {
				taken++
			}
			if taken == 0 {
				return
			}
			c.say("DATA", "354*")
			c.send("a: b\r\n\r\n.\r\n")
			c.expect("250 2.6.0*")
			if n := len(r.store.stored()[0].msg.Targets); n > state.MaxTargets {
				t.Errorf("%d targets", n)
			}
			if tt.want == "452 4.5.3*" {
				c.mail(tt.address + "@example.test") // in another one it is taken
			}
		})
	}
}

func TestSmtplibDelivers(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not there")
	}
	r := start(t, Submission, nil)
	host, port, _ := net.SplitHostPort(r.addr)
	out, err := exec.Command("python3", "-c", `
import smtplib, ssl, sys
c = ssl._create_unverified_context()
s = smtplib.SMTP(sys.argv[1], int(sys.argv[2]), timeout=10)
s.starttls(context=c)
s.login("alice@example.test", "secret")
s.sendmail("alice@example.test", ["bob@example.test", "alice@example.test"], "From: alice@example.test\nSubject: x\n\n.dot\nend\n")
s.quit()
`, host, port).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := string(r.store.stored()[0].raw); !strings.HasSuffix(got, "Subject: x\r\n\r\n.dot\r\nend\r\n") {
		t.Errorf("stored %q", got)
	}
}

func TestSwaksDelivers(t *testing.T) {
	if _, err := exec.LookPath("swaks"); err != nil {
		t.Skip("swaks is not there")
	}
	r := start(t, MX, nil)
	host, port, _ := net.SplitHostPort(r.addr)
	out, err := exec.Command("swaks", "--server", host, "--port", port, "--from", "x@remote.example", "--to", "alice@example.test", "--helo", "c.example",
		"--header", "Subject: by swaks", "--pipeline").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := len(r.store.stored()); n != 1 {
		t.Errorf("%d messages: %s", n, out)
	}
}

// A full disk does not keep clients from asking: they hear 452 when they bring mail, and it works again by itself.
func TestFullDiskAnswers452(t *testing.T) {
	r := start(t, MX, nil)
	r.store.setReady(fmt.Errorf("disk: %w", store.ErrNoSpace))
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.say("VRFY alice", "252*")
	c.say("MAIL FROM:<x@remote.example>", "452 4.3.1*")
	r.store.setReady(nil)
	c.say("MAIL FROM:<x@remote.example>", "250*")
}

// A disk that runs full while a message comes in refuses that message, and the session goes on behind it.
func TestDiskRunsFullWithinAMessage(t *testing.T) {
	r := start(t, MX, nil)
	r.store.room = 2000
	c := r.dial()
	c.begin("alice@example.test")
	large := "Subject: x\r\n\r\n" + strings.Repeat("a line of the body\r\n", 20_000)
	c.say("DATA", "354*")
	c.send(large + ".\r\n")
	c.expect("452 4.3.1*")
	c.mail("alice@example.test")
	c.send(fmt.Sprintf("BDAT %d LAST\r\n", len(large)) + large)
	c.expect("452 4.3.1*")
	c.mail("alice@example.test")
	c.send(fmt.Sprintf("BDAT %d\r\n", len(large)) + large)
	c.expect("452 4.3.1*")
	c.say("RSET", "250*")
	c.mail("alice@example.test")
	c.say("DATA", "354*")
	c.send("Subject: small\r\n\r\nx\r\n.\r\n")
	c.expect("250*")
	if n := len(r.store.stored()); n != 1 {
		t.Errorf("%d messages are stored, want the small one", n)
	}
}

// A node that is not ready does not let a login wait for a read barrier, nor take it for a wrong password.
func TestLoginWhileNotReady(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	r.store.setReady(fmt.Errorf("no quorum: %w", store.ErrUnavailable))
	for range 5 {
		c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "454 4.7.0*")
	}
}

// A byte now and then does not keep a connection longer than it may last.
func TestTricklingCommandIsNotWaitedFor(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"command": func(c *Config) { c.Limits.Command = 300 * time.Millisecond },
		"session": func(c *Config) { c.Limits.Session = 300 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) { trickleCommand(t, limit) })
	}
}

func trickleCommand(t *testing.T, limit func(*Config)) {
	r := start(t, MX, limit)
	c := r.dial()
	c.expect("220*")
	stop := make(chan struct{})
	trickled := make(chan struct{})
	go func() {
		defer close(trickled)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := c.c.Write([]byte("N")); err != nil {
					return
				}
			}
		}
	}()
	c.expect("421 4.4.2*")
	close(stop)
	<-trickled
}

// RFC 6531 §3.7.3: the trace of a message that does not need SMTPUTF8 is ASCII, also where a domain has other letters: it would need it then.
func TestTraceIsASCIIWithoutNeed(t *testing.T) {
	ascii, err := smtp.ASCIIDomain("ví-dụ.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ params, from, to, want string }{
		{"", "x@xn--bcher-kva.example", "an@" + ascii, "Return-Path: <x@xn--bcher-kva.example>\r\n"},
		{" SMTPUTF8", "x@bücher.example", "an@" + ascii, "Return-Path: <x@xn--bcher-kva.example>\r\n"},
		{" SMTPUTF8", "ý@bücher.example", "an@ví-dụ.test", "Return-Path: <ý@bücher.example>\r\n"},
	} {
		r := start(t, MX, nil)
		c := r.dial()
		c.expect("220*")
		c.say("EHLO c", "250*")
		c.say("MAIL FROM:<"+tt.from+">"+tt.params, "250*")
		c.say("RCPT TO:<"+tt.to+">", "250*")
		c.say("DATA", "354*")
		c.send("a: b\r\n\r\n.\r\n")
		c.expect("250 2.6.0*")
		raw := string(r.store.stored()[0].raw)
		if !strings.HasPrefix(raw, tt.want) || !strings.Contains(raw, "for <"+tt.to+">") {
			t.Errorf("to %s: %q", tt.to, raw)
		}
	}
}

func TestCurlDelivers(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not there")
	}
	r := start(t, Submission, func(c *Config) { c.AllowPlainAuth = false })
	cmd := exec.Command("curl", "--silent", "--show-error", "--insecure", "--ssl-reqd", "--max-time", "20", "--url", "smtp://"+r.addr+"/c.example", "--user", "alice@example.test:secret",
		"--mail-from", "alice@example.test", "--mail-rcpt", "bob@example.test", "--mail-rcpt", "x@elsewhere.example", "--upload-file", "-")
	cmd.Stdin = strings.NewReader("From: alice@example.test\r\nSubject: by curl\r\n\r\n.dot\r\nend\r\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if m := r.one(); len(m.msg.Targets) != 1 || len(m.msg.Queued) != 1 || !strings.HasSuffix(string(m.raw), "\r\n\r\n.dot\r\nend\r\n") {
		t.Errorf("stored %q for %v, %v", m.raw, m.msg.Targets, m.msg.Queued)
	}
}
