package queue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/routetest"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// relay is a server that takes every message, and remembers its transactions.
type relay struct {
	addr netip.AddrPort

	mu           sync.Mutex
	connections  int
	transactions []string // the recipients of each
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	return startRelayAt(t, "127.0.0.1:0")
}

func startRelayAt(t *testing.T, address string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no port at %s: %v", address, err)
	}
	r := &relay{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return r
}

func (r *relay) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	r.note(func() { r.connections++ })
	fmt.Fprint(conn, "220 hello\r\n")
	var rcpts []string
	data := false
	for in := bufio.NewScanner(conn); in.Scan(); {
		switch line := in.Text(); {
		case data && line != ".":
			continue
		case data:
			data = false
			r.note(func() { r.transactions = append(r.transactions, strings.Join(rcpts, " ")) })
			rcpts = nil
		case strings.HasPrefix(line, "RCPT TO:<"):
			rcpts = append(rcpts, strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">"))
		case line == "DATA":
			data = true
			fmt.Fprint(conn, "354 go on\r\n")
			continue
		}
		fmt.Fprint(conn, "250 ok\r\n")
	}
}

func (r *relay) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// seen gives the transactions in a fixed order, and how many connections there were.
func (r *relay) seen() ([]string, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.transactions)
	slices.Sort(list)
	return list, r.connections
}

// mailOf makes a sender whose mail exchangers listen at port, under routes that can change.
func mailOf(t *testing.T, port uint16, rules *atomic.Pointer[[]route.Rule], families ...dns.Family) *Mail {
	t.Helper()
	if families == nil {
		families = []dns.Family{dns.IPv4}
	}
	zone := routetest.New("mx.test A 127.0.0.1", "a.test MX 10 mx.test", "b.test MX 10 mx.test", "c.test MX 10 mx.test")
	router, err := route.NewRouter(route.RouterConfig{Port: port, Families: families,
		Resolver: routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Transport: zone, Timeout: time.Second, Attempts: 1}),
		Table: func() route.Table {
			table, err := route.NewTable(*rules.Load())
			if err != nil {
				t.Error(err)
			}
			return table
		}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := remote.New(remote.Config{Hostname: "here.test", Limits: remote.Limits{IdleTime: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &Mail{Router: router, Client: client}
}

func letter(id string) *Message {
	return &Message{QueueMessage: &storepb.QueueMessage{QueueId: id, EnvelopeFrom: "an@here.test"},
		Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("Subject: s\r\n\r\nhi\r\n")), nil
		}}
}

func TestSmarthostGetsRecipientsOfAllItsDomainsAtOnce(t *testing.T) {
	smart, mx := startRelay(t), startRelay(t)
	var rules atomic.Pointer[[]route.Rule]
	through := func(domain string) route.Rule {
		return route.Rule{Domain: domain, Kind: route.Smarthost, Host: "127.0.0.1", Port: smart.addr.Port()}
	}
	rules.Store(&[]route.Rule{through("a.test"), through("b.test"), {Domain: "no.test", Kind: route.Reject}})
	s := mailOf(t, mx.addr.Port(), &rules)
	outs := s.Send(t.Context(), letter("q1"), []*storepb.QueueEntry{entryTo(1, 1, "x@a.test"), entryTo(1, 2, "y@c.test"), entryTo(1, 3, "z@b.test"), entryTo(1, 4, "x@no.test"),
		{Message: 1, Number: 5, Address: "w@b.test", Original: "list@here.test"}})
	for i, want := range []store.AttemptResult{store.AttemptDelivered, store.AttemptDelivered, store.AttemptDelivered, store.AttemptFailed, store.AttemptDelivered} {
		if outs[i].Result != want {
			t.Errorf("recipient %d: %+v", i, outs[i])
		}
	}
	if got, n := smart.seen(); !slices.Equal(got, []string{"w@b.test", "x@a.test z@b.test"}) || n != 1 {
		t.Errorf("the smarthost got %q over %d connections", got, n)
	}
	if got, _ := mx.seen(); !slices.Equal(got, []string{"y@c.test"}) {
		t.Errorf("the mail exchanger got %q", got)
	}
	if s.Destination("a.test") != s.Destination("b.test") || s.Destination("a.test") == s.Destination("c.test") {
		t.Errorf("destinations %q %q %q", s.Destination("a.test"), s.Destination("b.test"), s.Destination("c.test"))
	}
}

// The domains of one mail exchanger share its connections.
func TestMailExchangerOfManyDomains(t *testing.T) {
	mx := startRelay(t)
	var rules atomic.Pointer[[]route.Rule]
	rules.Store(&[]route.Rule{})
	s := mailOf(t, mx.addr.Port(), &rules)
	for _, to := range []string{"x@a.test", "x@b.test", "x@c.test", "y@a.test"} {
		if o := s.Send(t.Context(), letter("q1"), []*storepb.QueueEntry{entryTo(1, 1, to)})[0]; o.Result != store.AttemptDelivered {
			t.Errorf("%s: %+v", to, o)
		}
	}
	if got, n := mx.seen(); len(got) != 4 || n != 1 {
		t.Errorf("%q over %d connections, want 4 over 1", got, n)
	}
}

// Whatever the routes become while a message is sent: nobody's mail goes another's way.
func TestRoutesThatChangeDuringAnAttempt(t *testing.T) {
	smart, mx := startRelay(t), startRelay(t)
	both := []route.Rule{{Domain: "a.test", Kind: route.Smarthost, Host: "127.0.0.1", Port: smart.addr.Port()}, {Domain: "b.test", Kind: route.Smarthost, Host: "127.0.0.1", Port: smart.addr.Port()}}
	for name, later := range map[string][]route.Rule{"refused": {{Domain: "a.test", Kind: route.Reject}, both[1]}, "its own": {both[1]}, "thrown away": {{Domain: "a.test", Kind: route.Discard}, both[1]}} {
		var rules atomic.Pointer[[]route.Rule]
		rules.Store(&both)
		s := mailOf(t, mx.addr.Port(), &rules)
		entries := []*storepb.QueueEntry{entryTo(1, 1, "x@a.test"), entryTo(1, 2, "x@b.test")}
		destination := s.Destination("a.test")
		rules.Store(&later)
		for i, o := range s.sendOn(t.Context(), letter("q1"), destination, entries) {
			if o.Result != store.AttemptDeferred || o.HostDown {
				t.Errorf("%s: recipient %d: %+v", name, i, o)
			}
		}
	}
	for _, r := range []*relay{smart, mx} {
		if got, _ := r.seen(); len(got) != 0 {
			t.Errorf("sent: %q", got)
		}
	}
}

func TestAddressThatCannotBeReadFailsAlone(t *testing.T) {
	smart := startRelay(t)
	var rules atomic.Pointer[[]route.Rule]
	rules.Store(&[]route.Rule{{Domain: "*", Kind: route.Smarthost, Host: "127.0.0.1", Port: smart.addr.Port()}})
	s := mailOf(t, 1, &rules)
	outs := s.Send(t.Context(), letter("q1"), []*storepb.QueueEntry{entryTo(1, 1, "a b@a.test"), entryTo(1, 2, "x@b.test")})
	if outs[0].Result != store.AttemptFailed || outs[0].Status != "5.1.3" || outs[1].Result != store.AttemptDelivered {
		t.Errorf("%+v", outs)
	}
}

// The mail for an address goes to that address (RFC 5321 §4.1.3), of either family.
func TestAddressLiterals(t *testing.T) {
	for literal, at := range map[string]string{"[127.0.0.1]": "127.0.0.1:0", "[IPv6:::1]": "[::1]:0", "[IPv6:0:0:0:0:0:0:0:1]": "[::1]:0"} {
		t.Run(literal, func(t *testing.T) {
			host := startRelayAt(t, at)
			var rules atomic.Pointer[[]route.Rule]
			rules.Store(&[]route.Rule{})
			s := mailOf(t, host.addr.Port(), &rules, dns.IPv6, dns.IPv4)
			o := s.Send(t.Context(), letter("q1"), []*storepb.QueueEntry{entryTo(1, 1, "x@"+literal)})[0]
			if got, _ := host.seen(); o.Result != store.AttemptDelivered || len(got) != 1 || !strings.HasPrefix(got[0], "x@[") {
				t.Errorf("%+v, the host got %q", o, got)
			}
			if want := fmt.Sprintf("%[1]s [%[1]s]", host.addr.Addr()); o.Peer != want {
				t.Errorf("the peer is %q, want %q", o.Peer, want)
			}
		})
	}
}
