package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/dev"
)

// at is the command line of one node of the cluster.
func (c *devCluster) at(t *testing.T, node int) commandLine {
	return commandLine{t, filepath.Join(c.dir, c.Nodes[node].Name, "node.toml")}
}

// What one node was told of accounts and settings counts at all others.
func TestAccountsAreOneForTheWholeCluster(t *testing.T) {
	c := startCluster(t, 3, 0)
	t.Run("changed passwords", func(t *testing.T) { changedPasswords(t, c) })
	t.Run("settings", func(t *testing.T) { sharedSettings(t, c) })
	t.Run("quota", func(t *testing.T) { sharedQuota(t, c) })
	t.Run("international", func(t *testing.T) { international(t, c) })
	t.Run("failed logins", func(t *testing.T) { failedLogins(t, c) })
}

// A right password is remembered by the nodes for minutes. Any change anywhere ends that everywhere, at once.
func changedPasswords(t *testing.T, c *devCluster) {
	const address = "memory@example.test"
	c.at(t, 0).good("the first password\n", "account", "add", address)
	logins := func(what, password string, want bool) {
		t.Helper()
		for i, n := range c.Nodes {
			err := loginOver([]string{"imap", "smtp"}[i%2], n, devAccount(address, password))
			if (err == nil) != want {
				t.Errorf("%s: %s with %q: %v", what, n.Name, password, err)
			}
		}
	}
	logins("made", "the first password", true)
	logins("remembered", "the first password", true)
	ended := openSessions(t, c, address, "the first password")
	c.at(t, 1).good("the second password\n", "account", "passwd", address)
	ended("changed")
	logins("changed", "the first password", false)
	logins("changed", "the second password", true)
	p := as[admin.AppPassword](t, c.at(t, 2).good("", "account", "app-password", "add", address, "phone", "--json"))
	logins("app password", p.Password, true)
	ended = openSessions(t, c, address, p.Password)
	c.at(t, 0).good("", "account", "set", address, "--suspended")
	ended("suspended")
	logins("suspended", "the second password", false)
	logins("suspended", p.Password, false)
	c.at(t, 1).good("", "account", "set", address, "--suspended=false")
	logins("active again", "the second password", true)
	c.at(t, 2).good("", "account", "app-password", "remove", address, p.ID, "--yes")
	logins("removed", p.Password, false)
	c.at(t, 0).good("", "account", "remove", address, "--yes")
	logins("gone", "the second password", false)
}

// openSessions logs in at every node, by IMAP and for submission. What it returns waits until the servers have ended all these sessions.
func openSessions(t *testing.T, c *devCluster, address, password string) (ended func(why string)) {
	t.Helper()
	type session struct {
		what string
		r    *bufio.Reader
	}
	var open []session
	for _, n := range c.Nodes {
		for protocol, listener := range map[string]string{"imap": n.IMAP, "smtp": n.Submission} {
			conn, err := net.DialTimeout("tcp", listener, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			s := session{protocol + " at " + n.Name, bufio.NewReader(conn)}
			if err := enter(conn, s.r, protocol, devAccount(address, password)); err != nil {
				t.Fatalf("%s: %v", s.what, err)
			}
			open = append(open, s)
		}
	}
	return func(why string) {
		t.Helper()
		for _, s := range open {
			said, err := io.ReadAll(s.r) // up to the deadline that enter set
			if err != nil || !strings.HasPrefix(string(said), "421 ") && !strings.HasPrefix(string(said), "* BYE ") {
				t.Errorf("%s: the session %s goes on: %q, %v", why, s.what, said, err)
			}
		}
	}
}

func sharedSettings(t *testing.T, c *devCluster) {
	c.at(t, 0).good("", "set", "auth.min_password_length", "12")
	for i := range c.Nodes {
		if s := as[admin.Setting](t, c.at(t, i).good("", "set", "auth.min_password_length", "--json")); s.Value != "12" {
			t.Errorf("node %d: %+v", i+1, s)
		}
	}
	await(t, "node 3 refuses a password of 11 characters", func() bool {
		_, _, err := c.at(t, 2).run("12345678901\n", "account", "passwd", "binh@example.test")
		return err != nil && strings.Contains(err.Error(), "fewer than 12 characters")
	})
	c.at(t, 1).good("", "set", "auth.min_password_length", "--reset")
	c.at(t, 1).good("", "set", "smtp.max_recipients", "100")
	await(t, "node 2 takes 100 recipients and no more", func() bool { return recipientsTaken(t, c.Nodes[1].SMTP, 101) == 100 })
	c.at(t, 1).good("", "set", "smtp.max_recipients", "--reset")
}

// recipientsTaken offers n recipients and counts those that are taken.
func recipientsTaken(t *testing.T, address string, n int) (taken int) {
	t.Helper()
	talk(t, address, func(say func(string) string) {
		say("EHLO localhost")
		say("MAIL FROM:<x@example.net>")
		for i := range n {
			if strings.HasPrefix(say(fmt.Sprintf("RCPT TO:<an+%d@example.test>", i)), "250") {
				taken++
			}
		}
	})
	return taken
}

// talk opens an SMTP dialogue: say sends a line and returns the last line of the reply.
func talk(t *testing.T, address string, f func(say func(string) string)) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	reply := func() string {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if len(line) < 4 || line[3] != '-' {
				return line
			}
		}
	}
	reply()
	f(func(line string) string {
		if _, err := fmt.Fprintf(conn, "%s\r\n", line); err != nil {
			t.Fatal(err)
		}
		return reply()
	})
}

// The cluster's default quota holds for what comes by SMTP and by APPEND, at every node.
func sharedQuota(t *testing.T, c *devCluster) {
	const address = "small@example.test"
	c.at(t, 0).good("a long password\n", "account", "add", address)
	c.at(t, 0).good("", "set", "account.quota_bytes", "10KiB")
	defer c.at(t, 0).good("", "set", "account.quota_bytes", "--reset")
	message := []byte("Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 200))
	if err := deliver(c.Nodes[1].SMTP, "x@example.net", address, message); err == nil || !strings.Contains(err.Error(), "4.2.2") {
		t.Errorf("by SMTP: %v", err)
	}
	client := login(t, c.Nodes[2].IMAP, devAccount(address, "a long password"))
	if _, err := appendMessage(client, "INBOX", message); err == nil || !strings.Contains(err.Error(), "OVERQUOTA") {
		t.Errorf("by APPEND: %v", err)
	}
	c.at(t, 1).good("", "account", "set", address, "--quota", "none")
	if err := deliver(c.Nodes[1].SMTP, "x@example.net", address, message); err != nil {
		t.Errorf("without a quota: %v", err)
	}
	if _, err := appendMessage(client, "INBOX", message); err != nil {
		t.Errorf("without a quota: %v", err)
	}
}

// Addresses beyond ASCII are one, in whatever form they are written.
func international(t *testing.T, c *devCluster) {
	c.at(t, 0).good("", "domain", "add", "müller.test")
	c.at(t, 1).good("Mật khẩu dài\n", "account", "add", "jörg@müller.test", "--name", "Jörg")
	for i, form := range []string{"jörg@müller.test", "JÖRG@MÜLLER.test", "jörg@xn--mller-kva.test", "jo\u0308rg@mu\u0308ller.test"} {
		n := c.Nodes[i%3]
		talk(t, n.SMTP, func(say func(string) string) {
			say("EHLO localhost")
			say("MAIL FROM:<x@example.net> SMTPUTF8")
			if got := say("RCPT TO:<" + form + ">"); !strings.HasPrefix(got, "250") {
				t.Errorf("%s: %s", form, got)
				return
			}
			say("DATA")
			if got := say("Subject: chào\r\n\r\nx\r\n."); !strings.HasPrefix(got, "250") {
				t.Errorf("%s: %s", form, got)
			}
		})
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + form + "\x00Mật khẩu dài"))
		talk(t, n.Submission, func(say func(string) string) {
			say("EHLO localhost")
			if got := say("AUTH PLAIN " + plain); !strings.HasPrefix(got, "235") {
				t.Errorf("%s logs in: %s", form, got)
			}
		})
	}
	if a := as[admin.Account](t, c.at(t, 2).good("", "account", "show", "jörg@müller.test", "--json")); a.Messages != 4 {
		t.Errorf("account %+v", a)
	}
}

// Whoever guesses at one node is slowed at all of them, and the owner, who comes from elsewhere, is not.
func failedLogins(t *testing.T, c *devCluster) {
	const address = "target@example.test"
	c.at(t, 0).good("the right password\n", "account", "add", address)
	// Each of two nodes lets ten guesses through; together they are far over what is free.
	var wg sync.WaitGroup
	for _, n := range []dev.Node{c.Nodes[0], c.Nodes[2]} {
		for i := range 10 {
			wg.Go(func() {
				if err := loginFrom("127.0.0.1", n, devAccount(address, fmt.Sprintf("guess %d at %s", i, n.Name))); err == nil {
					t.Error("a guess was right")
				}
			})
		}
	}
	wg.Wait()
	// The nodes tell each other every second. A try before all was told would, with the right password, clear the count.
	told, since := -1.0, time.Now()
	await(t, "node 2 heard of the guesses at both others", func() bool {
		if now := figure(t, c.Nodes[1], "quorumail_directory_failed_login_batches_total"); now != told {
			told, since = now, time.Now()
		}
		return told >= 2 && time.Since(since) > 2500*time.Millisecond
	})
	if err := loginFrom("127.0.0.1", c.Nodes[1], devAccount(address, "the right password")); err == nil {
		t.Error("node 2 let the guesser in who guessed at the others")
	}
	for _, n := range c.Nodes {
		if err := loginFrom("127.0.0.2", n, devAccount(address, "the right password")); err != nil {
			t.Errorf("the owner at %s: %v", n.Name, err)
		}
	}
}

// figure reads one of a node's metrics.
func figure(t *testing.T, n dev.Node, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + n.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(body), "\n"+name+" ")
	var v float64
	if _, err := fmt.Sscan(rest, &v); err != nil {
		t.Fatalf("no figure %s: %v", name, err)
	}
	return v
}

func loginFrom(source string, n dev.Node, a dev.Account) error {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := d.Dial("tcp", n.IMAP)
	if err != nil {
		return err
	}
	return loginOn(conn, "imap", a)
}

// What dev prints for people to paste works as it stands: mail goes on after the leader was killed.
func TestLinesToPasteWork(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	g := startGuide(t, bin)
	send, read, kill := g.line("curl -sS smtp:"), g.line("curl -sS 'imap:"), g.line("kill -9 ")
	for _, when := range []string{"before", "after the leader was killed"} {
		subject := "hello " + when
		runTool(t, nil, "bash", "-c", strings.Replace(send, "Subject: hello", "Subject: "+subject, 1))
		if out := runTool(t, nil, "bash", "-c", read); !strings.Contains(out, "Subject: "+subject) {
			t.Errorf("%s: read %q", when, out)
		}
		if when == "before" {
			runTool(t, nil, "bash", "-c", kill)
		}
	}
	swaks := g.line("swaks ")
	if out := runTool(t, nil, "bash", "-c", swaks[strings.Index(swaks, "swaks "):]); !strings.Contains(out, "250") {
		t.Errorf("swaks: %s", out)
	}
	g.waitFor("ended; start it again with: ")
	g.stop()
	if text := g.text(); !strings.HasSuffix(text, "stopping; the mail stays in "+g.dir+"\n") || strings.Contains(strings.ToLower(text), "error") {
		t.Errorf("the end of what dev printed: %q", text[max(0, len(text)-400):])
	}
}

// startGuide runs dev as people do, with its output in a file.
func startGuide(t *testing.T, bin string) *devGuide {
	t.Helper()
	g := &devGuide{t: t, dir: t.TempDir()}
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	g.out = out
	g.start(bin)
	g.waitFor("Ctrl-C stops all of it")
	return g
}
