package smtpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store/storepb"
)

// fakeChecks says one verdict, and notes what it was asked.
type fakeChecks struct {
	verdict Verdict
	err     error
	stuck   bool // until ctx ends
	content bool

	mu   sync.Mutex
	seen *CheckedMessage
	read []byte
}

func (f *fakeChecks) NeedsContent(bool) bool { return f.content }

func (f *fakeChecks) Check(ctx context.Context, m *CheckedMessage) (Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = m
	if f.stuck {
		<-ctx.Done()
		return Verdict{}, ctx.Err()
	}
	if m.Open != nil {
		for range 2 { // it may be read more than once
			r, err := m.Open()
			if err != nil {
				return Verdict{}, err
			}
			if f.read, err = io.ReadAll(r); err != nil {
				return Verdict{}, err
			}
			if err := r.Close(); err != nil {
				return Verdict{}, err
			}
		}
	}
	return f.verdict, f.err
}

func TestVerdictsBecomeTheirReplies(t *testing.T) {
	type judged struct {
		verdict Verdict
		err     error
		stuck   bool
	}
	for name, tt := range map[string]struct {
		checks judged
		want   string
		checksText,
		queued string // "": to its mailboxes
	}{
		"accept":           {judged{}, "250 2.6.0 * delivered", "", ""},
		"tag":              {judged{verdict: Verdict{Action: Tag, Headers: []string{"X-Tag: a\r\n", "X-More: b\r\n"}, Rules: []string{"r1", "r2"}}}, "250 2.6.0 * delivered", "tagged by rule r1, r2", ""},
		"reject":           {judged{verdict: Verdict{Action: Reject, Reply: "not\r\nyours", Rules: []string{"r1"}}}, "550 5.7.1 not??yours", "", ""},
		"reject unsaid":    {judged{verdict: Verdict{Action: Reject}}, "550 5.7.1 Refused*", "", ""},
		"temporarily":      {judged{verdict: Verdict{Action: Tempfail, Reply: "later"}}, "451 4.7.1 later", "", ""},
		"hold":             {judged{verdict: Verdict{Action: Hold, Rules: []string{"r3"}}}, "250 2.6.0 * queued", "held by rule r3", "held"},
		"a fault":          {judged{err: errFake}, "250 2.6.0 * queued", "not judged in time", "in"},
		"not in good time": {judged{stuck: true}, "250 2.6.0 * queued", "not judged in time", "in"},
	} {
		for _, content := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				checks := &fakeChecks{verdict: tt.checks.verdict, err: tt.checks.err, stuck: tt.checks.stuck, content: content}
				r := start(t, MX, func(c *Config) {
					c.Checks = checks
					if tt.checks.stuck {
						c.Limits.Check = 50 * time.Millisecond
					}
				})
				c := r.dial()
				c.begin("alias@example.test", "forward@example.test")
				if !strings.HasPrefix(tt.want, "250") {
					c.data(plainMessage, tt.want)
					c.say("NOOP", "250*")
					if n := len(r.store.stored()); n != 0 {
						t.Errorf("%d messages stored", n)
					}
					return
				}
				c.data(plainMessage, strings.Replace(tt.want, "delivered", "queued", 1))
				m := r.one()
				if m.msg.Origin.Checks != tt.checksText {
					t.Errorf("trace says %q, want %q", m.msg.Origin.Checks, tt.checksText)
				}
				head, _, _ := strings.Cut(string(m.raw), "Received:")
				if want := "Return-Path: <x@remote.example>\r\n" + strings.Join(tt.checks.verdict.Headers, ""); head != want {
					t.Errorf("the message begins with %q, want %q", head, want)
				}
				if !strings.HasSuffix(string(m.raw), "+0100\r\n"+plainMessage) {
					t.Errorf("stored %q", m.raw)
				}
				if tt.queued == "" {
					if len(m.msg.Targets) != 1 {
						t.Errorf("targets %v", m.msg.Targets)
					}
					return
				}
				if len(m.msg.Targets) != 0 {
					t.Errorf("targets %v", m.msg.Targets)
				}
				held := tt.queued == "held"
				why := m.msg.Origin.Checks
				if why == "" {
					t.Error("it is not said what the message waits for")
				}
				sameEntries(t, m.msg.Queued, &storepb.QueueEntry{Queue: 1, Address: "alias@example.test", Held: held, Reason: why},
					&storepb.QueueEntry{Queue: 1, Address: "forward@example.test", Held: held, Reason: why})
			})
		}
	}
}

func TestChecksSeeTheEnvelopeAndTheContent(t *testing.T) {
	checks := &fakeChecks{content: true}
	r := start(t, Submission, func(c *Config) { c.Checks = checks })
	c := r.login()
	c.say("MAIL FROM:<alice@example.test>", "250*")
	c.say("RCPT TO:<Bob@Elsewhere.example>", "250*")
	c.data("From: alice@example.test\nBcc: x@y.example\r\n\r\na\nb\r\n", "250*")
	m := checks.seen
	if m.Client.String() != "127.0.0.1" || m.Helo != "c" || m.From.String() != "alice@example.test" || len(m.Recipients) != 1 ||
		m.Recipients[0].String() != "Bob@elsewhere.example" || m.Account != 1 || !m.Submitted || m.QueueID != r.one().msg.QueueId {
		t.Errorf("checked %+v", m)
	}
	if want := "From: alice@example.test\r\n\r\na\r\nb\r\n"; string(checks.read) != want {
		t.Errorf("read %q, want %q", checks.read, want)
	}
	if r.one().msg.ResendKey != nil {
		t.Error("a key")
	}
}

// What does not fit the memory of one message goes to a file without a name, and is stored whole all the same.
func TestLargeMessageIsSpooledToDisk(t *testing.T) {
	dir := t.TempDir()
	checks := &fakeChecks{content: true}
	r := start(t, MX, func(c *Config) { c.Checks, c.SpoolDir = checks, dir })
	c := r.dial()
	c.begin("alice@example.test")
	message := plainMessage + strings.Repeat(strings.Repeat("ö", 35)+"\r\n", 20_000)
	c.data(message, "250*")
	m := r.one()
	if !bytes.HasSuffix(m.raw, []byte(message)) || !m.msg.Envelope.EightBit || len(m.msg.ResendKey) != 32 {
		t.Errorf("stored %d bytes, envelope %v", len(m.raw), m.msg.Envelope)
	}
	if string(checks.read) != message {
		t.Errorf("the checks read %d bytes", len(checks.read))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A spool that cannot be written is a full disk to the client, and no message is lost or stored in part.
func TestSpoolThatFailsIsAFullDisk(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Checks, c.SpoolDir = &fakeChecks{content: true}, "/nonexistent/folder" })
	c := r.dial()
	c.begin("alice@example.test")
	c.data(plainMessage+strings.Repeat("x y z\r\n", 100_000), "452 4.3.1*")
	c.mail("alice@example.test")
	c.data(plainMessage, "250*")
	if !bytes.HasSuffix(r.one().raw, []byte(plainMessage)) {
		t.Error("another message is stored")
	}
}

func TestSpoolPassesOnErrors(t *testing.T) {
	if _, err := newSpool(t.TempDir(), unbounded{}, func(io.Writer) error { return errFake }); !errors.Is(err, errFake) {
		t.Error(err)
	}
}
