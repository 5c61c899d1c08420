package imapd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
)

func TestStartTLSThrowsAwayWhatCameBefore(t *testing.T) {
	ts := startServer(t, func(c *Config) { c.AllowPlainAuth = false })
	c := ts.dial()
	c.expect("* OK [CAPABILITY ...STARTTLS LOGINDISABLED] ...")
	c.send("a LOGIN an@example.test secret")
	c.expect("a NO [PRIVACYREQUIRED] ...")
	c.send("b AUTHENTICATE PLAIN AGFuQGV4YW1wbGUudGVzdABzZWNyZXQ=")
	c.expect("b NO [PRIVACYREQUIRED] ...")
	c.send("c STARTTLS\r\nevil LOGIN an@example.test secret") // in one piece
	c.expect("c OK ...")
	tc := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true}) // the test's certificate is its own
	secure := &client{t, tc, bufio.NewReader(tc)}
	secure.send("d CAPABILITY")
	secure.expect("* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN")
	secure.expect("d OK ...")
	secure.send("e LOGIN an@example.test secret")
	secure.expect("e OK ...")
	secure.send("f STARTTLS")
	secure.expect("f BAD ...")
}

func TestImplicitTLS(t *testing.T) {
	ts := startServer(t, func(c *Config) { c.AllowPlainAuth = false })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ts.srv.Serve(ctx, tls.NewListener(l, ts.srv.cfg.TLS)) }()
	tc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tc.Close()
	c := &client{t, tc, bufio.NewReader(tc)}
	c.expect("* OK [CAPABILITY ... AUTH=PLAIN] ...")
	c.send("e LOGIN an@example.test secret")
	c.expect("e OK ...")
	cancel()
	c.expect("* BYE [UNAVAILABLE] ...")
	c.expect("EOF")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A literal is never run as a command, whatever is wrong with the command around it.
func TestLiteralsOfBadCommandsAreNotCommands(t *testing.T) {
	const evil = "x LOGOUT\r\n"
	lit := fmt.Sprintf("{%d+}\r\n%s", len(evil), evil)
	for _, tc := range []struct{ name, send, want string }{
		{"unknown command", "a FROBNICATE " + lit, "a BAD ..."},
		{"unknown command with two", "a FROBNICATE " + lit + " " + lit, "a BAD ..."},
		{"wrong state", "a FETCH 1 BODY[HEADER.FIELDS (" + lit + ")]", "a BAD ..."},
		{"login twice", "a LOGIN " + lit + " " + lit, "a BAD ..."},
		{"bad append date", "a APPEND INBOX \"yesterday\" " + lit, "a BAD ..."},
		{"append to nothing", "a APPEND nothing " + lit, "a NO [TRYCREATE] ..."},
		{"append with a bad flag", "a APPEND INBOX (\\Nonsense) " + lit, "a BAD ..."},
		{"several messages", "a APPEND INBOX " + lit + " (\\Seen) " + lit, "a NO [LIMIT] ..."},
		{"append with rubbish behind", "a APPEND INBOX " + lit + " rubbish", "a BAD ..."},
		{"no tag", "* " + lit, "* BAD ..."},
		{"select with parameters", "a SELECT INBOX (" + lit + ")", "a BAD ..."},
		{"create over the literal limit", "a CREATE {70000}", "a NO [TOOBIG] ..."},
		{"append over the limit", "a APPEND INBOX {99000000}", "a NO [TOOBIG] ..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ts := startServer(t, nil)
			c := ts.login()
			c.send(tc.send)
			c.expect(tc.want)
			c.send("y NOOP")
			c.expect("y OK ...")
			c.send("z STATUS INBOX (MESSAGES)")
			c.expect("* STATUS INBOX (MESSAGES 0)")
			c.expect("z OK ...")
		})
	}
}

func TestNodeThatIsNotReadyAnswersAtOnce(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.appendMessage("INBOX", "Subject: x\r\n\r\ny\r\n")
	c.ok("a SELECT INBOX")
	down := fmt.Errorf("no quorum: %w", store.ErrUnavailable)
	ts.store.notReady.Store(&down)
	ts.dial().expect("* OK ...")
	for _, cmd := range []string{"SELECT INBOX", "STATUS INBOX (MESSAGES)", "NOOP", "CREATE x", "APPEND INBOX {3+}\r\nabc", "LIST \"\" *"} {
		c.send("n " + cmd)
		if strings.HasPrefix(cmd, "SELECT") {
			c.expect("* OK [CLOSED] ...")
		}
		c.expect("n NO [UNAVAILABLE] ...")
	}
	ts.store.notReady.Store(nil)
	c.ok("b SELECT INBOX")
	ts.store.notReady.Store(&down)
	// What needs nobody else goes on; \Seen can wait.
	c.send("c FETCH 1 BODY[TEXT]")
	c.expect(`* 1 FETCH (BODY[TEXT] {3}\r\ny\r\n)`)
	c.expect("c OK ...")
	c.send("d STORE 1 +FLAGS (\\Seen)")
	c.expect("d NO [UNAVAILABLE] ...")

	full := fmt.Errorf("disk: %w", store.ErrNoSpace)
	ts.store.notReady.Store(&full)
	c.send("e APPEND INBOX {3}")
	c.expect("e NO [UNAVAILABLE] ...")
	c.ok("f STORE 1 +FLAGS (\\Seen)")
}

func TestErrorsOfTheStoreBecomeAnswers(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{store.ErrUnavailable, "n NO [UNAVAILABLE] ...nothing was done..."},
		{store.ErrUnknownOutcome, "n NO [UNAVAILABLE] ...may have been done..."},
		{fmt.Errorf("%w: %w", store.ErrUnknownOutcome, store.ErrUnavailable), "n NO [UNAVAILABLE] ...may have been done..."},
		{context.DeadlineExceeded, "n NO [UNAVAILABLE] ...may have been done..."},
		{store.ErrOverQuota, "n NO [OVERQUOTA] ..."},
		{store.ErrNoSpace, "n NO [UNAVAILABLE] ..."},
		{store.ErrTooLarge, "n NO [LIMIT] ..."},
		{store.ErrNotFound, "n NO [NONEXISTENT] ..."},
		{store.ErrExists, "n NO [ALREADYEXISTS] ..."},
		{store.ErrInvalid, "n NO [CANNOT] ..."},
		{store.ErrDenied, "n NO [NOPERM] ..."},
		{store.ErrConflict, "n NO [INUSE] ..."},
	} {
		err := fmt.Errorf("propose: %w", tc.err)
		ts.store.proposeErr.Store(&err)
		c.send("n CREATE something")
		c.expect(tc.want)
		c.send("n APPEND INBOX {3+}\r\nabc")
		c.expect(tc.want)
	}
}

func TestMessageThatCannotBeReadDoesNotHideTheOthers(t *testing.T) {
	ts := startServer(t, nil)
	c := ts.login()
	c.appendMessage("INBOX", "Subject: x\r\n\r\ny\r\n")
	c.appendMessage("INBOX", "Subject: z\r\n\r\ny\r\n")
	c.ok("a SELECT INBOX")
	ts.store.mu.Lock()
	for id, raw := range ts.store.bodies {
		if strings.Contains(string(raw), "Subject: x") {
			delete(ts.store.bodies, id)
		}
	}
	ts.store.mu.Unlock()
	c.send("b FETCH 1:2 BODY.PEEK[]")
	c.expect(`* 2 FETCH (BODY[] {17}\r\n...)`)
	c.expect("b NO [UNAVAILABLE] ...")
	c.send("c FETCH 1:2 ENVELOPE")
	c.expect(`* 1 FETCH (ENVELOPE ...`)
	c.expect(`* 2 FETCH (ENVELOPE ...`)
	c.expect("c OK ...")
}

func TestLimits(t *testing.T) {
	t.Run("sessions", func(t *testing.T) {
		ts := startServer(t, func(c *Config) { c.Limits.Sessions = 1 })
		first := ts.dial()
		first.expect("* OK ...")
		second := ts.dial()
		second.expect("* BYE [UNAVAILABLE] ...")
		second.expect("EOF")
	})
	t.Run("time before the login", func(t *testing.T) {
		ts := startServer(t, func(c *Config) { c.Limits.NotAuthenticated = 50 * time.Millisecond })
		c := ts.dial()
		c.expect("* OK ...")
		c.expect("* BYE ...")
		c.expect("EOF")
	})
	t.Run("idle", func(t *testing.T) {
		ts := startServer(t, func(c *Config) { c.Limits.Idle = 200 * time.Millisecond })
		c := ts.login()
		c.send("a IDLE")
		c.expect("+ idling")
		c.expect("* BYE ...")
		c.expect("EOF")
	})
	t.Run("half a command", func(t *testing.T) {
		ts := startServer(t, func(c *Config) { c.Limits.Literal = 50 * time.Millisecond })
		c := ts.login()
		c.send("a APPEND INBOX {10}")
		c.expect("+ ...")
		c.send("abc")
		c.expect("* BYE ...")
		c.expect("EOF")
	})
	t.Run("bad commands", func(t *testing.T) {
		ts := startServer(t, func(c *Config) { c.Limits.Errors = 3 })
		c := ts.login()
		for range 3 {
			c.send("a RUBBISH")
			c.expect("a BAD ...")
		}
		c.expect("* BYE ...")
		c.expect("EOF")
	})
	t.Run("line", func(t *testing.T) {
		ts := startServer(t, nil)
		c := ts.login()
		c.send("a NOOP " + strings.Repeat("x", 70_000))
		c.expect("* BYE ...")
	})
	t.Run("keywords", func(t *testing.T) {
		ts := startServer(t, nil)
		c := ts.login()
		c.appendMessage("INBOX", "Subject: x\r\n\r\ny\r\n")
		c.ok("a SELECT INBOX")
		c.send("b STORE 1 FLAGS (" + strings.Repeat("x", 101) + ")")
		c.expect("b NO [LIMIT] ...")
		many := make([]string, 65)
		for i := range many {
			many[i] = fmt.Sprintf("k%d", i)
		}
		c.send("c STORE 1 FLAGS (" + strings.Join(many, " ") + ")")
		c.expect("c NO [LIMIT] ...")
	})
}

func TestDrainEndsSessionsBetweenCommands(t *testing.T) {
	ts := startServer(t, nil)
	waiting, idling, appending := ts.login(), ts.login(), ts.login()
	idling.send("a IDLE")
	idling.expect("+ idling")
	appending.send("a APPEND INBOX {10}")
	appending.expect("+ ...")
	if _, err := appending.conn.Write([]byte("01234")); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ts.stop() }()
	waiting.expect("* BYE [UNAVAILABLE] ...")
	waiting.expect("EOF")
	idling.expect("* BYE [UNAVAILABLE] ...")
	idling.expect("EOF")
	appending.send("56789") // the message that it was in the middle of is still taken
	appending.expect("a OK [APPENDUID ...")
	appending.expect("* BYE [UNAVAILABLE] ...")
	appending.expect("EOF")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRevokedLoginEndsItsSessions(t *testing.T) {
	ts := startServer(t, func(c *Config) {
		c.Auth = AuthFunc(func(_ context.Context, _ netip.Addr, user, _ string) (Identity, error) {
			return Identity{Account: store.AccountID(len(user))}, nil
		})
	})
	enter := func(user string) *client {
		c := ts.dial()
		c.expect("* OK ...")
		c.ok("a LOGIN " + user + " x")
		return c
	}
	waiting, other, stranger := enter("anna"), enter("an"), ts.dial()
	stranger.expect("* OK ...")
	ts.srv.EndSessions(store.AccountID(len("anna")))
	waiting.expect("* BYE ...")
	waiting.expect("EOF")
	other.ok("b NOOP")
	stranger.ok("c LOGIN anna x") // with a password that is good now
	stranger.ok("d NOOP")
}

// A login that was checked with the old password while it was being changed does not become a session.
func TestLoginThatIsRevokedMeanwhileIsCheckedAgain(t *testing.T) {
	checks := 0
	var ts *testServer
	ts = startServer(t, func(c *Config) {
		c.Auth = AuthFunc(func(context.Context, netip.Addr, string, string) (Identity, error) {
			if checks++; checks > 1 {
				return Identity{}, store.ErrDenied
			}
			ts.srv.EndSessions(fakeAccount)
			return Identity{Account: fakeAccount}, nil
		})
	})
	c := ts.dial()
	c.expect("* OK ...")
	c.send("a LOGIN an old")
	c.expect("a NO [AUTHENTICATIONFAILED] ...")
}

func TestDrainIsBounded(t *testing.T) {
	ts := startServer(t, func(c *Config) { c.Limits.Drain = 50 * time.Millisecond })
	c := ts.login()
	c.send("a APPEND INBOX {10}")
	c.expect("+ ...")
	if _, err := c.conn.Write([]byte("01234")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := ts.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	c.expect("* BYE [UNAVAILABLE] ...")
	c.expect("EOF")
}

func TestPanicEndsOnlyItsSession(t *testing.T) {
	ts := startServer(t, func(c *Config) {
		c.Auth = AuthFunc(func(_ context.Context, _ netip.Addr, user, _ string) (Identity, error) {
			if user == "boom" {
				panic("boom")
			}
			return Identity{Account: fakeAccount}, nil
		})
	})
	other := ts.login()
	c := ts.dial()
	c.expect("* OK ...")
	c.send("a LOGIN boom x")
	c.expect("EOF")
	other.ok("b NOOP")
}

func TestUnavailableLoginIsNoWrongPassword(t *testing.T) {
	ts := startServer(t, func(c *Config) {
		c.Limits.Barrier = 20 * time.Millisecond
		c.Auth = AuthFunc(func(ctx context.Context, _ netip.Addr, _, _ string) (Identity, error) {
			<-ctx.Done()
			return Identity{}, ctx.Err()
		})
	})
	c := ts.dial()
	c.expect("* OK ...")
	for range 5 {
		c.send("a LOGIN x y")
		c.expect("a NO [UNAVAILABLE] ...")
	}
}

func TestSlowReaderLosesTheConnection(t *testing.T) {
	ts := startServer(t, func(c *Config) { c.Limits.Write = 100 * time.Millisecond })
	c := ts.login()
	c.appendMessage("INBOX", "Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("y", 70)+"\r\n", 40_000))
	c.ok("a SELECT INBOX")
	for range 20 { // more than the sockets hold
		c.send("b FETCH 1 BODY.PEEK[]")
	}
	waitFor(t, func() bool {
		ts.srv.mu.Lock()
		defer ts.srv.mu.Unlock()
		return len(ts.srv.conns) == 0
	})
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{Hostname: "x"}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("New without a store: %v", err)
	}
	if _, err := New(Config{Store: newFakeStore(), Auth: AuthFunc(nil)}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("New without a host name: %v", err)
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it did not happen")
		}
	}
}
