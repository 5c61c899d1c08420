package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"regexp"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/dev"
)

var queueIDIn250 = regexp.MustCompile(`^2\.6\.0 ([0-9a-z]{16}) `)

// sendOnce sends one message by port 25 and returns the queue id of its 250. An error leaves it open whether the message was taken, unless it is
// one of the protocol. sent is called when the whole message is on its way.
func sendOnce(n dev.Node, to []string, message string, sent func()) (queueID string, err error) {
	c, err := textproto.Dial("tcp", n.SMTP)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return "", err
	}
	lines := []string{"EHLO client.example.net", "MAIL FROM:<x@example.net>"}
	for _, r := range to {
		lines = append(lines, "RCPT TO:<"+r+">")
	}
	for _, line := range lines {
		if err := c.PrintfLine("%s", line); err != nil {
			return "", err
		}
		if _, _, err := c.ReadResponse(2); err != nil {
			return "", err
		}
	}
	if err := c.PrintfLine("DATA"); err != nil {
		return "", err
	}
	if _, _, err := c.ReadResponse(354); err != nil {
		return "", err
	}
	if err := c.PrintfLine("%s\r\n.", message); err != nil {
		return "", err
	}
	sent()
	_, text, err := c.ReadResponse(250)
	if err != nil {
		return "", err
	}
	m := queueIDIn250.FindStringSubmatch(text)
	if m == nil {
		return "", errors.New("no queue id in " + text)
	}
	return m[1], nil
}

// TestMessageSentAgainAfterItsNodeDiedIsThereOnce: a client whose node is killed while it waits for the 250 sends the same message again to
// another node, with one recipient more, until it has a 250. Each recipient has exactly one copy then, whatever became of the first try.
func TestMessageSentAgainAfterItsNodeDiedIsThereOnce(t *testing.T) {
	rounds := 6
	if soak() {
		rounds = 100
	}
	seed := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 7))
	c := startCluster(t, 3, 2)
	an, binh := c.Accounts[0], c.Accounts[1]
	unknown, known := 0, 0
	for i := range rounds {
		victim := r.IntN(3)
		other := (victim + 1 + r.IntN(2)) % 3
		message := fmt.Sprintf("From: x@example.net\r\nMessage-ID: <again%d@example.net>\r\n\r\nsent again", i)
		delay := time.Duration(r.IntN(8000)) * time.Microsecond // about what a 250 takes
		first, err := sendOnce(c.Nodes[victim], []string{an.Address}, message, func() {
			time.Sleep(delay) // what is tested is the moment of the kill
			c.kill(victim)
		})
		switch {
		case err == nil:
			known++
		default:
			unknown++
		}
		var again string
		await(t, "a 250 for the second try", func() bool {
			again, err = sendOnce(c.Nodes[other], []string{an.Address, binh.Address}, message, func() {})
			return err == nil
		})
		if first != "" && again != first {
			t.Errorf("round %d: the message was taken as %s, and the second time as %s", i, first, again)
		}
		if third, err := sendOnce(c.Nodes[other], []string{binh.Address}, message, func() {}); err != nil || third != again {
			t.Errorf("round %d: the third time it is taken as %s (%v), want %s", i, third, err, again)
		}
		c.restart(victim)
		c.until("the killed node serves again", func() bool { st, ok := c.statusOf(victim); return ok && st.Ready })
	}
	t.Logf("%d first tries had no answer, %d had one", unknown, known)
	for _, a := range []dev.Account{an, binh} {
		for n := range c.Nodes {
			got := inbox(t, c.Nodes[n], a)
			for i := range rounds {
				if copies := countOf(got, fmt.Sprintf("<again%d@example.net>", i)); copies != 1 {
					t.Errorf("%s shows %d copies of message %d at %s", a.Address, copies, i, c.Nodes[n].Name)
				}
			}
		}
	}
}
