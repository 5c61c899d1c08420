package smtpd

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
)

// The library passes over spaces before a path: the session must not see another path, or none, there.
func TestSpacesBeforeAPath(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.say("MAIL   FROM:<x@remote.example> BODY=BINARYMIME", "250 2.1.0*")
	c.say("RCPT \t TO: <alice@example.test>", "250 2.1.5*")
	c.say("DATA", "503 5.5.1 A message of BODY=BINARYMIME*")
	c.bdatOnly("a: b\r\n\r\nx", "250*")
	if got := r.one().msg.EnvelopeFrom; got != "x@remote.example" {
		t.Errorf("the sender is %q", got)
	}
	s := start(t, Submission, nil)
	l := s.login()
	l.say("MAIL  FROM:<bob@example.test>", "553 5.7.1*") // not the user's
}

// bdatOnly sends the body of a message whose recipients were taken.
func (c *client) bdatOnly(message, pattern string) {
	c.t.Helper()
	c.send("BDAT " + strconv.Itoa(len(message)) + " LAST\r\n" + message)
	c.expect(pattern)
}

// What was said of a message that was given up does not hold for the next one.
func TestBinaryOfARefusedMailIsForgotten(t *testing.T) {
	r := start(t, MX, nil)
	c := r.hello()
	c.say("MAIL FROM:<\xff@remote.example> BODY=BINARYMIME", "501*")
	c.say("MAIL FROM:x BODY=BINARYMIME", "501*")
	c.say("MAIL FROM:<x@remote.example>", "250*")
	c.say("RCPT TO:<alice@example.test>", "250*")
	c.say("DATA", "354*")
}

func TestParametersStandOnce(t *testing.T) {
	c := start(t, MX, nil).hello()
	for _, parameters := range []string{"SIZE=1 SIZE=2", "BODY=8BITMIME body=BINARYMIME", "SMTPUTF8 SMTPUTF8", "SMTPUTF8=yes", "SMTPUTF8=", "RET=FULL RET=HDRS"} {
		c.say("MAIL FROM:<x@remote.example> "+parameters, "501 5.5.4*")
	}
	c.say("MAIL FROM:<x@remote.example> SMTPUTF8 BODY=8BITMIME SIZE=10 RET=HDRS ENVID=x", "250*")
	c.say("RCPT TO:<alice@example.test> NOTIFY=NEVER NOTIFY=SUCCESS", "501 5.5.4*")
	c.say(`RCPT TO:<alice@example.test> ORCPT=utf-8;a\x{1}b`, "501 5.5.4*")  // it would be shown to somebody
	c.say("RCPT TO:<alice@example.test> ORCPT=utf-8;a\u0085b", "555 5.5.4*") // a space, to the library
	c.say("RCPT TO:<alice@example.test> ORCPT=rfc822;a+3Db@remote.example NOTIFY=NEVER", "250*")
	c.say("RCPT TO:<alice@example.test> ORCPT=x400;/c=de/s=b/ NOTIFY=FROB", "501 5.5.4*")
	c.say("RCPT TO:<alice@example.test> NOTIFY=NEVER ORCPT=x400;/c+3Dde/s+3Db/", "250*")
	c.say("RCPT TO:<alice@example.test> ORCPT=x400;", "501 5.5.4*")
}

// A long line of the library's comes in pieces. The second piece must not be taken for a reply, nor the client's next response for a command.
func TestLongChallengeIsAChallenge(t *testing.T) {
	c := start(t, Submission, nil).dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.send("AUTH SCRAM-SHA-256 " + b64("n,,n=alice@example.test,r="+strings.Repeat("x", 3900)) + "\r\n")
	if got := len(c.challenge()); got < 3900 {
		t.Errorf("a challenge of %d bytes", got)
	}
	c.say("MAIL FROM:<alice@example.test>", "501 5.5.2*") // it is no base64
	c.say("NOOP", "250*")
}

func TestNamesInEHLO(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO "+strings.Repeat("a", 5000), "501 5.5.2*")
	c.say("EHLO "+strings.Repeat("<", 500), "250*")
	c.say("EHLO first.example", "250*")
	c.say("HELO", "501*") // changes nothing
	c.mail("alice@example.test")
	c.say("EHLO second.example", "250*") // RFC 5321 §4.1.4: also a reset
	c.mail("alice@example.test")
	c.data(plainMessage, "250*")
	if raw := string(r.one().raw); !strings.Contains(raw, "from second.example (") || !strings.Contains(raw, "with ESMTP\r\n") {
		t.Errorf("%q", raw)
	}
	if got := r.one().msg.Origin.Helo; got != "second.example" {
		t.Errorf("the trace has %q", got)
	}
}

// RFC 4954 §4: what cannot be read is 501, and no attempt to log in; 454 would make the client try again.
func TestUnreadableResponses(t *testing.T) {
	c := start(t, Submission, nil).dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	long := base64.StdEncoding.EncodeToString([]byte("\x00" + strings.Repeat("u", 600) + "\x00secret"))
	for range 2 { // twice as many as failed logins may be
		c.say("AUTH PLAIN "+b64("no zero bytes"), "501 5.5.2*")
		c.say("AUTH PLAIN =", "501 5.5.2*")
		c.say("AUTH PLAIN "+long, "501 5.5.2*")
		c.say("AUTH LOGIN "+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", 600))), "501 5.5.2*")
		c.say("AUTH LOGIN", "334*")
		c.say(b64("alice@example.test"), "334*")
		c.say(b64(strings.Repeat("p", 9000)), "501 5.5.2*")
	}
	c.say("AUTH PLAIN "+b64("bob@example.test\x00alice@example.test\x00secret"), "535*") // for another
	c.say("AUTH PLAIN", "334*")
	c.send(strings.Repeat("x", 20_000) + "\r\n")
	c.expect("500 5.5.6*")
	c.closed()
}

// A client that delivers is not cut off for a bad address now and then, however many messages it has.
func TestErrorsCountSinceTheLastMessage(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Errors = 3 })
	c := r.hello()
	for range 4 {
		c.mail("alice@example.test")
		c.say("RCPT TO:<nobody@example.test>", "550*")
		c.say("RCPT TO:<nobody@example.test>", "550*")
		c.data(plainMessage, "250*")
	}
	for range 3 {
		c.say("FROB", "500*")
	}
	c.say("NOOP", "421 4.7.0*")
}

// brokenResolver has a fault.
type brokenResolver struct{ *fakeDirectory }

func (brokenResolver) Resolve(context.Context, smtp.Address) ([]state.Recipient, error) {
	panic("a fault of the test's")
}

// A fault ends the connection, not the node, wherever it is.
func TestFaultEndsTheConnectionAlone(t *testing.T) {
	r := start(t, Submission, func(c *Config) {
		c.Resolver, c.VerifyForUsers = brokenResolver{&fakeDirectory{}}, func() bool { return true }
	})
	c := r.login()
	c.say("VRFY alice@example.test", "421 4.3.0*") // before the library sees the command
	c.closed()
	c = r.login()
	c.say("MAIL FROM:<alice@example.test>", "250*")
	c.say("RCPT TO:<bob@example.test>", "421 4.3.0*") // within it
	c.closed()
	r.admitted(0)
}

// Between chunks there is as little room for idle talk as between messages.
func TestTalkBetweenChunksIsLimited(t *testing.T) {
	for _, talk := range []string{"NOOP", "BDAT 0"} {
		c := start(t, MX, func(c *Config) { c.Limits.Commands = 10 }).hello()
		c.mail("alice@example.test")
		c.say("BDAT 1\r\nx", "250*")
		for i := 0; ; i++ {
			if i > 10 {
				t.Fatalf("%s without end", talk)
			}
			c.send(talk + "\r\n")
			if strings.HasPrefix(c.expect("*"), "421") {
				break
			}
		}
		c.closed()
	}
}

// What is no field does not end the header here, for it does not for IMAP: From and Bcc below it count.
func TestLinesThatAreNoFieldsHideNothing(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.login()
	send := func(message, pattern string) {
		t.Helper()
		c.say("MAIL FROM:<alice@example.test>", "250*")
		c.say("RCPT TO:<bob@example.test>", "250*")
		c.data(message, pattern)
	}
	send("From: alice@example.test\r\nno field\r\nFrom: boss@example.test\r\n\r\nx\r\n", "550 5.6.0*")
	send("From: Boss boss@example.test:;\r\n\r\nx\r\n", "550 5.6.0*") // a group without members names nobody
	send("From: alice@example.test\r\nno field\r\nBcc: secret@example.test\r\n\r\nBcc: stays\r\n", "250*")
	if raw := string(r.one().raw); strings.Contains(raw, "secret") || !strings.HasSuffix(raw, "\r\nno field\r\n\r\nBcc: stays\r\n") {
		t.Errorf("%q", raw)
	}
}

// The first line of a message does not become part of our own fields above it.
func TestFirstLineIsNoPartOfOurs(t *testing.T) {
	for message, want := range map[string]string{
		" (forged)\r\nSubject: x\r\n\r\ny\r\n":                "+0100\r\n\r\n (forged)\r\nSubject: x\r\n\r\ny\r\n",
		"only words\r\n":                                      "+0100\r\n\r\nonly words\r\n",
		"From x@y Fri Jan  2 2026\r\nSubject: x\r\n\r\ny\r\n": "+0100\r\nFrom x@y Fri Jan  2 2026\r\nSubject: x\r\n\r\ny\r\n",
		"Subject: x\r\n y\r\n\r\nz\r\n":                       "+0100\r\nSubject: x\r\n y\r\n\r\nz\r\n",
	} {
		r := start(t, MX, nil)
		c := r.hello()
		c.mail("alice@example.test")
		c.data(message, "250*")
		if raw := string(r.one().raw); !strings.HasSuffix(raw, want) {
			t.Errorf("%q is stored as %q", message, raw)
		}
	}
}

// A header of a great many tiny fields takes no more memory than its bytes.
func TestHeaderOfManyFieldsTakesLittleMemory(t *testing.T) {
	stuck := stuckChecks{make(chan struct{}), make(chan struct{})}
	r := start(t, MX, func(c *Config) { c.Checks, c.Limits.Check = stuck, time.Minute })
	c := r.hello()
	c.mail("alice@example.test")
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	c.say("DATA", "354*")
	go func() {
		_, _ = c.c.Write([]byte(strings.Repeat("a:\r\n", 250_000) + "\r\n.\r\n")) // the reply says how it went
	}()
	<-stuck.began
	if grown := int64(heap()) - int64(before); grown > 1<<20+1_000_000 { // what this test sends is here, too
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	close(stuck.end)
	c.expect("250*")
}

// stuckChecks wait.
type stuckChecks struct{ began, end chan struct{} }

func (stuckChecks) NeedsContent(bool) bool { return false }

func (s stuckChecks) Check(context.Context, *CheckedMessage) (Verdict, error) {
	close(s.began)
	<-s.end
	return Verdict{}, nil
}

// Who goes away while he waits for the greeting did not talk early.
func TestGoingAwayIsNoEarlyTalk(t *testing.T) {
	r := startOn(t, MX, func(l net.Listener) net.Listener { return farListener{l} }, delayed(time.Minute))
	c := r.dial()
	r.admitted(1)
	_ = c.c.Close()
	r.admitted(0)
	counted := make(chan prometheus.Metric, 10)
	r.srv.cfg.Metrics.Refused.Collect(counted)
	if len(counted) != 0 {
		t.Error("a connection was refused")
	}
}

// RFC 5321 §4.5.3.1.5: a reply has 512 bytes at most, whatever is said of in it.
func TestRepliesAreShort(t *testing.T) {
	c := start(t, MX, nil).hello()
	c.say("MAIL FROM:<>", "250*")
	for _, command := range []string{"RCPT TO:<a@" + strings.Repeat("x.", 900) + ">", "RCPT TO:<a@b> " + strings.Repeat("x", 4000) + "=1 " + strings.Repeat("x", 4000) + "=2"} {
		if got := c.say(command, "50*"); len(got) > 512 {
			t.Errorf("a reply of %d bytes", len(got))
		}
	}
}

// What is pipelined behind the end of a connection is not looked at.
func TestNothingComesAfterTheEnd(t *testing.T) {
	var log logged
	r := start(t, Submission, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, last := range []string{"QUIT", "AUTH PLAIN " + b64("\x00alice@example.test\x00wrong")} {
		c := r.dial()
		c.send("EHLO c\r\n" + strings.Repeat("AUTH PLAIN "+b64("\x00alice@example.test\x00wrong")+"\r\n", 2) + last + "\r\nMAIL FROM:<alice@example.test>\r\nNOOP\r\n")
		if said := c.closed(); strings.Count(said, "\r\n2")+strings.Count(said, "\r\n421") > 20 || strings.Contains(said, "530") || strings.Contains(said, "421 4.3.0") {
			t.Errorf("%q", said)
		}
	}
	r.admitted(0)
	if strings.Contains(log.String(), "panic") {
		t.Error(log.String())
	}
}

// logged is a log.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// littleRoom is a spool that is too small.
type littleRoom struct {
	left     atomic.Int64
	released atomic.Int32
}

func (l *littleRoom) Take(n int64) error {
	if l.left.Add(-n) < 0 {
		return store.ErrNoSpace
	}
	return nil
}

func (l *littleRoom) Release() { l.released.Add(1) }

// What is judged takes no more of the disk than what is not.
func TestSpoolOfTheChecksIsBounded(t *testing.T) {
	room := &littleRoom{}
	room.left.Store(1000)
	r := start(t, MX, func(c *Config) { c.Checks, c.SpoolRoom = &fakeChecks{content: true}, func() SpoolRoom { return room } })
	c := r.hello()
	c.mail("alice@example.test")
	c.data("a: b\r\n\r\n"+strings.Repeat("x", 500)+"\r\n"+strings.Repeat("x", 500)+"\r\n", "452 4.3.1*")
	c.mail("alice@example.test")
	room.left.Store(1000)
	c.data(plainMessage, "250*")
	if n := room.released.Load(); n != 2 {
		t.Errorf("given back %d times", n)
	}
}

// RFC 3030 §2: a chunk has one reply. In LMTP only the last has one for each recipient.
func TestRefusedChunkHasOneReply(t *testing.T) {
	r := start(t, LMTP, func(c *Config) { c.Limits.MessageBytes = 10 })
	c := r.dial()
	c.expect("220*")
	c.say("LHLO c", "250*")
	c.mail("alice@example.test", "bob@example.test")
	c.send("BDAT 7\r\na: b\r\n\r")
	c.expect("250*")
	c.send("BDAT 4\r\n\nabc")
	c.expect("552 5.3.4*")
	c.send("BDAT 3 LAST\r\nabc")
	c.expect("503*")
	c.say("NOOP", "250*")
	c.mail("alice@example.test", "bob@example.test")
	c.send("BDAT 5\r\na: b\rBDAT 7 LAST\r\n\n\r\nabcd")
	c.expect("250 2.0.0*")
	c.expect("552*")
	c.expect("552*")
	c.say("NOOP", "250*")
}
