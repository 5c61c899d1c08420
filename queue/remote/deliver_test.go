package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve runs f for each connection to an address of this machine, until the test ends.
func serve(t *testing.T, f func(conn net.Conn, br *bufio.Reader)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveAt(t, l, f)
}

func serveAt(t *testing.T, l net.Listener, f func(conn net.Conn, br *bufio.Reader)) netip.AddrPort {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			wg.Go(func() {
				defer conn.Close()
				f(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// talk answers commands by their first word, DATA's body by its end; a word that is not in answers gets 250. It returns what ended it.
func talk(conn net.Conn, br *bufio.Reader, answers map[string]string) (last string) {
	fmt.Fprint(conn, "220 hello\r\n")
	inData := false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return last
		}
		line = strings.TrimRight(line, "\r\n")
		if inData && line != "." {
			continue
		}
		inData = false
		word, _, _ := strings.Cut(line, " ")
		last = word
		answer, ok := answers[word]
		switch {
		case ok:
		case word == "DATA":
			answer, inData = "354 go on", true
		default:
			answer = "250 ok"
		}
		fmt.Fprint(conn, answer, "\r\n")
		if word == "QUIT" {
			return last
		}
	}
}

func simple(t *testing.T, body string) (Message, []Recipient) {
	return Message{ID: "m", From: address(t, "s@client.example"), Open: opens(body)}, []Recipient{{Address: address(t, "r@example.test")}}
}

func oneHost(addr ...netip.AddrPort) Route {
	return Route{Key: "k", Hosts: []Host{{Name: "mx1.example.test", Addrs: addr}}}
}

// closed is an address where nobody listens.
func closed(t *testing.T) netip.AddrPort { return freePort(t) }

func TestNextAddressAfterAConnectionThatFails(t *testing.T) {
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) { talk(conn, br, nil) })
	c := newClient(t, Config{Hostname: "client.example"})
	msg, rcpts := simple(t, "x\r\n")
	r := c.Deliver(context.Background(), oneHost(closed(t), addr), msg, rcpts)[0]
	if r.Status != Delivered || r.Addr != addr || r.Host != "mx1.example.test" {
		t.Errorf("%+v", r)
	}
	r = c.Deliver(context.Background(), oneHost(closed(t), closed(t)), msg, rcpts)[0]
	if got := shownResult(r); !matches("deferred 0 4.4.1 local unreachable connect: *", got) {
		t.Error(got)
	}
}

func TestNoMoreAddressesThanTheLimit(t *testing.T) {
	var dialled atomic.Int32
	c := newClient(t, Config{Hostname: "client.example", Limits: Limits{Addrs: 3}, Dial: func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
		dialled.Add(1)
		return nil, errors.New("no route")
	}})
	msg, rcpts := simple(t, "x\r\n")
	addrs := make([]netip.AddrPort, 10)
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 25)
	}
	if r := c.Deliver(context.Background(), oneHost(addrs...), msg, rcpts)[0]; r.Status != Deferred || dialled.Load() != 3 {
		t.Errorf("%+v after %d", r, dialled.Load())
	}
}

func TestNoHosts(t *testing.T) {
	c := newClient(t, Config{Hostname: "client.example"})
	msg, rcpts := simple(t, "x\r\n")
	if got := shownResult(c.Deliver(context.Background(), Route{}, msg, rcpts)[0]); got != "deferred 0 4.4.4 local unreachable no host to try" {
		t.Error(got)
	}
	if got := c.Deliver(context.Background(), Route{}, msg, nil); len(got) != 0 {
		t.Errorf("%d results for nobody", len(got))
	}
}

func TestSourceAddressOfTheFamily(t *testing.T) {
	from := make(chan string, 1)
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
		from <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
		talk(conn, br, nil)
	})
	c := newClient(t, Config{Hostname: "client.example", LocalAddrs: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.0.0.9")}})
	msg, rcpts := simple(t, "x\r\n")
	if r := c.Deliver(context.Background(), oneHost(addr), msg, rcpts)[0]; r.Status != Delivered {
		t.Fatal(shownResult(r))
	}
	if got := <-from; got != "127.0.0.9" {
		t.Errorf("from %s", got)
	}
}

func TestConfigurationThatCannotWork(t *testing.T) {
	four := netip.MustParseAddr("127.0.0.1")
	for name, cfg := range map[string]Config{
		"no host name":           {},
		"two of a family":        {Hostname: "a.example", LocalAddrs: []netip.Addr{four, four}},
		"no address":             {Hostname: "a.example", LocalAddrs: []netip.Addr{{}}},
		"a limit below the RFCs": {Hostname: "a.example", Limits: Limits{ReplyLineBytes: 100}},
		"nobody per transaction": {Hostname: "a.example", Limits: Limits{Recipients: -1}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestMessageThatIsNotRead: whose disk fails must not bounce mail.
func TestMessageThatIsNotRead(t *testing.T) {
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) { talk(conn, br, nil) })
	c := newClient(t, Config{Hostname: "client.example"})
	bad := errors.New("disk")
	msg, rcpts := simple(t, "")
	msg.Open = func(context.Context) (io.ReadCloser, error) { return nil, bad }
	if got := shownResult(c.Deliver(context.Background(), oneHost(addr), msg, rcpts)[0]); got != "deferred 0 4.3.0 local open message: disk" {
		t.Error(got)
	}
	// It can be read once, and breaks off the second time: the peer must not take half for the whole.
	whole := strings.Repeat("0123456789\r\n", 20_000)
	opened := 0
	msg.Open = func(context.Context) (io.ReadCloser, error) {
		if opened++; opened == 1 {
			return io.NopCloser(strings.NewReader(whole)), nil
		}
		return io.NopCloser(io.MultiReader(strings.NewReader(whole[:100_000]), iotestErr{bad})), nil
	}
	if got := shownResult(c.Deliver(context.Background(), oneHost(addr), msg, rcpts)[0]); got != "deferred 0 4.3.0 local read message: disk" {
		t.Error(got)
	}
}

// TestMessageThatChanges: a chunk has the size announced or is not finished, and a message that comes to hold a bare LF is not either.
func TestMessageThatChanges(t *testing.T) {
	for _, one := range []struct{ name, ehlo, second, want string }{
		{"shorter", "250-hello\r\n250 CHUNKING", strings.Repeat("0123456789\r\n", 19_999), "deferred 0 4.3.0 local read message: " + errSize.Error()},
		{"longer", "250-hello\r\n250 CHUNKING", strings.Repeat("0123456789\r\n", 20_001), "deferred 0 4.3.0 local read message: " + errSize.Error()},
		{"bare LF", "250 hello", strings.Repeat("0123456789\r\n", 10_000) + "\n.\r\n", "failed 554 5.6.0 local " + errBareLine.Error()},
	} {
		t.Run(one.name, func(t *testing.T) {
			ended := make(chan string, 1)
			addr := serve(t, func(conn net.Conn, br *bufio.Reader) { ended <- talk(conn, br, map[string]string{"EHLO": one.ehlo}) })
			c := newClient(t, Config{Hostname: "client.example"})
			msg, rcpts := simple(t, "")
			opened := 0
			msg.Open = func(ctx context.Context) (io.ReadCloser, error) {
				if opened++; opened == 1 {
					return opens(strings.Repeat("0123456789\r\n", 20_000))(ctx)
				}
				return opens(one.second)(ctx)
			}
			if got := shownResult(c.Deliver(context.Background(), oneHost(addr), msg, rcpts)[0]); got != one.want {
				t.Error(got)
			}
			if last := <-ended; last == "." || last == "QUIT" {
				t.Errorf("the session went on to %s", last)
			}
		})
	}
}

// TestRefusedInTheMiddle: the peer has had enough of a large message, says so and closes.
func TestRefusedInTheMiddle(t *testing.T) {
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
		fmt.Fprint(conn, "220 hello\r\n")
		for _, answer := range []string{"250 hello", "250 ok", "250 ok", "354 go on"} {
			br.ReadString('\n')
			fmt.Fprint(conn, answer, "\r\n")
		}
		io.CopyN(io.Discard, br, 100_000)
		fmt.Fprint(conn, "552 5.3.4 too large\r\n")
		conn.(*net.TCPConn).CloseRead()
		io.CopyN(io.Discard, br, 1<<30)
	})
	c := newClient(t, Config{Hostname: "client.example", Timeouts: Timeouts{DataBlock: time.Second}})
	msg, rcpts := simple(t, strings.Repeat(strings.Repeat("x", 900)+"\r\n", 200_000))
	r := c.Deliver(context.Background(), oneHost(addr), msg, rcpts)[0]
	if got := shownResult(r); got != "failed 552 5.3.4 too large" {
		t.Error(got)
	}
}

// TestEndOfTheContext: before the message was sent nothing has happened; after it the outcome is unknown.
func TestEndOfTheContext(t *testing.T) {
	for at, want := range map[string]string{
		"MAIL": "deferred 0 4.3.2 local the attempt was ended before it was complete",
		".":    "deferred 0 4.4.2 local unknown *",
	} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
				talk(&stopAt{Conn: conn, word: at, stop: cancel}, br, map[string]string{at: "HOLD"})
			})
			c := newClient(t, Config{Hostname: "client.example"})
			msg, rcpts := simple(t, "x\r\n")
			if got := shownResult(c.Deliver(ctx, oneHost(addr), msg, rcpts)[0]); !matches(want, got) {
				t.Error(got)
			}
		})
	}
}

// stopAt calls stop in place of sending the answer HOLD.
type stopAt struct {
	net.Conn
	word string
	stop func()
}

func (s *stopAt) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "HOLD") {
		s.stop()
		return len(p), nil
	}
	if string(p) == "\r\n" {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// TestManyRecipientsPipelined: replies are read in time, though the buffers of neither side hold all commands or all replies.
func TestManyRecipientsPipelined(t *testing.T) {
	long := strings.Repeat("x", 300)
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
		smallBuffers(conn)
		talk(conn, br, map[string]string{"EHLO": "250-hello\r\n250 PIPELINING", "RCPT": "550-5.1.1 " + long + "\r\n550 5.1.1 " + long})
	})
	c := newClient(t, Config{Hostname: "client.example", Limits: Limits{Recipients: 2000}, Timeouts: Timeouts{DataBlock: 3 * time.Second},
		Dial: func(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error) {
			conn, err := dial(ctx, local, to)
			if err == nil {
				smallBuffers(conn)
			}
			return conn, err
		}})
	msg, _ := simple(t, "x\r\n")
	var rcpts []Recipient
	for i := range 2000 {
		rcpts = append(rcpts, Recipient{Address: address(t, fmt.Sprintf("%s%d@example.test", strings.Repeat("r", 100), i))})
	}
	for i, r := range c.Deliver(context.Background(), oneHost(addr), msg, rcpts) {
		if r.Status != Failed || r.Code != 550 || len(r.Text) != 2*len(long)+1 {
			t.Fatalf("recipient %d: %s", i, shownResult(r))
		}
	}
}

func smallBuffers(conn net.Conn) {
	conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
}

// TestOldTLS: better than nothing where nothing would do, and not where a certificate must be right.
func TestOldTLS(t *testing.T) {
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
		fmt.Fprint(conn, "220 hello\r\n")
		br.ReadString('\n')
		fmt.Fprint(conn, "250-hello\r\n250 STARTTLS\r\n")
		br.ReadString('\n')
		fmt.Fprint(conn, "220 go on\r\n")
		tlsConn := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{testCA.cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		talk(quietStart{tlsConn}, bufio.NewReader(tlsConn), nil)
	})
	c := newClient(t, Config{Hostname: "client.example", RootCAs: testCA.pool})
	msg, rcpts := simple(t, "x\r\n")
	for policy, want := range map[TLSPolicy]string{TLSMay: "delivered 250 2.0.0 encrypted *", TLSVerify: "deferred 0 4.7.5 local unreachable *"} {
		route := oneHost(addr)
		route.TLS = policy
		r := c.Deliver(context.Background(), route, msg, rcpts)[0]
		if got := shownResult(r); !matches(want, got) || policy == TLSMay && r.TLS != "TLS 1.1" {
			t.Errorf("policy %d: %s", policy, got)
		}
	}
}

// quietStart has no greeting: it was said before.
type quietStart struct{ net.Conn }

func (q quietStart) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "220") {
		return len(p), nil
	}
	return q.Conn.Write(p)
}

// TestIdleConnectionsEndWithQuit after their time, and when the client is closed.
func TestIdleConnectionsEndWithQuit(t *testing.T) {
	for name, idle := range map[string]time.Duration{"time": 20 * time.Millisecond, "close": time.Hour} {
		t.Run(name, func(t *testing.T) {
			last := make(chan string, 1)
			addr := serve(t, func(conn net.Conn, br *bufio.Reader) { last <- talk(conn, br, nil) })
			c := newClient(t, Config{Hostname: "client.example", Limits: Limits{IdleTime: idle}})
			msg, rcpts := simple(t, "x\r\n")
			c.Deliver(context.Background(), oneHost(addr), msg, rcpts)
			if name == "close" {
				c.Close()
			}
			if got := <-last; got != "QUIT" {
				t.Errorf("ended with %s", got)
			}
			await(t, "an empty pool", func() bool {
				c.pool.mu.Lock()
				defer c.pool.mu.Unlock()
				return c.pool.count == 0 && len(c.pool.idle) == 0
			})
		})
	}
}

// TestReusedPeerIsJudgedAnew: what a route knows of a peer may have changed since the handshake.
func TestReusedPeerIsJudgedAnew(t *testing.T) {
	var connections, judged atomic.Int32
	addr := serve(t, func(conn net.Conn, br *bufio.Reader) {
		connections.Add(1)
		tlsConn := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{testCA.cert}})
		talk(tlsConn, bufio.NewReader(tlsConn), nil)
	})
	c := newClient(t, Config{Hostname: "client.example", RootCAs: testCA.pool, Limits: Limits{IdleTime: time.Hour}})
	msg, rcpts := simple(t, "x\r\n")
	route := oneHost(addr)
	route.TLS = TLSImplicit
	route.Hosts[0].VerifyPeer = func(s tls.ConnectionState) error {
		judged.Add(1)
		return nil
	}
	for range 2 {
		if r := c.Deliver(context.Background(), route, msg, rcpts)[0]; r.Status != Delivered || r.TLS != "TLS 1.3" {
			t.Fatal(shownResult(r))
		}
	}
	if connections.Load() != 1 || judged.Load() != 2 {
		t.Errorf("%d connections, judged %d times", connections.Load(), judged.Load())
	}
	route.Hosts[0].VerifyPeer = func(s tls.ConnectionState) error { return errors.New("no longer") }
	if r := c.Deliver(context.Background(), route, msg, rcpts)[0]; r.Status != Deferred || connections.Load() != 2 {
		t.Errorf("%s, %d connections", shownResult(r), connections.Load())
	}
}

// TestConnectionsAreNotShared between routes, policies, logins and addresses.
func TestConnectionsAreNotShared(t *testing.T) {
	var connections atomic.Int32
	serveOne := func(conn net.Conn, br *bufio.Reader) {
		connections.Add(1)
		talk(conn, br, map[string]string{"EHLO": "250-hello\r\n250 AUTH PLAIN", "AUTH": "235 ok"})
	}
	addr, other := serve(t, serveOne), serve(t, serveOne)
	c := newClient(t, Config{Hostname: "client.example", Limits: Limits{IdleTime: time.Hour}})
	msg, rcpts := simple(t, "x\r\n")
	with := func(change func(*Route)) Route {
		r := oneHost(addr)
		r.TLS = TLSNone
		change(&r)
		return r
	}
	routes := []Route{with(func(r *Route) {}), with(func(r *Route) { r.Key = "other" }), with(func(r *Route) { r.TLS = TLSMay }),
		with(func(r *Route) { r.Username = "u" }), with(func(r *Route) { r.Username, r.Password = "u", "p" }),
		with(func(r *Route) { r.Hosts[0].VerifyPeer = func(tls.ConnectionState) error { return nil } }),
		with(func(r *Route) { r.Hosts[0].Addrs[0] = other }), with(func(r *Route) { r.Hosts[0].Name = "mx2.example.test" })}
	for range 2 {
		for _, route := range routes {
			if r := c.Deliver(context.Background(), route, msg, rcpts)[0]; r.Status != Delivered {
				t.Error(shownResult(r))
			}
		}
		if got := int(connections.Load()); got != len(routes) {
			t.Errorf("%d connections, want %d", got, len(routes))
		}
	}
}

func TestPolicyOfAHost(t *testing.T) {
	pin := func(tls.ConnectionState) error { return nil }
	for _, one := range []struct {
		name        string
		route, host TLSPolicy
		pinned      bool
		require     bool
		want        TLSPolicy
	}{
		{"nothing said", TLSDefault, TLSDefault, false, false, TLSMay},
		{"the route's", TLSEncrypt, TLSDefault, false, false, TLSEncrypt},
		{"the host's", TLSVerify, TLSNone, false, false, TLSNone},
		{"raised", TLSNone, TLSDefault, false, true, TLSVerify},
		{"raised from opportunistic, whatever the pin", TLSMay, TLSDefault, true, true, TLSVerify},
		{"raised from encrypted", TLSEncrypt, TLSDefault, false, true, TLSVerify},
		{"proven already", TLSEncrypt, TLSDefault, true, true, TLSEncrypt},
		{"implicit", TLSImplicit, TLSDefault, false, true, TLSImplicit},
	} {
		h := Host{TLS: one.host}
		if one.pinned {
			h.VerifyPeer = pin
		}
		if got := policyFor(Route{TLS: one.route}, h, one.require); got != one.want {
			t.Errorf("%s: %d, want %d", one.name, got, one.want)
		}
	}
}
