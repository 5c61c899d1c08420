package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
)

// configure adds lines to the configuration of every node, and starts each again with them.
func (c *devCluster) configure(lines string) {
	c.t.Helper()
	for i := range c.Nodes {
		raw, err := os.ReadFile(c.configOf(i))
		if err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(c.configOf(i), append(raw, lines...), 0o600); err != nil {
			c.t.Fatal(err)
		}
		c.kill(i)
		c.restart(i)
	}
}

func (c *devCluster) logOf(i int) string {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, c.Nodes[i].Name, "log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// A node that was away for longer than the logs of the others reach back takes a checkpoint when it comes back, brings the bodies of all
// messages, short and long ones, and shows them as they were sent.
func TestNodeThatWasAwayTakesACheckpoint(t *testing.T) {
	c := startCluster(t, 3, 1)
	c.configure("\n[raft]\nsnapshot_entries = 16\n")
	rng := rand.New(rand.NewPCG(seedOf(t), 0))
	user := c.Accounts[2]
	sent := map[string][32]byte{}
	send := func(count int, nodes ...int) {
		for i := range count {
			id := fmt.Sprintf("<away-%d@example.net>", len(sent))
			msg := append([]byte("X-Id: "+id+"\r\n"), generated(rng, i)...)
			if i%5 == 0 {
				msg = append(msg, bytes.Repeat(generated(rng, i), 200)...)
			}
			to := c.Nodes[nodes[i%len(nodes)]].SMTP
			c.until("a message is taken", func() bool {
				err := deliver(to, "sender@example.net", user.Address, msg)
				if err != nil && !strings.Contains(err.Error(), "421") && !strings.Contains(err.Error(), "451") {
					t.Fatalf("deliver %s: %v", id, err)
				}
				return err == nil
			})
			sent[id] = sha256.Sum256(msg)
		}
	}
	send(20, 0, 1, 2)
	leader := c.leader()
	away, others := (leader+1)%3, []int{leader, (leader + 2) % 3}
	const taken = "a checkpoint of the leader replaced the state"
	if strings.Contains(c.logOf(away), taken) {
		t.Fatal("the node took a checkpoint before it was away")
	}
	c.kill(away)
	send(300, others...)
	c.restart(away)
	c.until("the node that was away takes a checkpoint", func() bool { return strings.Contains(c.logOf(away), taken) })
	for i := range c.Nodes {
		shown := map[string]int{}
		c.until(fmt.Sprintf("%s shows everything", c.Nodes[i].Name), func() bool {
			clear(shown)
			eachMessage(t, c.Nodes[i].IMAP, user, func(uid imap.UID, msg []byte) {
				body := belowTrace(msg, "X-Id: ")
				id := headerValue(body, "X-Id")
				shown[id]++
				if sha256.Sum256(body) != sent[id] {
					t.Errorf("%s shows UID %d otherwise than it was sent", c.Nodes[i].Name, uid)
				}
			})
			return len(shown) == len(sent) || t.Failed()
		})
		for id := range sent {
			if shown[id] != 1 {
				t.Errorf("%s shows %s %d times", c.Nodes[i].Name, id, shown[id])
			}
		}
	}
	c.until("it holds every body itself", func() bool { st, ok := c.statusOf(away); return ok && st.Ready && st.Missing == 0 })
	c.check()
}
