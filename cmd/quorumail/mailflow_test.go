package main

import (
	"fmt"
	"net/smtp"
	"os/exec"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/quorumail/quorumail/ops/dev"
)

// submit sends a message by a node's submission port, as its author.
func submit(n dev.Node, a dev.Account, to []string, message string) error {
	c, err := smtp.Dial(n.Submission)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(plainAuth{a}); err != nil {
		return err
	}
	if err := c.Mail(a.Address); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(strings.ReplaceAll(message, "\n", "\r\n"))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// plainAuth is AUTH PLAIN without TLS, which the nodes of a trial cluster take from this machine.
type plainAuth struct{ a dev.Account }

func (p plainAuth) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "PLAIN", []byte("\x00" + p.a.Address + "\x00" + p.a.Password), nil
}

func (plainAuth) Next([]byte, bool) ([]byte, error) { return nil, nil }

// inbox is what an account's INBOX shows at a node.
func inbox(t *testing.T, n dev.Node, a dev.Account) (messages []string) {
	t.Helper()
	eachMessage(t, n.IMAP, a, func(_ imap.UID, raw []byte) { messages = append(messages, string(raw)) })
	return messages
}

func countOf(messages []string, what string) (n int) {
	for _, m := range messages {
		if strings.Contains(m, what) {
			n++
		}
	}
	return n
}

// TestMailLeavesAndComesBack follows messages out to another site: delivered, refused with a notice to the sender, and passed on by an alias.
func TestMailLeavesAndComesBack(t *testing.T) {
	s := newSink(t)
	c := startClusterWith(t, 3, 2, elsewhere(t, s, "elsewhere.test"))
	an := c.Accounts[0]
	message := func(id string) string {
		return fmt.Sprintf("From: %s\nTo: them\nSubject: Chào bạn %s\nMessage-ID: <%s@example.test>\n\nHello.\n", an.Address, id, id)
	}
	if err := submit(c.Nodes[0], an, []string{"ok@elsewhere.test", c.Accounts[1].Address}, message("m1")); err != nil {
		t.Fatal(err)
	}
	await(t, "the message at the other site", func() bool { return s.copies("ok@elsewhere.test", "<m1@example.test>") == 1 })
	if got := countOf(inbox(t, c.Nodes[2], c.Accounts[1]), "m1@example.test"); got != 1 {
		t.Errorf("the local recipient has %d copies", got)
	}
	if err := submit(c.Nodes[1], an, []string{"refuse.me@elsewhere.test"}, message("m2")); err != nil {
		t.Fatal(err)
	}
	await(t, "the notice that it was refused", func() bool { return countOf(inbox(t, c.Nodes[2], an), "no such user here") == 1 })
	for _, m := range inbox(t, c.Nodes[0], an) {
		if strings.Contains(m, "no such user here") && (!strings.Contains(m, "refuse.me@elsewhere.test") || !strings.Contains(m, "multipart/report") || !strings.Contains(m, "Status: 5.1.1")) {
			t.Errorf("the notice says too little:\n%s", m)
		}
	}
	for _, a := range s.all() {
		if strings.Contains(a.raw, "Return-Path:") {
			t.Errorf("Return-Path left this site:\n%s", a.raw)
		}
	}
}

// TestAnotherNodeDeliversForADeadOne: what a node took and could not deliver yet is delivered by the others when it dies.
func TestAnotherNodeDeliversForADeadOne(t *testing.T) {
	s := newSink(t)
	c := startClusterWith(t, 3, 1, elsewhere(t, s, "elsewhere.test", "slow.test"))
	an := c.Accounts[0]
	s.setBusy("slow.test", true)
	const messages = 20
	for i := range messages {
		m := fmt.Sprintf("From: %s\nMessage-ID: <m%d@example.test>\n\nHello.\n", an.Address, i)
		if err := submit(c.Nodes[0], an, []string{fmt.Sprintf("r%d@slow.test", i)}, m); err != nil {
			t.Fatal(err)
		}
	}
	c.kill(0)
	s.setBusy("slow.test", false)
	await(t, "the others to be told to try at once", func() bool {
		return exec.Command(c.Bin, "queue", "flush", "--yes", "--config", c.configOf(1)).Run() == nil
	})
	await(t, "the messages of the dead node", func() bool { return len(s.all()) >= messages })
	for i := range messages {
		if n := s.copies(fmt.Sprintf("r%d@slow.test", i), fmt.Sprintf("<m%d@example.test>", i)); n != 1 {
			t.Errorf("message %d came %d times", i, n)
		}
	}
}
