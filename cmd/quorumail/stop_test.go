package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rawClient speaks with a server line by line.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dialRaw(t *testing.T, address string) *rawClient {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &rawClient{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// say sends text, unless it is empty, and demands a line that begins with want.
func (k *rawClient) say(text, want string) {
	k.t.Helper()
	if text != "" {
		k.send(text)
	}
	line, err := k.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		k.t.Fatalf("after %q: %q, %v; want %s", text, line, err, want)
	}
}

func (k *rawClient) send(text string) {
	k.t.Helper()
	if _, err := io.WriteString(k.conn, text); err != nil {
		k.t.Fatal(err)
	}
}

func (k *rawClient) ended() {
	k.t.Helper()
	if line, err := k.in.ReadString('\n'); err != io.EOF {
		k.t.Errorf("%q, %v; want the end", line, err)
	}
}

// toData brings an SMTP client to where the message is due.
func toData(t *testing.T, address, to string) *rawClient {
	t.Helper()
	k := dialRaw(t, address)
	k.say("", "220 ")
	k.say("HELO client.example.net\r\n", "250 ")
	k.say("MAIL FROM:<x@example.net>\r\n", "250 ")
	k.say("RCPT TO:<"+to+">\r\n", "250 ")
	k.say("DATA\r\n", "354 ")
	k.send("Subject: begun\r\n\r\nhalf of a message\r\n")
	return k
}

// TestStoppingNodeTellsItsClients is what the sessions of a node hear that is told to stop while it leads: those between commands at once
// that it ends, one in the middle of a message the reply to it, and one that stalls there 421 (RFC 5321 §3.8). New clients are refused.
func TestStoppingNodeTellsItsClients(t *testing.T) {
	c := startCluster(t, 3, 0)
	lead := c.leader()
	n, to := c.Nodes[lead], c.Accounts[0].Address
	idle, idling := dialRaw(t, n.SMTP), dialRaw(t, n.IMAP)
	idle.say("", "220 ")
	idling.say("", "* OK ")
	idling.say(fmt.Sprintf("a LOGIN %s %s\r\n", to, c.Accounts[0].Password), "a OK ")
	idling.say("b IDLE\r\n", "+ ")
	busy, stalled := toData(t, n.SMTP, to), toData(t, n.SMTP, to)

	c.signal(lead, syscall.SIGTERM)
	idle.say("", "421 4.3.2 ")
	idle.ended()
	idling.say("", "* BYE [UNAVAILABLE] ")
	idling.ended()
	if conn, err := net.DialTimeout("tcp", n.SMTP, 5*time.Second); err == nil {
		conn.Close()
		t.Error("a new client is let in")
	}
	if now := c.leader(); now == lead {
		t.Error("the sessions were ended while the node still led")
	}
	res, err := http.Get("http://" + n.Metrics + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz says %s", res.Status)
	}
	busy.say("the other half\r\n.\r\n", "250 ") // through the next leader
	busy.say("", "421 4.3.2 ")
	busy.ended()
	stalled.say("", "421 ")
	stalled.ended()
	c.restart(lead)
	whole, half := 0, 0
	for _, msg := range fetchAll(t, login(t, c.Nodes[lead].IMAP, c.Accounts[0])) {
		switch text := string(msg); {
		case strings.Contains(text, "the other half"):
			whole++
		case strings.Contains(text, "half of a message"):
			half++
		}
	}
	if whole != 1 || half != 0 {
		t.Errorf("%d messages that got 250 and %d that got 421 are there", whole, half)
	}
	c.check()
}
