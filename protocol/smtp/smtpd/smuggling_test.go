package smtpd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// ends are what somebody may take for the end of a message.
var ends = map[string]string{
	"LF . LF":       "\n.\n",
	"LF . CRLF":     "\n.\r\n",
	"CR . CR":       "\r.\r",
	"CR . LF":       "\r.\n",
	"CR . CRLF":     "\r.\r\n",
	"CRLF . LF":     "\r\n.\n",
	"CRLF . CR":     "\r\n.\r",
	"LF . CR":       "\n.\r",
	"CR LF NUL":     "\r\n\x00.\r\n",
	"CRLF . NUL":    "\r\n.\x00\r\n",
	"CRLF NUL":      "\r\n.\r\x00\n",
	"CR CRLF .":     "\r\r\n.\r\r\n",
	"CRCRLF . CRLF": "\r\r\n.\n",
	"double LF":     "\n\n.\n\n",
}

const smuggled = "MAIL FROM:<evil@remote.example>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"

// What a stranger hides behind such an end is neither a command nor a message, nor does it go on to anyone who might take it for one. A client
// that is trusted has its line ends repaired: it is one message, with CRLF and stuffed dots only.
func TestNothingIsSmuggled(t *testing.T) {
	for name, end := range ends {
		for _, mode := range []string{"stranger", "trusted", "LMTP"} {
			for _, by := range []string{"DATA", "BDAT", "BDAT in pieces"} {
				t.Run(name+" "+mode+" "+by, func(t *testing.T) {
					r, c := smuggler(t, mode)
					message := "Subject: x\r\n\r\nbody" + end + smuggled + "\r\n"
					c.deliver(by, message)
					if mode == "stranger" {
						c.expect("550 5.6.0*")
						c.say("NOOP", "250*")
						if n := len(r.store.stored()); n != 0 {
							t.Errorf("%d messages are stored", n)
						}
						return
					}
					c.expect("250 2.6.0*")
					c.say("NOOP", "250*")
					clean(t, r.one())
				})
			}
		}
	}
}

func smuggler(t *testing.T, mode string) (*rig, *client) {
	t.Helper()
	if mode == "LMTP" {
		r := start(t, LMTP, nil)
		c := r.dial()
		c.expect("220*")
		c.say("LHLO c", "250*")
		c.mail("alice@example.test")
		return r, c
	}
	r := start(t, MX, func(c *Config) {
		if mode == "trusted" {
			loopbackTrusted(c)
		}
	})
	c := r.dial()
	c.begin("alice@example.test")
	return r, c
}

// deliver sends a message, dots unstuffed, by DATA or BDAT.
func (c *client) deliver(by, message string) {
	c.t.Helper()
	switch by {
	case "DATA":
		c.say("DATA", "354*")
		c.send(strings.ReplaceAll(message, "\r\n.", "\r\n..") + ".\r\n")
	case "BDAT":
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message))
	default:
		half := len("Subject: x\r") // what comes before the trick
		c.send(fmt.Sprintf("BDAT %d\r\n%s", half, message[:half]))
		c.expect("250*")
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(message)-half, message[half:]))
	}
}

// clean is a message that no reader takes for two.
func clean(t *testing.T, m fakeMessage) {
	t.Helper()
	if bytes.ContainsAny(bytes.ReplaceAll(m.raw, []byte("\r\n"), nil), "\r\n\x00") {
		t.Errorf("stored: %q", m.raw)
	}
	if len(m.msg.Targets) != 1 || m.msg.Targets[0].Account != 1 {
		t.Errorf("it goes to %v", m.msg.Targets)
	}
	if !bytes.Contains(m.raw, []byte("MAIL FROM:<evil@remote.example>\r\n")) {
		t.Errorf("the rest is lost: %q", m.raw)
	}
}

// CRLF . CRLF is the end, wherever the packets were cut.
func TestEndIsSeenAcrossPackets(t *testing.T) {
	r := start(t, MX, nil)
	message := plainMessage + "..dots\r\n..\r\n.\r\n"
	for cut := 1; cut < len(message); cut++ {
		c := r.dial()
		c.begin("alice@example.test")
		c.say("DATA", "354*")
		c.send(message[:cut])
		c.send(message[cut:])
		c.expect("250 2.6.0*")
	}
	for _, m := range r.store.stored() {
		if !bytes.HasSuffix(m.raw, []byte(plainMessage+".dots\r\n.\r\n")) {
			t.Fatalf("stored %q", m.raw)
		}
	}
}

// Commands that come with the body are commands only behind its true end.
func TestPipelinedBehindTheBody(t *testing.T) {
	r := start(t, MX, nil)
	c := r.dial()
	c.begin("alice@example.test")
	c.send("DATA\r\n" + plainMessage + "..\r\n.\r\nMAIL FROM:<y@remote.example>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n" + plainMessage + ".\r\nQUIT\r\n")
	for _, want := range []string{"354*", "250 2.6.0*", "250 2.1.0*", "250 2.1.5*", "354*", "250 2.6.0*", "221*"} {
		c.expect(want)
	}
	if n := len(r.store.stored()); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// RFC 3207 §6: what came before the handshake counts for nothing, by whatever way it came, and what the client thinks it said under TLS is not
// carried out.
func TestSTARTTLSInjection(t *testing.T) {
	for name, said := range map[string]string{
		"a command":            "STARTTLS\r\nRSET\r\n",
		"a transaction":        "STARTTLS\r\nMAIL FROM:<evil@remote.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n" + plainMessage + ".\r\n",
		"half a command":       "STARTTLS\r\nMAIL FROM:<evil@rem",
		"twice":                "STARTTLS\r\nSTARTTLS\r\n",
		"behind a pipelined":   "NOOP\r\nSTARTTLS\r\nNOOP\r\n",
		"within lower case":    "starttls\r\nNOOP\r\n",
		"trailing white space": "STARTTLS \r\nNOOP\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, MX, nil)
			c := r.dial()
			c.expect("220*")
			c.say("EHLO c", "250*")
			c.send(said)
			if strings.HasPrefix(said, "NOOP") {
				c.expect("250*")
			}
			c.expect("503 5.5.1*")
			if rest := c.closed(); rest != "" {
				t.Errorf("the server goes on: %q", rest)
			}
			if n := len(r.store.stored()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}
