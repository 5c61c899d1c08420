package smtpd

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// one is the only message that was stored.
func (r *rig) one() fakeMessage {
	r.t.Helper()
	got := r.store.stored()
	if len(got) != 1 {
		r.t.Fatalf("%d messages stored, want 1", len(got))
	}
	return got[0]
}

// data sends a message and expects the answer.
func (c *client) data(message, pattern string) {
	c.t.Helper()
	c.say("DATA", "354*")
	c.send(message + ".\r\n")
	c.expect(pattern)
}

const plainMessage = "Message-ID: <m@remote.example>\r\n\r\nx\r\n"

func sameEntries(t *testing.T, got []*storepb.QueueEntry, want ...*storepb.QueueEntry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries: %v", len(got), got)
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("entry %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func TestRecipientsGoWhereTheirMailWaits(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.begin("alice@example.test", "forward@example.test", "away@example.test", "list@example.test", "away@example.test")
	c.data(plainMessage, "250 2.6.0 * queued")
	m := r.one().msg
	if len(m.Targets) != 2 || m.Targets[0].Account != 1 || m.Targets[1].Account != 2 || m.Targets[0].EnforceQuota {
		t.Errorf("targets %v", m.Targets)
	}
	sameEntries(t, m.Queued,
		&storepb.QueueEntry{Queue: 3, Address: "f@elsewhere.example", Original: "forward@example.test"},
		&storepb.QueueEntry{Queue: 2, Address: "away@example.test", Account: 5},
		&storepb.QueueEntry{Queue: 3, Address: "g@refused.example", Original: "list@example.test"})
}

func TestOnlyALocalMessageIsCalledDelivered(t *testing.T) {
	for address, want := range map[string]string{"alice": "250 2.6.0 ???????????????? delivered", "away": "250 2.6.0 ???????????????? queued",
		"forward": "250 2.6.0 ???????????????? queued", "list": "250 2.6.0 ???????????????? queued"} {
		r := start(t, MX, nil)
		c := r.dial()
		c.begin(address + "@example.test")
		c.data(plainMessage, want)
	}
}

func TestUsersSendToOtherSites(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.login()
	c.say("MAIL FROM:<alice@example.test> RET=HDRS ENVID=a+2Bb", "250*")
	c.say("RCPT TO:<Bob@Elsewhere.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@elsewhere.example", "250*")
	c.say("RCPT TO:<bob@elsewhere.example>", "250*") // the same
	c.data("From: alice@example.test\r\n\r\nx\r\n", "250 2.6.0 * queued")
	m := r.one().msg
	sameEntries(t, m.Queued, &storepb.QueueEntry{Queue: 3, Address: "bob@elsewhere.example", Notify: 2 | 8, Orcpt: "rfc822;Bob+x@elsewhere.example"})
	if want := (&storepb.Envelope{Ret: "HDRS", Envid: "a+b"}); !proto.Equal(m.Envelope, want) {
		t.Errorf("envelope %v, want %v", m.Envelope, want)
	}
	if len(m.Targets) != 0 {
		t.Errorf("targets %v", m.Targets)
	}
}

func TestAliasToARefusedSiteIsRefused(t *testing.T) {
	c := start(t, MX, nil).dial()
	c.begin()
	c.say("RCPT TO:<refused@example.test>", "550 5.7.1 mail to refused.example is refused by a route")
}

// RFC 3461 §5.2.7: who asked for it hears of each delivery, but of a list only that it was expanded.
func TestSuccessIsToldByTheQueue(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.begin()
	c.say("RCPT TO:<alias@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@remote.example", "250*")
	c.say("RCPT TO:<list@example.test> NOTIFY=SUCCESS", "250*")
	c.data(plainMessage, "250*")
	m := r.one().msg
	if len(m.Targets) != 2 {
		t.Errorf("targets %v", m.Targets)
	}
	sameEntries(t, m.Queued,
		&storepb.QueueEntry{Queue: 2, Account: 1, Address: "alias@example.test", Notify: 2 | 4, Orcpt: "rfc822;o@remote.example", Notice: 3},
		&storepb.QueueEntry{Queue: 2, Account: 1, Address: "list@example.test", Notify: 2, Notice: 5},
		&storepb.QueueEntry{Queue: 3, Address: "f@elsewhere.example", Original: "list@example.test", Notify: 1},
		&storepb.QueueEntry{Queue: 3, Address: "g@refused.example", Original: "list@example.test", Notify: 1})
}

func TestEnvelopeSaysWhatTheMessageNeeds(t *testing.T) {
	for name, tt := range map[string]struct {
		params, message string
		want            *storepb.Envelope
	}{
		"plain":              {"", plainMessage, &storepb.Envelope{}},
		"asked for no need":  {" SMTPUTF8 BODY=8BITMIME", plainMessage, &storepb.Envelope{}},
		"eight bits":         {" BODY=8BITMIME", "a: b\r\n\r\n\xfc\r\n", &storepb.Envelope{EightBit: true}},
		"eight bits unasked": {"", "a: b\r\n\r\n\xfc\r\n", &storepb.Envelope{EightBit: true}},
		"body in UTF-8":      {" SMTPUTF8", "a: b\r\n\r\nü\r\n", &storepb.Envelope{EightBit: true}},
		"header in UTF-8":    {" SMTPUTF8", "a: ü\r\n\r\nx\r\n", &storepb.Envelope{EightBit: true, Utf8: true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, MX, nil)
			c := r.dial()
			c.expect("220*")
			c.say("EHLO c", "250*")
			c.say("MAIL FROM:<x@remote.example>"+tt.params, "250*")
			c.say("RCPT TO:<alice@example.test>", "250*")
			c.data(tt.message, "250*")
			if got := r.one().msg.Envelope; !proto.Equal(got, tt.want) {
				t.Errorf("envelope %v, want %v", got, tt.want)
			}
		})
	}
}

// RFC 8689 §4.1: offered and taken under TLS only.
func TestRequireTLS(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	if got := c.say("EHLO c", "250*"); strings.Contains(got, "REQUIRETLS") {
		t.Errorf("offered in the clear: %q", got)
	}
	c.say("MAIL FROM:<x@remote.example> REQUIRETLS", "555 5.5.4*")
	c.startTLS()
	if got := c.say("EHLO c", "250*"); !strings.Contains(got, "REQUIRETLS") {
		t.Errorf("not offered under TLS: %q", got)
	}
	c.say("MAIL FROM:<x@remote.example> REQUIRETLS", "250*")
	c.say("RCPT TO:<alice@example.test>", "250*")
	c.data(plainMessage, "250*")
	if m := r.one().msg; !m.Envelope.RequireTls || !strings.HasPrefix(m.Origin.Tls, "TLS1.3 TLS_") {
		t.Errorf("%v", m)
	}
}

func TestOriginTellsHowTheMessageCame(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.login()
	c.say("MAIL FROM:<alice@example.test>", "250*")
	c.say("RCPT TO:<Bob@example.test>", "250*")
	c.say("RCPT TO:<postmaster>", "250*")
	c.data("From: alice@example.test\r\n\r\nx\r\n", "250*")
	got := r.one()
	id := got.msg.Origin.MessageId
	if !strings.Contains(string(got.raw), "Message-ID: "+id+"\r\n") || id == "" {
		t.Errorf("Message-ID %q", id)
	}
	want := &storepb.Origin{Client: "127.0.0.1", Helo: "c", Account: 1, AccountAddress: "alice@example.test", Listener: "submission", MessageId: id,
		Recipients: []string{"bob@example.test", "postmaster@example.test"}}
	if !proto.Equal(got.msg.Origin, want) {
		t.Errorf("origin %v, want %v", got.msg.Origin, want)
	}
}

func TestResendKeyIsOfWhatTheClientSent(t *testing.T) {
	key := func(mode Mode, from, message string) string {
		r := start(t, mode, nil)
		c := r.dial()
		c.expect("220*")
		if mode == LMTP {
			c.say("LHLO c", "250*")
		} else {
			c.say("EHLO c", "250*")
		}
		c.say("MAIL FROM:<"+from+">", "250*")
		c.say("RCPT TO:<alice@example.test>", "250*")
		c.data(strings.ReplaceAll(message, "\r\n.", "\r\n.."), "250*")
		return hex.EncodeToString(r.one().msg.ResendKey)
	}
	message := "Message-ID: <m@remote.example>\r\n\r\n.x\r\n"
	digest := sha256.Sum256([]byte(message))
	sum := sha256.Sum256([]byte("quorumail resend 1\x00x@remote.example\x00<m@remote.example>\x00" + string(digest[:])))
	if got := key(MX, "X@Remote.example", message); got != hex.EncodeToString(sum[:]) {
		t.Errorf("key %s, want %x", got, sum)
	}
	if key(LMTP, "x@remote.example", message) != hex.EncodeToString(sum[:]) {
		t.Error("LMTP makes another key")
	}
	if key(MX, "x@remote.example", "Subject: x\r\n\r\n") != "" {
		t.Error("a key without Message-ID")
	}
	if bare := key(LMTP, "x@remote.example", "Message-ID: <m@remote.example>\n\r\n.x\r\n"); bare == hex.EncodeToString(sum[:]) {
		t.Error("the digest is of the repaired bytes")
	}
}

// A client that did not hear the 250 gets it again, with the queue id of the first time.
func TestMessageSentAgainKeepsItsQueueID(t *testing.T) {
	for _, mode := range []Mode{MX, LMTP} {
		r := start(t, mode, nil)
		r.store.earlier = "0123456789abcdef"
		c := r.dial()
		c.expect("220*")
		if mode == LMTP {
			c.say("LHLO c", "250*")
		} else {
			c.say("EHLO c", "250*")
		}
		c.mail("alice@example.test")
		c.data(plainMessage, "250 2.6.0 *0123456789abcdef delivered")
	}
}

func TestAliasLoopIsCut(t *testing.T) {
	for _, tt := range []struct{ to, field, want string }{
		{"forward@example.test", "Delivered-To: Forward@Example.test", "554 5.4.6*"},
		{"forward@example.test", "Delivered-To: <forward@example.test>", "554 5.4.6*"},
		{"forward@example.test", "Delivered-To: other@example.test", "250*"},
		{"alice@example.test", "Delivered-To: alice@example.test", "250*"},
	} {
		c := start(t, MX, nil).dial()
		c.begin(tt.to)
		c.data(tt.field+"\r\n\r\nx\r\n", tt.want)
	}
}

// What the recipients of a message add to its command is bounded: the command would be refused, and the message with it.
func TestCommandOfAMessageIsBounded(t *testing.T) {
	r := start(t, MX, func(c *Config) { loopbackTrusted(c); c.Limits.Recipients = state.MaxTargets })
	c := r.dial()
	c.begin()
	taken := 0
	for ; taken < state.MaxTargets; taken++ {
		c.send("RCPT TO:<" + strconv.Itoa(taken) + strings.Repeat("x", 100) + "@elsewhere.example> ORCPT=rfc822;" + strings.Repeat("y", 400) + "\r\n")
		if reply := c.expect("*"); !strings.HasPrefix(reply, "250 ") {
			if !strings.HasPrefix(reply, "452 4.5.3 ") {
				t.Fatal(reply)
			}
			break
		}
	}
	c.data("Message-ID: "+strings.Repeat("long ", 2000)+"\xff\r\n\r\n", "250*")
	m := r.one().msg
	if size := proto.Size(m); size > state.MaxCommandBytes*3/4+10_000 || len(m.Queued) != taken || taken < 800 {
		t.Errorf("%d recipients in %d bytes", taken, size)
	}
	if _, err := proto.Marshal(m); err != nil || len(m.Origin.MessageId) > 1000 {
		t.Errorf("%v, Message-ID of %d bytes", err, len(m.Origin.MessageId))
	}
	c.mail("alice@example.test")
	c.say("RCPT TO:<x@elsewhere.example> ORCPT=rfc822;"+strings.Repeat("y", 501), "501*")
	c.say("RSET", "250*")
	c.say("MAIL FROM:<> ENVID="+strings.Repeat("y", 101), "501*")
}

// With a grace, mail for a full mailbox is taken and waits for room; without one it is refused at once.
func TestMailForAFullMailboxWaitsWhereThereIsAGrace(t *testing.T) {
	c := start(t, MX, nil).dial()
	c.begin()
	c.say("RCPT TO:<full@example.test>", "452 4.2.2*")
	r := start(t, MX, func(c *Config) { c.QuotaGrace = func() time.Duration { return time.Hour } })
	c = r.dial()
	c.begin("full@example.test")
	c.data(plainMessage, "250*")
	if m := r.one().msg; len(m.Targets) != 0 || len(m.Queued) != 1 || store.Queue(m.Queued[0].Queue) != store.QueueLocal || m.Queued[0].Account != 3 {
		t.Errorf("the message goes to %v and waits for %v", m.Targets, m.Queued)
	}
}

// So does one of which the client did not say, or lied, how large it is.
func TestGraceGoesByTheRealSize(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.QuotaGrace = func() time.Duration { return time.Hour } })
	r.dir.room = map[store.AccountID]int64{2: 5000}
	c := r.hello()
	for _, size := range []string{"", " SIZE=10"} {
		c.say("MAIL FROM:<x@remote.example>"+size, "250*")
		c.say("RCPT TO:<bob@example.test>", "250*")
		c.data("a: b\r\n\r\n"+strings.Repeat("x\r\n", 2000), "250 2.6.0 * queued")
	}
	c.mail("bob@example.test", "alice@example.test")
	c.data(plainMessage, "250 2.6.0 * delivered")
	for i, m := range r.store.stored() {
		if waits := i < 2; waits != (len(m.msg.Targets) == 0) || waits != (len(m.msg.Queued) == 1) {
			t.Errorf("message %d goes to %v and waits for %v", i, m.msg.Targets, m.msg.Queued)
		}
	}
}
