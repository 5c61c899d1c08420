package smtpd

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// challenge is what a 334 reply holds.
func (c *client) challenge() string {
	c.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(strings.TrimPrefix(c.expect("334*"), "334")))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// scram logs in (RFC 5802 §3), up to the last response, and returns the reply's pattern that the proof has to meet. header is GS2's, binding the
// channel's.
func (c *client) scram(mechanism, header, binding, user, password, pattern string) {
	c.t.Helper()
	bare := "n=" + user + ",r=fyko+d2lbbFgONRv9qkxdawL"
	c.send("AUTH " + mechanism + " " + b64(header+bare) + "\r\n")
	first := c.challenge()
	fields := strings.Split(first, ",")
	salt, err := base64.StdEncoding.DecodeString(fields[1][2:])
	if err != nil {
		c.t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, sasl.MinSCRAMIterations, sha256.Size)
	if err != nil {
		c.t.Fatal(err)
	}
	sum := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	proof := sum(salted, "Client Key")
	stored := sha256.Sum256(proof)
	without := "c=" + b64(header+binding) + "," + fields[0]
	message := bare + "," + first + "," + without
	for i, x := range sum(stored[:], message) {
		proof[i] ^= x
	}
	c.send(b64(without+",p="+base64.StdEncoding.EncodeToString(proof)) + "\r\n")
	if pattern != "334*" {
		c.expect(pattern)
		return
	}
	if got, want := c.challenge(), "v="+base64.StdEncoding.EncodeToString(sum(sum(salted, "Server Key"), message)); got != want {
		c.t.Errorf("the server's proof is %q, want %q", got, want)
	}
}

func TestLoginBySCRAM(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.dial()
	c.expect("220*")
	if got := c.say("EHLO c", "250*"); !strings.Contains(got, "AUTH PLAIN LOGIN SCRAM-SHA-256\r\n") {
		t.Errorf("offered: %q", got)
	}
	c.scram("SCRAM-SHA-256", "n,,", "", "alice@example.test", "secret", "334*")
	c.say("MAIL FROM:<alice@example.test>", "501*") // the client has not taken the server's proof yet
	_ = c.c.Close()

	c = r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.say("AUTH SCRAM-SHA-256-PLUS", "504*")
	c.scram("SCRAM-SHA-256", "n,,", "", "alice@example.test", "wrong", "535*")
	c.scram("SCRAM-SHA-256", "n,,", "", "nobody@example.test", "secret", "535*")
	c.say("MAIL FROM:<alice@example.test>", "530*")
	c.scram("SCRAM-SHA-256", "y,,", "", "alice@example.test", "secret", "334*")
	c.say("", "235*")
	c.say("MAIL FROM:<alice@example.test>", "250*")
}

// The client may find the server wanting, and say so.
func TestLoginBySCRAMThatTheClientGivesUp(t *testing.T) {
	c := start(t, Submission, nil).dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.scram("SCRAM-SHA-256", "n,,", "", "alice@example.test", "secret", "334*")
	c.say("*", "501*")
	c.say("MAIL FROM:<alice@example.test>", "530*")
	c.say("AUTH SCRAM-SHA-256 "+b64("rubbish"), "501*")
	c.say("AUTH SCRAM-SHA-256", "334*")
	c.say(b64("n,,n=alice@example.test,r=x"), "334*")
	c.say(b64("rubbish"), "501*")
}

// RFC 9266: a login that is bound to the connection is good in no other.
func TestLoginIsBoundToTheChannel(t *testing.T) {
	r := start(t, Submission, func(c *Config) { c.AllowPlainAuth = false })
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	c.startTLS()
	if got := c.say("EHLO c", "250*"); !strings.Contains(got, "AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n") {
		t.Errorf("offered: %q", got)
	}
	state := c.c.(*tls.Conn).ConnectionState()
	binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	c.scram("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", strings.Repeat("x", 32), "alice@example.test", "secret", "501*")
	c.say("AUTH SCRAM-SHA-256 "+b64("y,,n=alice@example.test,r=x"), "501*") // the offer was taken away on its way
	c.scram("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", string(binding), "alice@example.test", "secret", "334*")
	c.say("", "235*")
	c.say("MAIL FROM:<alice@example.test>", "250*")
}

func TestLoginBySCRAMWhileNotReady(t *testing.T) {
	r := start(t, Submission, nil)
	c := r.dial()
	c.expect("220*")
	c.say("EHLO c", "250*")
	r.store.setReady(store.ErrUnavailable)
	c.say("AUTH SCRAM-SHA-256 "+b64("n,,n=alice@example.test,r=x"), "454 4.7.0*")
}

// msmtp takes the strongest that is offered.
func TestMsmtpDelivers(t *testing.T) {
	if _, err := exec.LookPath("msmtp"); err != nil {
		t.Skip("msmtp is not there")
	}
	for _, mechanism := range []string{"on", "plain", "login", "scram-sha-256"} {
		r := start(t, Submission, func(c *Config) { c.AllowPlainAuth = false })
		host, port, _ := net.SplitHostPort(r.addr)
		cmd := exec.Command("msmtp", "--file=/dev/null", "--host="+host, "--port="+port, "--tls=on", "--tls-starttls=on", "--tls-certcheck=off", "--auth="+mechanism,
			"--user=alice@example.test", "--passwordeval=echo secret", "--from=alice@example.test", "--", "bob@example.test", "x@elsewhere.example")
		cmd.Stdin = strings.NewReader("From: alice@example.test\nSubject: x\n\n.dot\nend\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(out), "not support") {
				t.Logf("%s: %s", mechanism, out)
				continue
			}
			t.Fatalf("%s: %v: %s", mechanism, err, out)
		}
		if m := r.one(); len(m.msg.Targets) != 1 || len(m.msg.Queued) != 1 || !strings.HasSuffix(string(m.raw), "\r\n\r\n.dot\r\nend\r\n") {
			t.Errorf("%s: stored %q for %v, %v", mechanism, m.raw, m.msg.Targets, m.msg.Queued)
		}
	}
}
