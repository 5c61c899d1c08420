package smtpd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
)

// rig is a server on loopback with its fakes.
type rig struct {
	t     *testing.T
	addr  string
	store *fakeStore
	dir   *fakeDirectory
	stop  context.CancelFunc
	done  chan error
	srv   *Server
}

func start(t *testing.T, mode Mode, change func(*Config)) *rig {
	t.Helper()
	return startOn(t, mode, func(l net.Listener) net.Listener { return l }, change)
}

// startOn is start with a listener that is wrapped.
func startOn(t *testing.T, mode Mode, wrap func(net.Listener) net.Listener, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, store: &fakeStore{codes: map[uint64]uint32{}}, dir: &fakeDirectory{full: map[store.AccountID]bool{3: true}}, done: make(chan error, 1)}
	cfg := Config{Mode: mode, Hostname: "mx.example.test", Node: "n1", TLS: serverTLS(t), AllowPlainAuth: true, Store: r.store, Resolver: r.dir, Auth: r.dir,
		NewSummarizer: func() Summarizer { return &fakeSummary{} },
		Now:           func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)) }}
	if change != nil {
		change(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.srv, r.addr, r.stop = srv, l.Addr().String(), cancel
	go func() { r.done <- srv.Serve(ctx, wrap(l)) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
			close(r.done)
		case <-time.After(20 * time.Second):
			t.Error("Serve does not end")
		}
	})
	return r
}

// admitted waits until so many connections are open.
func (r *rig) admitted(n int) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(r.srv.open()) != n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d connections are open, want %d", len(r.srv.open()), n)
		}
		<-time.After(time.Millisecond)
	}
}

// client is a plain connection to a rig.
type client struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{t: r.t, c: c, r: bufio.NewReader(c)}
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := c.c.Write([]byte(raw)); err != nil {
		c.t.Fatalf("send %.40q: %v", raw, err)
	}
}

// expect reads one reply, of one or several lines, whose last line must match the pattern of package path.
func (c *client) expect(pattern string) string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("waiting for %q: %v (got %q)", pattern, err, all.String()+line)
		}
		all.WriteString(line)
		line = strings.TrimRight(line, "\r\n")
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !match(pattern, line) {
			c.t.Fatalf("got %q, want %q", line, pattern)
		}
		return all.String()
	}
}

func (c *client) say(command, pattern string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.expect(pattern)
}

// closed waits until the server has closed the connection, and says what it sent before.
func (c *client) closed() string {
	c.t.Helper()
	return string(mustAll(c.t, c.r))
}

func (c *client) startTLS() {
	c.t.Helper()
	c.say("STARTTLS", "220*")
	conn := tls.Client(c.c, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.c, c.r = conn, bufio.NewReader(conn)
}

func match(pattern, line string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "|"), strings.ReplaceAll(line, "/", "|"))
	return err == nil && ok
}

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.test"}, DNSNames: []string{"mx.example.test"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestDialogues plays testdata/*.txt: "C: line" is sent with CRLF (\r, \n, \0 and \\ as escapes; a final \ keeps the CRLF away), "S: pattern"
// must match the next reply's last line, "X:" means that the server closes, "N: 2" that so many messages are stored by then.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, file)
		})
	}
}

var modes = map[string]Mode{"mx": MX, "submission": Submission, "lmtp": LMTP}

func play(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r *rig
	var c *client
	unescape := strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\\`, `\`)
	for i, line := range strings.Split(string(raw), "\n") {
		kind, rest, _ := strings.Cut(line, ": ")
		switch strings.TrimSuffix(kind, ":") {
		case "", "#":
		case "mode":
			r = start(t, modes[rest], func(c *Config) { c.Limits.MessageBytes = 20000 })
			c = r.dial()
		case "C":
			end := "\r\n"
			if cut, ok := strings.CutSuffix(rest, `\`); ok {
				rest, end = cut, ""
			}
			c.send(unescape.Replace(rest) + end)
		case "L": // a long line
			c.send(strings.Repeat("x", 30000) + "\r\n")
		case "S":
			if got := c.expect("*"); !match(rest, lastLine(got)) {
				t.Fatalf("%s:%d: got %q, want %q", file, i+1, got, rest)
			}
		case "E": // a capability in the reply to EHLO
			if got := c.say("EHLO client.example", "250*"); !regexp.MustCompile(rest).MatchString(got) {
				t.Fatalf("%s:%d: %q lacks %q", file, i+1, got, rest)
			}
		case "X":
			if got := c.closed(); got != "" {
				t.Fatalf("%s:%d: the server says %q", file, i+1, got)
			}
		case "new":
			c = r.dial()
		case "N":
			if got := len(r.store.stored()); rest != string(rune('0'+got)) {
				t.Fatalf("%s:%d: %d messages stored, want %s", file, i+1, got, rest)
			}
		default:
			if !strings.HasPrefix(line, "#") {
				t.Fatalf("%s:%d: %q", file, i+1, line)
			}
		}
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\r\n")
	return lines[len(lines)-1]
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }
