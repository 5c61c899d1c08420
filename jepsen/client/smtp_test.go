package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// mx plays a server up to the answer to the final dot, which after gives.
func mx(after func(*peer)) func(*peer) {
	return func(p *peer) {
		p.say("220 ready")
		for {
			switch word, _, _ := strings.Cut(p.line(), " "); word {
			case "EHLO":
				p.say("250-here", "250-8BITMIME", "250 ENHANCEDSTATUSCODES")
			case "MAIL", "RCPT", "RSET":
				p.say("250 2.0.0 fine")
			case "DATA":
				p.say("354 go")
				p.body()
				after(p)
			default:
				return
			}
		}
	}
}

func TestDeliverOutcomes(t *testing.T) {
	answer := func(s string) func(*peer) { return func(p *peer) { p.say(s) } }
	for name, tc := range map[string]struct {
		after func(*peer)
		slow  bool
		want  history.Outcome
		alive bool
	}{
		"taken":               {after: answer("250 2.6.0 taken"), want: history.OK, alive: true},
		"unknown":             {after: answer("451 4.3.0 It is not known whether the message was stored"), want: history.Unknown, alive: true},
		"not accepting":       {after: answer("451 4.3.2 Not accepting mail just now"), want: history.Fail, alive: true},
		"refused":             {after: answer("552 5.2.2 Mailbox is full"), want: history.Fail, alive: true},
		"goes away":           {after: answer("421 4.3.0 Internal error"), want: history.Unknown},
		"silence":             {after: (*peer).hold, slow: true, want: history.Unknown},
		"end of file":         {after: func(p *peer) { _ = p.raw.Close() }, want: history.Unknown},
		"reset":               {after: (*peer).reset, want: history.Unknown},
		"half an answer":      {after: func(p *peer) { _, _ = io.WriteString(p.c, "25"); _ = p.raw.Close() }, want: history.Unknown},
		"an answer like none": {after: answer("what?"), want: history.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1", SMTP: serve(t, nil, mx(tc.after))})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if tc.slow {
				c.o = quick(c.o)
			}
			errs := c.Deliver(t.Context(), "a@example.test", []string{"b@example.test", "c@example.test"}, []byte("Subject: x\r\n\r\nx\r\n"))
			for _, err := range errs {
				if Outcome(err) != tc.want {
					t.Errorf("%v is %s, want %s", err, Outcome(err), tc.want)
				}
			}
			if c.Alive() != tc.alive {
				t.Errorf("alive: %v", c.Alive())
			}
		})
	}
}

// Up to the final dot nothing can have happened, whatever is answered.
func TestDeliverFailsBeforeTheDot(t *testing.T) {
	at := func(command string, do func(*peer)) func(*peer) {
		return func(p *peer) {
			p.say("220 ready")
			for {
				word, _, _ := strings.Cut(p.line(), " ")
				switch {
				case word == "":
					return
				case word == command:
					do(p)
				case word == "EHLO":
					p.say("250 here")
				case word == "DATA":
					p.say("354 go")
				default:
					p.say("250 fine")
				}
			}
		}
	}
	for name, script := range map[string]func(*peer){
		"421 at MAIL":       at("MAIL", func(p *peer) { p.say("421 4.3.0 no") }),
		"451 4.3.0 at MAIL": at("MAIL", func(p *peer) { p.say("451 4.3.0 no") }),
		"451 at RCPT":       at("RCPT", func(p *peer) { p.say("451 4.3.0 no") }),
		"reset at RCPT":     at("RCPT", (*peer).reset),
		"silence at RCPT":   at("RCPT", (*peer).hold),
		"451 at DATA":       at("DATA", func(p *peer) { p.say("451 4.3.0 no") }),
		"end at DATA":       at("DATA", func(p *peer) { _ = p.raw.Close() }),
		"reset in the body": at("DATA", func(p *peer) { p.say("354 go"); _ = p.line(); p.reset() }),
		"silence at the body": at("DATA", func(p *peer) {
			p.say("354 go")
			<-p.t.Context().Done() // reads nothing, so that the body does not leave
		}),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1", SMTP: serve(t, nil, script)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.o = quick(c.o)
			msg := append([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("0123456789abcdef\r\n"), 2<<20)...) // more than the sockets hold
			if errs := c.Deliver(t.Context(), "a@example.test", []string{"b@example.test"}, msg); Outcome(errs[0]) != history.Fail {
				t.Errorf("%v is %s", errs[0], Outcome(errs[0]))
			}
		})
	}
}

// A recipient that is refused fails alone.
func TestDeliverToSome(t *testing.T) {
	dots := 0
	address := serve(t, nil, func(p *peer) {
		p.say("220 ready")
		for {
			line := p.line()
			switch {
			case line == "":
				return
			case strings.Contains(line, "nobody"):
				p.say("550 5.1.1 No such mailbox here")
			case line == "DATA":
				p.say("354 go")
				p.body()
				dots++
				p.say("250 2.6.0 taken")
			default:
				p.say("250 fine")
			}
		}
	})
	c, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1", SMTP: address})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deliver := func(to ...string) (got []history.Outcome) {
		for _, err := range c.Deliver(t.Context(), "a@example.test", to, []byte("x\r\n")) {
			got = append(got, Outcome(err))
		}
		return got
	}
	if got := deliver("b@example.test", "nobody@example.test", "c@example.test"); got[0] != history.OK || got[1] != history.Fail || got[2] != history.OK {
		t.Errorf("outcomes %v", got)
	}
	if got := deliver("nobody@example.test"); got[0] != history.Fail || dots != 1 || !c.Alive() {
		t.Errorf("outcomes %v after %d dots, alive: %v", got, dots, c.Alive())
	}
	if got := deliver("b@example.test"); got[0] != history.OK || dots != 2 {
		t.Errorf("outcomes %v after %d dots", got, dots)
	}
}

func TestDialOutcomes(t *testing.T) {
	server, trust := certificate()
	submission := func(answer string) func(*peer) {
		return func(p *peer) {
			p.say("220 ready")
			for {
				switch word, _, _ := strings.Cut(p.line(), " "); word {
				case "EHLO":
					p.say("250-here", "250 AUTH PLAIN")
				case "AUTH":
					if answer == "" {
						return
					}
					p.say(answer)
				default:
					return
				}
			}
		}
	}
	for name, tc := range map[string]struct {
		script func(*peer)
		tls    *tls.Config
		want   history.Outcome
		auth   bool
	}{
		"in":               {submission("235 2.7.0 in"), trust, history.OK, false},
		"wrong password":   {submission("535 5.7.8 Wrong"), trust, history.Fail, true},
		"not just now":     {submission("454 4.7.0 Logins cannot be checked just now"), trust, history.Fail, false},
		"no answer":        {submission(""), trust, history.Unknown, false},
		"not its name":     {submission("235 2.7.0 in"), &tls.Config{}, history.Fail, false},
		"no certificate":   {submission("235 2.7.0 in"), nil, history.Fail, false},
		"a bad greeting":   {func(p *peer) { p.say("421 4.3.2 no") }, trust, history.Fail, false},
		"no greeting":      {func(*peer) {}, trust, history.Fail, false},
		"nobody listening": {nil, trust, history.Fail, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := refused(t)
			if tc.script != nil {
				address = serve(t, server, tc.script)
			}
			c, err := DialSubmission(t.Context(), testOptions(), Node{Name: "n1", Submissions: address, TLS: tc.tls}, "a@example.test", "secret")
			if Outcome(err) != tc.want || IsAuth(err) != tc.auth || tc.auth != (err != nil && strings.HasPrefix(err.Error(), "auth:")) {
				t.Errorf("%v is %s, about the password: %v", err, Outcome(err), IsAuth(err))
			}
			if err == nil {
				c.Close()
			}
		})
	}
	if _, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1"}); Outcome(err) != history.Fail {
		t.Errorf("without an address: %v", err)
	}
}

// The end of a context ends the operation that goes on.
func TestContextEndsAnOperation(t *testing.T) {
	reached := make(chan struct{})
	c, err := DialSMTP(t.Context(), testOptions(), Node{Name: "n1", SMTP: serve(t, nil, mx(func(p *peer) { close(reached); p.hold() }))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	began := time.Now()
	errs := c.Deliver(ctx, "a@example.test", []string{"b@example.test"}, []byte("x\r\n"))
	if Outcome(errs[0]) != history.Unknown || time.Since(began) > testOptions().Timeout/2 {
		t.Errorf("%v is %s, after %v", errs[0], Outcome(errs[0]), time.Since(began))
	}
}
