package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/ops/admin"
)

func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
}

func TestRealClients(t *testing.T) {
	c := startCluster(t, 3, 0)
	an, binh := c.Accounts[0], c.Accounts[1]
	t.Run("curl sends at one node and reads at another", func(t *testing.T) {
		needTool(t, "curl")
		msg := "From: <" + an.Address + ">\r\nTo: <" + binh.Address + ">\r\nSubject: =?utf-8?q?xin_ch=C3=A0o?=\r\n\r\nby curl\r\n"
		runTool(t, strings.NewReader(msg), "curl", "-sS", "smtp://"+c.Nodes[0].Submission, "--user", an.Address+":"+an.Password, "--mail-from", an.Address, "--mail-rcpt", binh.Address, "-T", "-")
		for _, n := range c.Nodes {
			if got := runTool(t, nil, "curl", "-sS", "imap://"+n.IMAP+"/INBOX;UID=*", "--user", binh.Address+":"+binh.Password); !strings.Contains(got, "by curl") {
				t.Errorf("%s shows %q", n.Name, got)
			}
		}
	})
	t.Run("swaks with STARTTLS and a wrong password", func(t *testing.T) {
		needTool(t, "swaks")
		args := []string{"--server", c.Nodes[1].Submission, "-tlsc=0", "--tls", "--from", an.Address, "--to", binh.Address, "--auth", "PLAIN", "--auth-user", an.Address}
		args = append(args[:2], args[3:]...)
		runTool(t, nil, "swaks", append(args, "--auth-password", an.Password)...)
		if out, err := exec.Command("swaks", append(args, "--auth-password", "wrong")...).CombinedOutput(); err == nil {
			t.Errorf("a wrong password was taken:\n%s", out)
		}
	})
	t.Run("python imaplib", func(t *testing.T) {
		needTool(t, "python3")
		script := fmt.Sprintf(`
import imaplib, smtplib, ssl, email.message
ctx = ssl.create_default_context(cafile=%q)
m = email.message.EmailMessage()
m["From"], m["To"], m["Subject"] = %q, %q, "by python"
m.set_content("xin chào")
h, p = %q.split(":")
s = smtplib.SMTP_SSL("localhost", int(p), context=ctx); s.login(%q, %q); s.send_message(m); s.quit()
h, p = %q.split(":")
c = imaplib.IMAP4_SSL("localhost", int(p), ssl_context=ctx); c.login(%q, %q)
assert c.select("INBOX")[0] == "OK"
typ, found = c.search(None, "SUBJECT", '"by python"')
assert typ == "OK" and len(found[0].split()) == 1, found
n = found[0].split()[0]
assert b"by python" in c.fetch(n, "(RFC822)")[1][0][1]
assert c.store(n, "+FLAGS", "(\\Flagged)")[0] == "OK"
assert c.copy(n, "Archive")[0] == "OK"
assert c.store(n, "+FLAGS", "(\\Deleted)")[0] == "OK"
assert c.expunge()[0] == "OK"
assert c.search(None, "SUBJECT", '"by python"')[1][0] == b""
c.select("Archive")
assert len(c.search(None, "FLAGGED")[1][0].split()) == 1
c.logout()
`, c.CA, an.Address, binh.Address, c.Nodes[0].Submissions, an.Address, an.Password, c.Nodes[2].IMAPS, binh.Address, binh.Password)
		runTool(t, strings.NewReader(script), "python3", "-")
	})
	t.Run("mbsync mirrors and pushes", func(t *testing.T) { testMbsync(t, c) })
}

func testMbsync(t *testing.T, c *devCluster) {
	needTool(t, "mbsync")
	dir := t.TempDir()
	host, port, _ := strings.Cut(c.Nodes[1].IMAP, ":")
	rc := fmt.Sprintf(`IMAPAccount q
Host %s
Port %s
User %s
Pass %s
SSLType None
AuthMechs LOGIN

IMAPStore far
Account q

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel q
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`, host, port, c.Accounts[0].Address, c.Accounts[0].Password, dir, dir)
	path := filepath.Join(dir, "mbsyncrc")
	if err := os.WriteFile(path, []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	runTool(t, nil, "mbsync", "-c", path, "-a")
	near, _ := filepath.Glob(filepath.Join(dir, "mail", "INBOX", "*", "*"))
	if len(near) == 0 {
		t.Fatal("mbsync brought no message")
	}
	if err := os.WriteFile(filepath.Join(dir, "mail", "INBOX", "cur", "1.local.host:2,S"), []byte("From: <a@b.c>\nSubject: pushed\n\nby mbsync\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runTool(t, nil, "mbsync", "-c", path, "-a")
	reader := login(t, c.Nodes[2].IMAP, c.Accounts[0])
	all := fetchAll(t, reader)
	if len(all) != len(near)+1 || !strings.Contains(string(all[len(all)-1]), "by mbsync") {
		t.Errorf("node %s shows %d messages after the push, want %d with the pushed one last", c.Nodes[2].Name, len(all), len(near)+1)
	}
}

func TestSecondStartFindsTheMail(t *testing.T) {
	c := startCluster(t, 3, 0)
	before := len(fetchAll(t, login(t, c.Nodes[0].IMAP, c.Accounts[1])))
	if before == 0 {
		t.Fatal("the first start delivered nothing")
	}
	accounts := c.Accounts
	c.stop()
	c.run(c.Bin, 3, 0)
	if got, want := fmt.Sprint(c.Accounts), fmt.Sprint(accounts); got != want {
		t.Errorf("accounts after the second start are %s, want %s", got, want)
	}
	for _, n := range c.Nodes {
		if got := len(fetchAll(t, login(t, n.IMAP, c.Accounts[1]))); got != before {
			t.Errorf("%s shows %d messages after the second start, want %d", n.Name, got, before)
		}
	}
}

func TestNodesAgreeOnTheState(t *testing.T) {
	c := startCluster(t, 3, 0)
	type hash struct {
		Index uint64
		Hash  string
	}
	byIndex := map[uint64]string{}
	agreed := 0
	for range 10 {
		for _, n := range c.Nodes {
			var h hash
			config := filepath.Join(c.dir, n.Name, "node.toml")
			if err := json.Unmarshal([]byte(runTool(t, nil, c.Bin, "admin", "state-hash", "--json", "--config", config)), &h); err != nil {
				t.Fatal(err)
			}
			if other, ok := byIndex[h.Index]; ok {
				agreed++
				if other != h.Hash {
					t.Fatalf("at index %d %s has %s, another node %s", h.Index, n.Name, h.Hash, other)
				}
			}
			byIndex[h.Index] = h.Hash
			runTool(t, nil, c.Bin, "check", "--config", config)
		}
	}
	if agreed == 0 {
		t.Error("no two nodes were asked at the same index")
	}
	cmd := c.at(t, 1)
	all := as[admin.StateHashes](t, cmd.good("", "admin", "state-hash", "--all", "--json"))
	if all.Verdict != admin.HashesAgree || len(all.Nodes) != 3 || all.Nodes[0].StateHash != all.Nodes[2].StateHash || all.Nodes[0].Hash == "" {
		t.Errorf("all nodes at once: %+v", all)
	}
	if text := cmd.good("", "admin", "state-hash", "--all"); !strings.Contains(text, "the same state at index") || !strings.Contains(text, "n3") {
		t.Errorf("the table is\n%s", text)
	}
	c.kill(2)
	cmd.bad(exitTryAgain, "did not answer for one index within 2s", "", "admin", "state-hash", "--all", "--wait", "2s")
}

func TestAccountsAreAdministeredAtAnyNode(t *testing.T) {
	c := startCluster(t, 3, 0)
	at := func(i int) string { return filepath.Join(c.dir, c.Nodes[i].Name, "node.toml") }
	runTool(t, strings.NewReader("secret-one\n"), c.Bin, "account", "add", "chi@example.test", "--name", "Lê Thị Chi", "--config", at(0))
	runTool(t, nil, c.Bin, "alias", "add", "chi.le@example.test", "chi@example.test", "--config", at(1))
	if err := deliver(c.Nodes[2].SMTP, "x@example.net", "chi.le@example.test", []byte("Subject: by alias\r\n\r\nhello\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := deliver(c.Nodes[2].SMTP, "x@example.net", "chi+tag@example.test", []byte("Subject: with detail\r\n\r\nhello\r\n")); err != nil {
		t.Fatal(err)
	}
	runTool(t, strings.NewReader("secret-two\n"), c.Bin, "account", "passwd", "chi@example.test", "--config", at(2))
	user := c.Accounts[0]
	user.Address, user.Password = "chi@example.test", "secret-two"
	if got := len(fetchAll(t, login(t, c.Nodes[1].IMAP, user))); got != 2 {
		t.Errorf("the new account has %d messages, want 2", got)
	}
	if out := runTool(t, nil, c.Bin, "account", "list", "--config", at(1)); !strings.Contains(out, "Lê Thị Chi") {
		t.Errorf("the listing lacks the new account:\n%s", out)
	}
	if err := deliver(c.Nodes[0].SMTP, "x@example.net", "nobody@example.test", []byte("Subject: x\r\n\r\nx\r\n")); err == nil {
		t.Error("mail for an unknown recipient was taken")
	}
	if err := deliver(c.Nodes[0].SMTP, "x@example.net", "someone@elsewhere.test", []byte("Subject: x\r\n\r\nx\r\n")); err == nil {
		t.Error("mail for a remote recipient was taken from a stranger")
	}
	runTool(t, nil, c.Bin, "account", "set", "chi@example.test", "--suspended", "--config", at(0))
	runTool(t, nil, c.Bin, "account", "remove", "chi@example.test", "--yes", "--config", at(0))
}
