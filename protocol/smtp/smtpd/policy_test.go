package smtpd

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func loopbackTrusted(c *Config) {
	c.TrustedNetworks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
}

// A printer can neither log in nor end its lines properly.
func TestTrustedNetworkRelaysAndIsRepaired(t *testing.T) {
	r := start(t, MX, loopbackTrusted)
	c := r.dial()
	c.begin("x@elsewhere.example")
	c.say("RCPT TO:<x@refused.example>", "550 5.7.1 mail to refused.example*")
	c.data("Subject: scan\n\na\rb\x00\r\n", "250 2.6.0 * queued")
	m := r.one()
	for _, want := range []string{"\r\nMessage-ID: <", "\r\nDate: ", "\r\nSubject: scan\r\n\r\na\r\nb\r\n"} {
		if !strings.Contains(string(m.raw), want) {
			t.Errorf("%q lacks %q", m.raw, want)
		}
	}
	if len(m.msg.Queued) != 1 || m.msg.Queued[0].Queue != 3 {
		t.Errorf("queued %v", m.msg.Queued)
	}
}

func TestOtherNetworksAreStrangers(t *testing.T) {
	r := start(t, MX, func(c *Config) {
		c.TrustedNetworks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }
	})
	c := r.dial()
	c.begin("alice@example.test")
	c.say("RCPT TO:<x@elsewhere.example>", "550 5.7.1 Relay*")
	c.data("Subject: scan\n\nx\r\n", "550 5.6.0*")
}

// Only MX looks at networks: where users log in, they do.
func TestTrustedNetworkIsNoLogin(t *testing.T) {
	r := start(t, Submission, loopbackTrusted)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.say("MAIL FROM:<alice@example.test>", "530*")
}

func TestVerifyForUsers(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		r := start(t, Submission, func(c *Config) { c.VerifyForUsers = func() bool { return allowed } })
		c := r.dial()
		c.expect("220*")
		c.say("VRFY alice@example.test", "252*")
		c.say("EHLO c", "250*")
		c.say("VRFY alice@example.test", "252*")
		c.say("VRFY nobody@example.test", "252*")
		c.say("VRFY", "501*")
		c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=", "235*")
		if !allowed {
			c.say("VRFY nobody@example.test", "252*")
			continue
		}
		c.say("VRFY Alice@example.test", "250 2.1.5 <Alice@example.test>")
		c.say("VRFY <team@example.test>", "250 2.1.5 <team@example.test>")
		c.say("VRFY forward@example.test", "251 2.1.5 Mail is passed on to <f@elsewhere.example>")
		c.say("VRFY nobody@example.test", "550 5.1.1*")
		c.say("VRFY x@elsewhere.example", "252*")
		c.say("VRFY alice", "501*")
		c.say("VRFY j\xc3\xb6rg@example.test SMTPUTF8", "250 2.1.5 <j?rg@example.test>")
		r.dir.down = true
		c.say("VRFY alice@example.test", "252*")
	}
}

func TestCommandsAreLimited(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Commands = 10 })
	c := r.dial()
	c.begin("alice@example.test")
	for range 5 { // messages that are taken begin the count anew
		c.data(plainMessage, "250*")
		c.mail("alice@example.test", "bob@example.test", "alice@example.test")
	}
	for range 9 {
		c.say("NOOP", "250*")
	}
	c.say("NOOP", "250*")
	c.send("NOOP\r\n")
	c.expect("421 4.7.0 Too many commands*")
	c.closed()
}

func TestUnrecognisedCommandsAreLimited(t *testing.T) {
	r := start(t, MX, func(c *Config) { c.Limits.Unrecognised = 2 })
	c := r.dial()
	c.expect("220*")
	c.say("NOOP  ", "250*") // RFC 5321 §4.1.1
	c.say("frob", "500 5.5.2*")
	c.send("NOOPE\r\n")
	c.expect("500 5.5.2*")
	c.expect("421 4.7.0*")
	c.closed()
}

// A page in a browser can make it send a form to any port: not one line of it is a command.
func TestBrowsersAreTurnedAway(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.expect("220*")
	c.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<x@remote.example>\r\n")
	c.expect("421 4.7.0*")
	if said := c.closed(); said != "" {
		t.Errorf("the server goes on: %q", said)
	}
}

// fakeRate lets a number pass.
type fakeRate struct {
	mu    sync.Mutex
	left  int
	taken map[string]int
}

func (f *fakeRate) Room(_ string, n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return n <= f.left
}

func (f *fakeRate) Take(client string, n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.left {
		return false
	}
	f.left -= n
	f.taken[client] += n
	return true
}

func TestRateOfStrangers(t *testing.T) {
	rate := &fakeRate{left: 2, taken: map[string]int{}}
	r := start(t, MX, func(c *Config) { c.AddressRate = rate })
	c, late := r.dial(), r.dial()
	late.begin("alice@example.test")
	c.begin("alice@example.test", "bob@example.test")
	c.data(plainMessage, "250*")
	c.mail("alice@example.test")
	c.data(plainMessage, "250*")
	c.say("MAIL FROM:<x@remote.example>", "450 4.7.1*")
	late.data(plainMessage, "450 4.7.1*") // it was let in before
	if rate.taken["127.0.0.1/32"] != 2 {
		t.Errorf("taken %v", rate.taken)
	}
}

func TestRateOfAnAccount(t *testing.T) {
	rate := &fakeRate{left: 3, taken: map[string]int{}}
	r := start(t, Submission, func(c *Config) { c.AccountRate = rate })
	c := r.login()
	send := func(third string) {
		c.say("MAIL FROM:<alice@example.test>", "250*")
		c.say("RCPT TO:<bob@example.test>", "250*")
		c.say("RCPT TO:<x@elsewhere.example>", third)
	}
	send("250*")
	c.data("From: alice@example.test\r\n\r\n", "250*")
	send("450 4.7.1*")
	c.data("From: alice@example.test\r\n\r\n", "250*")
	c.say("MAIL FROM:<alice@example.test>", "250*")
	c.say("RCPT TO:<bob@example.test>", "450 4.7.1*")
	if rate.taken["1"] != 3 {
		t.Errorf("taken %v", rate.taken)
	}
}

// farListener makes its clients strangers from afar.
type farListener struct{ net.Listener }

func (l farListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return farConn{c}, err
}

type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func delayed(d time.Duration) func(*Config) {
	return func(c *Config) { c.GreetDelay = func() time.Duration { return d } }
}

func TestEarlyTalkerIsTurnedAway(t *testing.T) {
	r := startOn(t, MX, func(l net.Listener) net.Listener { return farListener{l} }, delayed(time.Minute))
	c := r.dial()
	c.send("EHLO c\r\n")
	c.expect("554 5.5.0*")
	c.closed()
}

func TestPatientStrangerIsGreeted(t *testing.T) {
	r := startOn(t, MX, func(l net.Listener) net.Listener { return farListener{l} }, delayed(50*time.Millisecond))
	c := r.dial()
	c.begin("alice@example.test")
	c.data(plainMessage, "250*")
}

func TestDrainDoesNotWaitForTheGreeting(t *testing.T) {
	r := startOn(t, MX, func(l net.Listener) net.Listener { return farListener{l} }, delayed(time.Hour))
	c := r.dial()
	r.admitted(1)
	r.stop()
	c.expect("421*")
	c.closed()
}

func TestLoopbackDoesNotWaitForTheGreeting(t *testing.T) {
	r := start(t, MX, delayed(time.Hour))
	r.dial().expect("220*")
}

func TestLimitsFollowSettings(t *testing.T) {
	var now atomic.Pointer[Counts]
	now.Store(&Counts{MessageBytes: 1000, Recipients: 150})
	r := start(t, MX, func(c *Config) { c.Counts = func() Counts { return *now.Load() } })
	c := r.dial()
	c.expect("220*")
	got := c.say("EHLO c", "250 SIZE 1000")
	for _, want := range []string{"250-LIMITS RCPTMAX=150\r\n", "250-DSN\r\n", "250-BINARYMIME\r\n", "250-CHUNKING\r\n", "250-PIPELINING\r\n", "250-8BITMIME\r\n",
		"250-ENHANCEDSTATUSCODES\r\n", "250-SMTPUTF8\r\n", "250-STARTTLS\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	c.say("MAIL FROM:<x@remote.example> SIZE=1001", "552 5.3.4*")
	c.mail("alice@example.test")
	c.data(strings.Repeat("a: b\r\n", 200), "552 5.3.4*")

	// A connection that is open has the new ones with its next message, others at once.
	now.Store(&Counts{MessageBytes: 2000, Errors: 4, Connections: 2})
	c.mail("alice@example.test")
	c.data(strings.Repeat("a: b\r\n", 200), "250*")
	c.say("EHLO c", "250 SIZE 2000")
	c.say("MAIL FROM:<>", "250*")
	second := r.dial()
	second.expect("220*")
	r.dial().expect("421 4.7.0*")
	for range 4 {
		c.say("RCPT TO:<nobody@example.test>", "550*")
	}
	c.say("NOOP", "421 4.7.0*")
	c.closed()
}

// What is not set stays as the listener was made with, and a setting of fewer than 100 recipients is none (RFC 5321 §4.5.3.1.8).
func TestSettingsFillUp(t *testing.T) {
	cfg := Config{Limits: Limits{Counts: Counts{Errors: 9}}, Counts: func() Counts { return Counts{Recipients: 10, Commands: 20} }}
	cfg.fill()
	want := defaultCounts
	want.Errors, want.Recipients, want.Commands = 9, 100, 20
	if got := cfg.counts(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
