package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// A story is one delivery to servers that follow a script. In testdata:
//
//	story: what happens
//	tls: may                     a setting, see (*story).set
//	host:                        a host of the route; what follows is its first connection
//	S: 220 hello                 the server says; "\" at the end: without a line end; "\r\n" within is one
//	C: EHLO client.example       the client must say; "*" at the end stands for anything
//	TLS                          handshake
//	CLOSE                        the server closes the connection; at the end of a script it waits for QUIT or the end of the connection
//	HANG                         the server says nothing until the client closes
//	again:                       the next connection to the same host
//	result: delivered 250 2.0.0  for each recipient: status, code, enhanced code, flags, text; "*" as above
type story struct {
	name     string
	settings map[string]string
	hosts    [][][]string // host, connection, lines
	results  []string
}

func readStories(t *testing.T, path string) []*story {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []*story
	var s *story
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimRight(line, "\n")
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case key == "story":
			s = &story{name: value, settings: map[string]string{}}
			all = append(all, s)
		case key == "host":
			s.hosts = append(s.hosts, nil)
		case key == "again":
			last := len(s.hosts) - 1
			s.hosts[last] = append(s.hosts[last], nil)
		case key == "result":
			s.results = append(s.results, value)
		case len(s.hosts) == 0:
			s.settings[key] = value
		default:
			s.add(line)
		}
	}
	return all
}

// add puts a line into the connection that is being told. A host without lines is not to be spoken to.
func (s *story) add(line string) {
	host := &s.hosts[len(s.hosts)-1]
	if len(*host) == 0 {
		*host = append(*host, nil)
	}
	last := &(*host)[len(*host)-1]
	*last = append(*last, line)
}

func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range files {
		for _, s := range readStories(t, path) {
			t.Run(filepath.Base(path)+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t)
			})
		}
	}
}

func (s *story) run(t *testing.T) {
	cfg := Config{Hostname: "client.example", RootCAs: testCA.pool}
	route := Route{Key: "story", MXDomain: "example.test"}
	msg := Message{ID: "m1", From: address(t, "s@client.example")}
	raw := "Return-Path: <s@client.example>\r\nSubject: s\r\n\r\nhi\r\n"
	rcpts := []Recipient{{Address: address(t, "r@example.test")}}
	host := Host{Authentic: true}
	for key, value := range s.settings {
		switch key {
		case "to":
			rcpts = nil
			for _, one := range strings.Fields(value) {
				rcpts = append(rcpts, Recipient{Address: address(t, one)})
			}
		case "from":
			msg.From = address(t, value)
		case "body":
			raw = unquote(t, value)
		case "tls":
			route.TLS = map[string]TLSPolicy{"none": TLSNone, "may": TLSMay, "encrypt": TLSEncrypt, "verify": TLSVerify, "implicit": TLSImplicit}[value]
		case "login":
			route.Username, route.Password, _ = strings.Cut(value, " ")
		case "utf8":
			msg.UTF8 = true
		case "smarthost":
			route.Smarthost = true
		case "requiretls":
			msg.RequireTLS = true
		case "doubtful":
			host.Authentic = false
		case "untrusted":
			host.VerifyPeer = func(tls.ConnectionState) error { return errors.New(value) }
		case "pinned":
			host.VerifyPeer = func(tls.ConnectionState) error { return nil }
		case "dsn": // RET ENVID, and for each recipient NOTIFY,ORCPT
			words := strings.Fields(value)
			msg.Ret, msg.EnvID = words[0], words[1]
		case "timeout":
			short(t, &cfg.Timeouts, value)
		case "recipients":
			cfg.Limits.Recipients, _ = strconv.Atoi(value)
		case "transactions":
			cfg.Limits.Transactions, _ = strconv.Atoi(value)
		case "idle":
			cfg.Limits.IdleConnections, _ = strconv.Atoi(value)
		case "notify", "orcpt", "name", "deliveries":
		default:
			t.Fatalf("unknown setting %q", key)
		}
	}
	for i := range rcpts {
		rcpts[i].ORCPT = s.settings["orcpt"]
		rcpts[i].Notify = map[string]Notify{"": 0, "never": NotifyNever, "all": NotifySuccess | NotifyFailure | NotifyDelay}[s.settings["notify"]]
	}
	msg.Open = opens(raw)
	for i, conns := range s.hosts {
		host.Name = fmt.Sprintf("mx%d.example.test", i+1)
		if name := s.settings["name"]; name != "" {
			host.Name = name
		}
		host.Addrs = []netip.AddrPort{startPeer(t, conns)}
		route.Hosts = append(route.Hosts, host)
	}
	c := newClient(t, cfg)
	deliveries, _ := strconv.Atoi(s.settings["deliveries"])
	var results []Result
	for range max(1, deliveries) {
		results = append(results, c.Deliver(context.Background(), route, msg, rcpts)...)
	}
	if len(results) != len(s.results) {
		t.Fatalf("%d results, want %d", len(results), len(s.results))
	}
	for i, r := range results {
		if got := shownResult(r); !matches(s.results[i], got) {
			t.Errorf("recipient %d:\n got %s\nwant %s", i, got, s.results[i])
		}
	}
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func short(t *testing.T, times *Timeouts, value string) {
	d, err := time.ParseDuration(value)
	if err != nil {
		t.Fatal(err)
	}
	*times = Timeouts{Handshake: d, Greeting: d, Mail: d, Rcpt: d, DataStart: d, DataBlock: d, DataEnd: d, Quit: d}
}

func address(t *testing.T, s string) smtp.Address {
	t.Helper()
	if s == "<>" {
		return smtp.Address{}
	}
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func opens(raw string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(raw)), nil }
}

func unquote(t *testing.T, s string) string {
	t.Helper()
	u, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func shownResult(r Result) string {
	words := []string{r.Status.String(), strconv.Itoa(r.Code), r.Enhanced}
	for _, flag := range []struct {
		on   bool
		word string
	}{{r.Local, "local"}, {r.DSNRelayed, "dsn"}, {r.Unknown, "unknown"}, {r.Unreachable, "unreachable"}, {r.TLS != "", "encrypted"}} {
		if flag.on {
			words = append(words, flag.word)
		}
	}
	return strings.Join(append(words, r.Text), " ")
}

func matches(pattern, s string) bool {
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, start)
	}
	return s == pattern
}

// startPeer listens for connections that follow scripts, in order. Deviations fail the test; so do connections that do not come.
func startPeer(t *testing.T, scripts [][]string) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	played := 0
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if played == len(scripts) {
				t.Error("a connection too many")
				conn.Close()
				continue
			}
			(&peer{t: t, conn: conn, br: bufio.NewReader(conn)}).play(scripts[played])
			played++
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		if played != len(scripts) {
			t.Errorf("%d of %d connections came", played, len(scripts))
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

type peer struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

func (p *peer) play(script []string) {
	defer func() { p.conn.Close() }()
	p.conn.SetDeadline(time.Now().Add(20 * time.Second))
	for _, line := range script {
		kind, text, _ := strings.Cut(line, ":")
		text = strings.TrimPrefix(text, " ")
		switch kind {
		case "S":
			p.say(text)
		case "C":
			if !p.expect(text) {
				return
			}
		case "TLS":
			conn := tls.Server(p.conn, &tls.Config{Certificates: []tls.Certificate{testCA.cert}})
			p.conn, p.br = conn, bufio.NewReader(conn)
			if err := conn.Handshake(); err != nil {
				return // the client's judgement is what the story is about
			}
		case "CLOSE":
			return
		case "HANG":
			io.Copy(io.Discard, p.br)
			return
		default:
			p.t.Errorf("script: %q", line)
		}
	}
	p.parting()
}

func (p *peer) say(text string) {
	text, half := strings.CutSuffix(text, `\`)
	text = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\e`, "\x1b").Replace(text)
	if !half {
		text += "\r\n"
	}
	io.WriteString(p.conn, text)
}

func (p *peer) expect(want string) bool {
	got, err := p.br.ReadString('\n')
	if err != nil {
		p.t.Errorf("the client said %q (%v), expected %q", got, err, want)
		return false
	}
	got = strings.TrimSuffix(got, "\r\n")
	if !matches(want, got) {
		p.t.Errorf("the client said %q, expected %q", got, want)
		return false
	}
	return true
}

// parting lets the client go, and finds out whether it wanted something else.
func (p *peer) parting() {
	rest, _ := p.br.ReadString('\n')
	if rest == "QUIT\r\n" {
		io.WriteString(p.conn, "221 bye\r\n")
	} else if rest != "" {
		p.t.Errorf("the client said %q, expected the end", rest)
	}
	if more, _ := io.ReadAll(p.br); len(bytes.TrimSpace(more)) > 0 {
		p.t.Errorf("the client said %q after QUIT", more)
	}
}
