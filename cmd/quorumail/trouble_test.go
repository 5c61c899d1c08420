package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// answerLimit is how long a node that cannot serve may take to say so: 5 s are promised, and test machines are slow.
const answerLimit = 8 * time.Second

// inTime runs f and demands that it ends in time.
func inTime(t *testing.T, what string, f func() error) error {
	t.Helper()
	start := time.Now()
	err := f()
	took := time.Since(start)
	t.Logf("%s: %v after %v", what, err, took.Round(time.Millisecond))
	if took > answerLimit {
		t.Errorf("%s took %v to answer", what, took)
	}
	return err
}

// temporary demands an SMTP refusal that invites to try again.
func temporary(t *testing.T, what string, f func() error) {
	t.Helper()
	var reply *textproto.Error
	if err := inTime(t, what, f); !errors.As(err, &reply) || reply.Code != 421 && reply.Code != 451 {
		t.Errorf("%s: %v, want 421 or 451", what, err)
	}
}

// unavailable demands NO [UNAVAILABLE].
func unavailable(t *testing.T, what string, f func() error) {
	t.Helper()
	var no *imap.Error
	if err := inTime(t, what, f); !errors.As(err, &no) || no.Type != imap.StatusResponseTypeNo || no.Code != imap.ResponseCodeUnavailable {
		t.Errorf("%s: %v, want NO [UNAVAILABLE]", what, err)
	}
}

// recovers tries until it works: services recover by themselves.
func recovers(t *testing.T, what string, f func() error) {
	t.Helper()
	start := time.Now()
	for {
		err := f()
		if err == nil {
			t.Logf("%s works again after %v", what, time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Since(start) > 60*time.Second {
			t.Fatalf("%s does not work again: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond) // a condition is polled
	}
}

func simpleMessage(subject string) []byte {
	return []byte("From: <x@example.net>\r\nSubject: " + subject + "\r\n\r\nhello\r\n")
}

// TestWithoutAQuorumEveryListenerSaysSo takes two of three nodes away: once they are dead, once they stand still, as behind a network that
// swallows everything.
func TestWithoutAQuorumEveryListenerSaysSo(t *testing.T) {
	for _, tc := range []struct {
		name      string
		take      syscall.Signal
		giveAgain func(c *devCluster, i int)
	}{
		{"dead", syscall.SIGKILL, (*devCluster).restart},
		{"standing still", syscall.SIGSTOP, func(c *devCluster, i int) { c.signal(i, syscall.SIGCONT) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := startCluster(t, 3, 0)
			testWithoutQuorum(t, c, func(i int) { c.take(i, tc.take) }, func(i int) { tc.giveAgain(c, i) })
		})
	}
}

// take kills or stops a node, and waits until it is.
func (c *devCluster) take(i int, sig syscall.Signal) {
	c.t.Helper()
	pid := c.pid(i)
	c.signal(i, sig)
	for {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		running := false
		for _, task := range tasks {
			raw, err := os.ReadFile(task)
			_, state, _ := strings.Cut(string(raw), ") ")
			running = running || err == nil && !strings.HasPrefix(state, "T") && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
		}
		if !running {
			return
		}
		time.Sleep(5 * time.Millisecond) // a condition is polled
	}
}

func testWithoutQuorum(t *testing.T, c *devCluster, take, giveAgain func(int)) {
	user := c.Accounts[0]
	open := login(t, c.Nodes[0].IMAP, user)
	if _, err := open.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	send := func(subject string, more int) func() error {
		msg := append(simpleMessage(subject), generated(rand.New(rand.NewPCG(1, 1)), 0)...)
		for len(msg) < more {
			msg = append(msg, generated(rand.New(rand.NewPCG(uint64(len(msg)), 1)), 0)...)
		}
		return func() error { return deliver(c.Nodes[0].SMTP, "x@example.net", user.Address, msg) }
	}
	take(1)
	take(2)
	var both sync.WaitGroup
	both.Go(func() { temporary(t, "SMTP at once, a small body", send("without a quorum", 0)) })
	both.Go(func() { temporary(t, "SMTP at once, a large body", send("without a quorum", 300<<10)) })
	both.Go(func() {
		unavailable(t, "SELECT at once", func() error { _, err := open.Select("INBOX", nil).Wait(); return err })
	})
	both.Wait()
	temporary(t, "SMTP later", send("without a quorum", 0))
	unavailable(t, "SELECT", func() error { _, err := open.Select("INBOX", nil).Wait(); return err })
	unavailable(t, "APPEND", func() error { _, err := appendMessage(open, "INBOX", simpleMessage("x")); return err })
	unavailable(t, "CREATE", func() error { return open.Create("new", nil).Wait() })
	unavailable(t, "LOGIN", func() error {
		fresh, err := imapclient.DialInsecure(c.Nodes[0].IMAP, nil)
		if err != nil {
			return err
		}
		defer fresh.Close()
		return fresh.Login(user.Address, user.Password).Wait()
	})
	giveAgain(1)
	recovers(t, "SMTP", send("without a quorum", 0))
	recovers(t, "the open session", func() error { _, err := open.Select("INBOX", nil).Wait(); return err })
	giveAgain(2)
	for _, n := range c.Nodes {
		count := 0
		recovers(t, "LOGIN at "+n.Name, func() error {
			fresh, err := imapclient.DialInsecure(n.IMAP, nil)
			if err != nil {
				return err
			}
			defer fresh.Close()
			return fresh.Login(user.Address, user.Password).Wait()
		})
		eachMessage(t, n.IMAP, user, func(_ imap.UID, msg []byte) {
			if headerValue(msg, "Subject") == "without a quorum" {
				count++
			}
		})
		// Those that were answered 451 may have been taken: the client cannot know.
		if count < 1 || count > 4 {
			t.Errorf("%s shows %d messages, want 1 to 4", n.Name, count)
		}
	}
	c.check()
}

func TestStoppedLeaderIsReplacedAndShowsNothingOld(t *testing.T) {
	c := startCluster(t, 3, 0)
	user := c.Accounts[0]
	leader := c.leader()
	session := login(t, c.Nodes[leader].IMAP, user)
	before, err := session.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	old := before.NumMessages
	c.take(leader, syscall.SIGSTOP)
	other := (leader + 1) % 3
	recovers(t, "SMTP at another node", func() error {
		return deliver(c.Nodes[other].SMTP, "x@example.net", user.Address, simpleMessage("while the leader stood still"))
	})
	c.signal(leader, syscall.SIGCONT)
	// The old leader may say that it cannot know, but not that nothing has come.
	after, err := session.Select("INBOX", nil).Wait()
	var no *imap.Error
	switch {
	case err == nil && after.NumMessages <= old:
		t.Errorf("the old leader shows %d messages, as before: a new one was acknowledged meanwhile", after.NumMessages)
	case err != nil && (!errors.As(err, &no) || no.Code != imap.ResponseCodeUnavailable):
		t.Errorf("the old leader answers %v", err)
	}
	recovers(t, "the old leader", func() error {
		sel, err := session.Select("INBOX", nil).Wait()
		if err == nil && sel.NumMessages <= old {
			return fmt.Errorf("%d messages", sel.NumMessages)
		}
		return err
	})
	c.check()
}

func TestNodeRestartsWhileClientsAreConnected(t *testing.T) {
	c := startCluster(t, 3, 0)
	user := c.Accounts[0]
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			idle := login(t, c.Nodes[0].IMAP, user)
			if _, err := idle.Select("INBOX", nil).Wait(); err != nil {
				t.Fatal(err)
			}
			if _, err := idle.Idle(); err != nil {
				t.Fatal(err)
			}
			smtp := halfDelivery(t, c.Nodes[0].SMTP, user.Address)
			subject := "before " + sig.String()
			if err := deliver(c.Nodes[0].SMTP, "x@example.net", user.Address, simpleMessage(subject)); err != nil {
				t.Fatal(err)
			}
			c.signal(0, sig)
			select {
			case <-idle.Closed():
			case <-time.After(60 * time.Second):
				t.Error("the session in IDLE was not ended")
			}
			line, err := smtp.ReadLine()
			if err == nil && !strings.HasPrefix(line, "421") {
				t.Errorf("the SMTP session heard %q, want 421", line)
			}
			if sig == syscall.SIGTERM {
				t.Logf("the SMTP session heard %q, %v", line, err)
			}
			c.restart(0)
			seen := 0
			eachMessage(t, c.Nodes[0].IMAP, user, func(_ imap.UID, msg []byte) {
				if headerValue(msg, "Subject") == "half" {
					t.Error("a message without its end was delivered")
				}
				if headerValue(msg, "Subject") == subject {
					seen++
				}
			})
			if seen != 1 {
				t.Errorf("the acknowledged message is there %d times", seen)
			}
		})
	}
	c.check()
}

// halfDelivery begins a message and does not end it.
func halfDelivery(t *testing.T, address, to string) *textproto.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := textproto.NewConn(conn)
	t.Cleanup(func() { c.Close() })
	if _, _, err := c.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		line string
		code int
	}{{"EHLO localhost", 250}, {"MAIL FROM:<x@example.net>", 250}, {"RCPT TO:<" + to + ">", 250}, {"DATA", 354}} {
		if err := c.PrintfLine("%s", step.line); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadResponse(step.code); err != nil {
			t.Fatalf("%s: %v", step.line, err)
		}
	}
	if err := c.PrintfLine("Subject: half\r\n\r\nthe end never comes"); err != nil {
		t.Fatal(err)
	}
	return c
}
