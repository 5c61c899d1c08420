package smtpd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store/state"
)

// ended waits until the server has closed the connection.
func (c *client) ended() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.c); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Error("the connection stays open")
	}
}

// A client that does not begin TLS is not waited for.
func TestSilentHandshakeEnds(t *testing.T) {
	short := func(c *Config) { c.Limits.Handshake = 50 * time.Millisecond }
	start(t, Submissions, short).dial().ended()
	c := start(t, MX, short).dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.say("STARTTLS", "220*")
	c.ended()
}

// A client that sends and does not read is not waited for, and holds no memory.
func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Write, c.Limits.Commands = 50*time.Millisecond, 1<<30 })
	c := r.dial()
	_ = c.c.(*net.TCPConn).SetReadBuffer(4 << 10)
	help := []byte(strings.Repeat("HELP\r\n", 10_000))
	for {
		if _, err := c.c.Write(help); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the server reads and writes on")
			}
			return
		}
	}
}

// stuckResolver does not answer.
type stuckResolver struct{ *fakeDirectory }

func (stuckResolver) Resolve(ctx context.Context, _ smtp.Address) ([]state.Recipient, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestQuestionWithoutAnswerIsTemporary(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Resolver, c.Limits.Lookup = stuckResolver{&fakeDirectory{}}, 20*time.Millisecond })
	c := r.hello()
	c.say("MAIL FROM:<x@remote.example>", "250*")
	c.say("RCPT TO:<alice@example.test>", "451 4.3.2*")
	c.say("NOOP", "250*")
}

// An outcome that does not become known in time is not one.
func TestStoreWithoutAnswerIsUnknown(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Accept = 20 * time.Millisecond })
	r.store.hold = make(chan struct{})
	c := r.hello()
	c.mail("alice@example.test")
	c.data(plainMessage, "451 4.3.0*")
	c.say("NOOP", "250*")
}

func TestHeaderOfASubmissionIsBounded(t *testing.T) {
	r := start(t, Submission, func(c *Config) { c.Limits.HeaderBytes = 1000 })
	c := r.login()
	for _, tt := range []struct {
		fields int
		want   string
	}{{200, "552 5.3.4*"}, {10, "250*"}} {
		c.say("MAIL FROM:<alice@example.test>", "250*")
		c.say("RCPT TO:<bob@example.test>", "250*")
		c.data("From: alice@example.test\r\n"+strings.Repeat("X: y\r\n", tt.fields)+"\r\n", tt.want)
	}
}

// An overlong header from afar is the sender's affair, and its message is taken as it is.
func TestHeaderOfAStrangerIsNotBounded(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.HeaderBytes = 1000 })
	c := r.hello()
	c.mail("alice@example.test")
	message := strings.Repeat("X: y\r\n", 1000) + "\r\nx\r\n"
	c.data(message, "250*")
	if !strings.HasSuffix(string(r.one().raw), message) {
		t.Error("the message is not whole")
	}
}

func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	r := startOn(t, MX, func(l net.Listener) net.Listener { return farListener{l} }, func(c *Config) { c.Limits.ConnectionsPerAddress = 2 })
	for range 2 {
		r.dial().expect("220*")
	}
	third := r.dial()
	third.expect("421 4.7.0*")
	third.closed()
}

func TestFailedLoginsEndTheConnection(t *testing.T) {
	r := start(t, Submission, func(c *Config) { c.Limits.FailedLogins = 2 })
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.scram("SCRAM-SHA-256", "n,,", "", "alice@example.test", "wrong", "535*") // by whatever mechanism
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==", "421 4.7.0*")
	c.closed()
}
