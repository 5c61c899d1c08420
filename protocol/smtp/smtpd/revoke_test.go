package smtpd

import (
	"context"
	"net/netip"
	"testing"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

// login opens a connection and logs in as alice.
func (r *rig) login() *client {
	r.t.Helper()
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "235*")
	return c
}

func TestRevokedLoginEndsItsSessions(t *testing.T) {
	r := start(t, Submission, nil)
	r.store.hold = make(chan struct{})
	idle, begun, busy, stranger := r.login(), r.login(), r.login(), r.dial()
	stranger.expect("220*")
	stranger.say("EHLO c", "250*")
	for _, c := range []*client{begun, busy} {
		c.say("MAIL FROM:<alice@example.test>", "250*")
		c.say("RCPT TO:<bob@example.test>", "250*")
	}
	busy.say("DATA", "354*")
	r.srv.EndSessions(2)
	idle.say("NOOP", "250*") // another's
	r.srv.EndSessions(1)
	for _, c := range []*client{idle, begun} {
		c.expect("421 4.7.0*")
		c.closed()
	}
	busy.send("From: alice@example.test\r\n\r\n.\r\nNOOP\r\n")
	close(r.store.hold)
	busy.expect("250 2.6.0*") // its DATA had begun
	busy.expect("421 4.7.0*")
	busy.closed()
	stranger.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "235*") // with a password that is good now
	stranger.say("NOOP", "250*")
	if n := len(r.store.stored()); n != 1 {
		t.Errorf("%d messages stored, want 1", n)
	}
}

// overtaken is an Auth whose first answer is out of date before the session has it.
type overtaken struct {
	*fakeDirectory
	checks int
	revoke func(store.AccountID)
}

func (o *overtaken) Authenticate(context.Context, netip.Addr, string, string) (Identity, error) {
	if o.checks++; o.checks > 1 {
		return Identity{}, store.ErrDenied
	}
	o.revoke(1)
	return Identity{Account: 1}, nil
}

func (o *overtaken) MaySendAs(context.Context, store.AccountID, smtp.Address) (bool, error) {
	return true, nil
}

// A login that was checked with the old password while it was being changed does not become a session.
func TestLoginThatIsRevokedMeanwhileIsCheckedAgain(t *testing.T) {
	auth := &overtaken{}
	r := start(t, Submission, func(c *Config) { c.Auth = auth })
	auth.revoke = r.srv.EndSessions
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "535*")
	c.say("MAIL FROM:<alice@example.test>", "530*")
}
