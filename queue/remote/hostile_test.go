package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// actor is a server that plays its part until a reply of its session, and then does something else.
type actor struct {
	t    *testing.T
	ehlo string
	step int                                    // of the session: 0 is the greeting; -1: it does nothing else
	do   func(conn net.Conn, usual string) bool // in place of that reply; whether the session goes on
	addr netip.AddrPort

	whole atomic.Int32 // messages that came to their end
	took  atomic.Int32 // and were taken
}

func startActor(t *testing.T, ehlo string, step int, do func(net.Conn, string) bool) *actor {
	t.Helper()
	a := &actor{t: t, ehlo: ehlo, step: step, do: do}
	a.addr = serve(t, func(conn net.Conn, br *bufio.Reader) { (&act{actor: a, conn: conn, br: br}).play() })
	return a
}

// act is one connection to an actor.
type act struct {
	*actor
	conn net.Conn
	br   *bufio.Reader
	n    int  // replies so far
	last bool // the reply is the one to the message
}

func (a *act) reply(usual string) (goOn bool) {
	a.n++
	if a.n-1 == a.step {
		return a.do(recorder{a.conn, a, usual}, usual)
	}
	_, err := io.WriteString(recorder{a.conn, a, usual}, usual+"\r\n")
	return err == nil
}

// recorder notes, before anybody can hear of it, that the message is taken.
type recorder struct {
	net.Conn
	a     *act
	usual string
}

func (r recorder) Write(p []byte) (int, error) {
	if r.a.last && strings.HasPrefix(string(p), r.usual+"\r\n") {
		r.a.took.Add(1)
	}
	r.a.last = false
	return r.Conn.Write(p)
}

func (a *act) play() {
	for goOn := a.reply("220 hello"); goOn; {
		line, err := a.br.ReadString('\n')
		if err != nil {
			return
		}
		word, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch word {
		case "EHLO":
			goOn = a.reply(a.ehlo)
		case "STARTTLS":
			if goOn = a.reply("220 go on"); goOn {
				conn := tls.Server(a.conn, &tls.Config{Certificates: []tls.Certificate{testCA.cert}})
				a.conn, a.br = conn, bufio.NewReader(conn)
			}
		case "DATA":
			goOn = a.reply("354 go on") && a.data() && a.message()
		case "BDAT":
			size, _, _ := strings.Cut(rest, " ")
			n, _ := strconv.ParseInt(size, 10, 64)
			_, err := io.CopyN(io.Discard, a.br, n)
			goOn = err == nil && a.message()
		case "QUIT":
			a.reply("221 bye")
			return
		default:
			goOn = a.reply("250 ok")
		}
	}
}

func (a *act) data() bool {
	for {
		line, err := a.br.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			return true
		}
	}
}

func (a *act) message() bool {
	a.whole.Add(1)
	a.last = true
	return a.reply("250 taken")
}

// say is something said in place of a reply, after which the session goes on, or not.
func say(text string, goOn bool) func(net.Conn, string) bool {
	return func(conn net.Conn, _ string) bool {
		_, err := io.WriteString(conn, text)
		return err == nil && goOn
	}
}

// hold says a text over and over, until the client has had enough.
func hold(text string, pause time.Duration) func(net.Conn, string) bool {
	return func(conn net.Conn, _ string) bool {
		var tick <-chan time.Time
		if pause > 0 {
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			tick = ticker.C
		}
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return false
			}
			if tick != nil {
				<-tick
			}
		}
	}
}

func silence(conn net.Conn, _ string) bool {
	_, _ = io.Copy(io.Discard, conn)
	return false
}

func reset(conn net.Conn, _ string) bool {
	if c, ok := conn.(recorder).Conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	return false
}

// TestHostileServers: whatever a server does at whatever point, each attempt ends, nothing is final for it, nothing counts as delivered that was not taken, and no
// message goes to the next host that may have been taken.
func TestHostileServers(t *testing.T) {
	sessions := map[string]struct {
		ehlo        string
		first, last int // steps, up to the reply to the message
		kept        int // messages that the connection has served before
	}{
		"plain":      {"250 hello", 0, 5, 0},
		"pipelining": {"250-hello\r\n250 PIPELINING", 0, 5, 0},
		"chunking":   {"250-hello\r\n250-PIPELINING\r\n250 CHUNKING", 0, 4, 0},
		"TLS":        {"250-hello\r\n250-STARTTLS\r\n250-CHUNKING\r\n250 SIZE", 0, 6, 0},
		"kept":       {"250-hello\r\n250-PIPELINING\r\n250 CHUNKING", 5, 8, 1}, // from RSET on
	}
	tricks := []struct {
		name string
		do   func(net.Conn, string) bool
		slow bool // it costs a time-out
		next bool // what was not sent to its end goes to the next host
	}{
		{"closes", say("", false), false, true},
		{"closes within a reply", say("25", false), false, true},
		{"closes between the lines of a reply", say("250-a\r\n", false), false, true},
		{"resets", reset, false, true},
		{"says 421 and closes", say("421 4.3.2 closing\r\n", false), false, true},
		{"says 421 and goes on", say("421 4.3.2 closing\r\n", true), false, true},
		{"says 421 within a reply", say("421-4.3.2 closing\r\n250 ok\r\n", true), false, true},
		{"babbles", say("hello there\r\n", true), false, true},
		{"says nothing, and that properly", say("\r\n", true), false, true},
		{"says an intermediate code", say("354 go on\r\n", true), true, false},
		{"says an unknown code", say("654 ok\r\n", true), false, true},
		{"says letters for digits", say("25O ok\r\n", true), false, true},
		{"says a line without end", hold(strings.Repeat("250", 1000), 0), false, true},
		{"says lines without end", hold("250-ok\r\n", 0), false, true},
		{"is silent", silence, true, false},
		{"drips", hold("2", 20*time.Millisecond), true, false},
		{"drips lines", hold("250-ok\r\n", 20*time.Millisecond), true, false},
		{"says it twice", func(conn net.Conn, usual string) bool { return say(usual+"\r\n"+usual+"\r\n", true)(conn, "") }, true, false},
		{"says more", func(conn net.Conn, usual string) bool { return say(usual+"\r\n250 ok\r\n", true)(conn, "") }, true, false},
	}
	for name, session := range sessions {
		for step := session.first; step <= session.last; step++ {
			for _, trick := range tricks {
				t.Run(fmt.Sprintf("%s/%d/%s", name, step, trick.name), func(t *testing.T) {
					t.Parallel()
					bad := startActor(t, session.ehlo, step, trick.do)
					good := startActor(t, session.ehlo, -1, nil)
					cfg := Config{Hostname: "client.example"}
					if trick.slow {
						short(t, &cfg.Timeouts, "150ms")
					} else {
						short(t, &cfg.Timeouts, "20s")
						cfg.Timeouts.Quit = 300 * time.Millisecond
					}
					msg, rcpts := simple(t, "Subject: s\r\n\r\nhi\r\n")
					route := Route{Hosts: []Host{{Name: "mx1.example.test", Addrs: []netip.AddrPort{bad.addr}}, {Name: "mx2.example.test", Addrs: []netip.AddrPort{good.addr}}}}
					ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
					defer cancel()
					c := newClient(t, cfg)
					for range session.kept {
						c.Deliver(ctx, route, msg, rcpts)
					}
					kept := bad.took.Swap(0)
					bad.whole.Add(-kept)
					r := c.Deliver(ctx, route, msg, rcpts)[0]
					if ctx.Err() != nil {
						t.Error("the attempt does not end")
					}
					if lies := strings.HasPrefix(trick.name, "says it twice") || strings.HasPrefix(trick.name, "says more"); lies {
						// A 250 too many that comes when the message is under way cannot be told from its reply: the server's word has to do.
						if r.Status == Failed {
							t.Error(shownResult(r))
						}
						return
					}
					if r.Status == Failed || r.Status == Delivered && bad.took.Load()+good.took.Load() != 1 {
						t.Errorf("%s, taken by %d and %d", shownResult(r), bad.took.Load(), good.took.Load())
					}
					refused := strings.Contains(trick.name, "421 and") // it says that the message was not taken
					if bad.whole.Load() > 0 && good.whole.Load() > 0 && !refused {
						t.Errorf("%s: perhaps there are two copies", shownResult(r))
					}
					if unknown := bad.whole.Load() > bad.took.Load() && !refused; unknown != r.Unknown {
						t.Errorf("%s: unknown should be %v", shownResult(r), unknown)
					}
					if trick.next && (refused || bad.whole.Load() == 0) && (r.Status != Delivered || r.Addr != good.addr && session.kept == 0) {
						t.Errorf("%s, want it delivered by the next host, or over a new connection", shownResult(r))
					}
				})
			}
		}
	}
}

// TestChunkRefusedMidway: a server says what it thinks of a chunk before it has read it all, and reads on or closes.
func TestChunkRefusedMidway(t *testing.T) {
	for name, readsOn := range map[string]bool{"and reads on": true, "and closes": false} {
		for said, want := range map[string]string{
			"552 5.3.4 too large": "failed 552 5.3.4 too large",
			"451 4.3.1 no room":   "deferred 451 4.3.1 no room",
			"421 4.3.2 closing":   "deferred 421 4.3.2 unreachable *",
		} {
			t.Run(said+" "+name, func(t *testing.T) {
				addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
					fmt.Fprint(conn, "220 hello\r\n")
					for _, answer := range []string{"250-hello\r\n250-PIPELINING\r\n250 CHUNKING", "250 ok", "250 ok"} {
						br.ReadString('\n')
						fmt.Fprint(conn, answer, "\r\n")
					}
					io.CopyN(io.Discard, br, 100_000)
					fmt.Fprint(conn, said, "\r\n")
					if readsOn {
						io.Copy(io.Discard, br)
						return
					}
					conn.(*net.TCPConn).CloseRead()
				})
				cfg := Config{Hostname: "client.example", Timeouts: Timeouts{DataBlock: time.Second, DataEnd: time.Second, Quit: time.Second}}
				msg, rcpts := simple(t, strings.Repeat(strings.Repeat("x", 900)+"\r\n", 20_000))
				r := newClient(t, cfg).Deliver(context.Background(), oneHost(addr), msg, rcpts)[0]
				if got := shownResult(r); !matches(want, got) && !(strings.HasPrefix(said, "421") && matches("deferred 0 4.4.2 local unreachable *", got)) {
					t.Errorf("%s, want %s", got, want)
				}
			})
		}
	}
}

// TestSizeOfAnotherKind: limits that are none, and one that nothing fits.
func TestSizeOfAnotherKind(t *testing.T) {
	for size, want := range map[string]string{
		"SIZE":                          "delivered *",
		"SIZE 0":                        "delivered *",
		"SIZE -5":                       "delivered *",
		"SIZE many":                     "delivered *",
		"SIZE 999999999999999999999999": "delivered *",
		"SIZE=5":                        "delivered *",
		"SIZE 5":                        "failed 552 5.3.4 local the message has 18 bytes, the server takes 5",
	} {
		a := startActor(t, "250-hello\r\n250 "+size, -1, nil)
		msg, rcpts := simple(t, "Subject: s\r\n\r\nhi\r\n")
		if got := shownResult(newClient(t, Config{Hostname: "client.example"}).Deliver(context.Background(), oneHost(a.addr), msg, rcpts)[0]); !matches(want, got) {
			t.Errorf("%s: %s", size, got)
		}
	}
}
