package imapd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
)

// testServer is a server on loopback over a store in memory.
type testServer struct {
	t     *testing.T
	srv   *Server
	store *fakeStore
	addr  string
	stop  func() error // ends Serve and waits for it
}

var testNow = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func startServer(t *testing.T, change func(*Config)) *testServer {
	t.Helper()
	fs := newFakeStore()
	cfg := Config{
		Hostname: "mail.example.test", AllowPlainAuth: true, Store: fs, TLS: testTLS(t), Now: func() time.Time { return testNow },
		Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Auth: AuthFunc(func(_ context.Context, _ netip.Addr, user, password string) (Identity, error) {
			if user != "an@example.test" || password != "secret" {
				return Identity{}, store.ErrDenied
			}
			return Identity{Account: fakeAccount, Address: user}, nil
		}),
	}
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
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	ts := &testServer{t: t, srv: srv, store: fs, addr: l.Addr().String()}
	var ended bool
	ts.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("Serve did not return")
		}
	}
	t.Cleanup(func() {
		if err := ts.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ts
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.example.test"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// client is one side of a dialogue.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (ts *testServer) dial() *client {
	ts.t.Helper()
	conn, err := net.Dial("tcp", ts.addr)
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.t.Cleanup(func() { _ = conn.Close() })
	return &client{ts.t, conn, bufio.NewReader(conn)}
}

// login returns a client that is logged in.
func (ts *testServer) login() *client {
	c := ts.dial()
	c.expect("* OK ...")
	c.send("l LOGIN an@example.test secret")
	c.expect("l OK ...")
	return c
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatalf("send %q: %v", line, err)
	}
}

// line reads a line with the literals in it.
func (c *client) line() (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		s, err := c.r.ReadString('\n')
		if err != nil {
			return out.String() + s, err
		}
		s = strings.TrimSuffix(s, "\r\n")
		out.WriteString(s)
		open := strings.LastIndexByte(s, '{')
		if open < 0 || !strings.HasSuffix(s, "}") {
			return out.String(), nil
		}
		n, err := strconv.Atoi(s[open+1 : len(s)-1])
		if err != nil {
			return out.String(), nil
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return out.String(), err
		}
		out.WriteString(`\r\n` + strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(string(b)))
	}
}

func (c *client) expect(pattern string) string {
	c.t.Helper()
	got, err := c.line()
	if err != nil && !(pattern == "EOF") {
		c.t.Fatalf("want %q, got %q and %v", pattern, got, err)
	}
	if pattern == "EOF" {
		if err == nil {
			c.t.Fatalf("want the end of the connection, got %q", got)
		}
		return ""
	}
	if !like(pattern, got) {
		c.t.Fatalf("\nwant %s\ngot  %s", pattern, got)
	}
	return got
}

// do sends a command and returns the lines of its answer, the tagged one last.
func (c *client) do(line string) []string {
	c.t.Helper()
	tag, _, _ := strings.Cut(line, " ")
	c.send(line)
	return c.until(tag)
}

func (c *client) until(tag string) (lines []string) {
	c.t.Helper()
	for {
		got, err := c.line()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", tag, err)
		}
		lines = append(lines, got)
		if strings.HasPrefix(got, tag+" ") {
			return lines
		}
	}
}

func (c *client) ok(line string) []string {
	c.t.Helper()
	lines := c.do(line)
	tag, _, _ := strings.Cut(line, " ")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, tag+" OK") {
		c.t.Fatalf("%s: %s", line, last)
	}
	return lines
}

func (c *client) appendMessage(mailbox, raw string) {
	c.t.Helper()
	c.ok("ap APPEND " + mailbox + " {" + strconv.Itoa(len(raw)) + "+}\r\n" + raw)
}

// like matches a pattern in which "..." stands for any text.
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "...")
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(s, p)
		}
		at := strings.Index(s, p)
		if at < 0 {
			return false
		}
		s = s[at+len(p):]
	}
	return s == ""
}

// TestDialogues plays the scripts of testdata. A line is for the client and direction that its prefix names: "C: " sends a line, "S: "
// expects one, in which "..." stands for any text and literals follow their header behind "\r\n"; "C2: " and "S2: " are those of a second
// client; "S: EOF" expects the end. "-- login" logs the next client in. Other lines are comments.
func TestDialogues(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			play(t, string(script))
		})
	}
}

func play(t *testing.T, script string) {
	ts := startServer(t, nil)
	clients := map[string]*client{}
	for n, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		prefix, text, found := strings.Cut(line, ": ")
		if line == "-- login" {
			clients[""] = ts.login()
			continue
		}
		if line == "-- login 2" {
			clients["2"] = ts.login()
			continue
		}
		if !found || len(prefix) > 2 || !strings.HasPrefix(prefix, "C") && !strings.HasPrefix(prefix, "S") {
			continue
		}
		c := clients[prefix[1:]]
		if c == nil {
			c = ts.dial()
			clients[prefix[1:]] = c
		}
		if prefix[0] == 'C' {
			c.send(text)
			continue
		}
		got, err := c.line()
		switch {
		case text == "EOF" && err != nil:
		case err != nil:
			t.Fatalf("line %d: want %q, got %q and %v", n+1, text, got, err)
		case !like(text, got):
			t.Fatalf("line %d:\nwant %s\ngot  %s", n+1, text, got)
		}
	}
}
