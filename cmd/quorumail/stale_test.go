package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// statusOf asks node i how it sees the cluster; false when it does not answer.
func (c *devCluster) statusOf(i int) (st admin.Status, ok bool) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, c.Bin, "status", "--json", "--config", c.configOf(i)).Output()
	return st, err == nil && json.Unmarshal(out, &st) == nil
}

func (c *devCluster) configOf(i int) string {
	return filepath.Join(c.dir, c.Nodes[i].Name, "node.toml")
}

// until polls a condition.
func (c *devCluster) until(what string, good func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !good() {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(50 * time.Millisecond) // polls a condition
	}
}

// A leader whose process was paused wakes up and still believes that it leads. A question that reaches it in that moment must not be
// answered from what it knew before: another leader has taken mail meanwhile.
func TestPausedLeaderShowsNothingStale(t *testing.T) {
	c := startCluster(t, 3, 0)
	an := c.Accounts[0]
	for round := range 3 {
		old := c.leader()
		others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == old })
		session := login(t, c.Nodes[old].IMAP, an)
		sel, err := session.Select("INBOX", nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		pid := c.pid(old)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		resume := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
		t.Cleanup(resume)
		c.until("another one leads", func() bool {
			return slices.ContainsFunc(others, func(i int) bool { st, ok := c.statusOf(i); return ok && st.State == "leader" })
		})
		msg := fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: round %d\r\n\r\nwhile you slept\r\n", an.Address, an.Address, round)
		c.until("the new leader takes mail", func() bool {
			return deliver(c.Nodes[others[0]].SMTP, an.Address, an.Address, msg) == nil
		})
		// The command waits in the paused process's socket, so that it is among the first things that it sees.
		pending := session.Select("INBOX", nil)
		resume()
		got, err := pending.Wait()
		c.until("the old leader answers", func() bool {
			if err == nil {
				return true
			}
			got, err = session.Select("INBOX", nil).Wait() // it may say that it cannot know
			return err == nil
		})
		if got.NumMessages <= sel.NumMessages {
			t.Fatalf("round %d: the old leader shows %d messages, as before its pause, after another one was taken", round, got.NumMessages)
		}
		_ = session.Close()
	}
}
