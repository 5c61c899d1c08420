package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/routetest"
)

// served is a resolver that asks one server on loopback, which it believes to validate.
func served(t *testing.T, zone *routetest.Zone) *dns.Client {
	t.Helper()
	server := routetest.Serve(t, zone)
	return routetest.NewResolver(t, dns.Config{Servers: []string{server}, Validating: []string{server}, Timeout: 5 * time.Second, Attempts: 1})
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func check[T any](t *testing.T, what string, got dns.Answer[T], err error, want dns.Answer[T]) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, %v, want %+v", what, got, err, want)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	all := []error{dns.ErrNoDomain, dns.ErrNoRecords, dns.ErrTemporary}
	for _, one := range all {
		if errors.Is(err, one) != (one == want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
}

func TestEveryKindOfRecordIsRead(t *testing.T) {
	z := routetest.New("example.org MX 20 b.example.org", "example.org MX 10 A.example.ORG", "null.example MX 0 .",
		"host.example A 192.0.2.1", "host.example AAAA 2001:db8::1", "host.example AAAA ::ffff:192.0.2.2",
		`txt.example TXT "v=spf1 " "-all"`, `txt.example TXT "a\"b\\c\200\032d"`,
		"_25._tcp.host.example TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"1.2.0.192.in-addr.arpa PTR Host.example.", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.",
		"xn--bcher-kva.example MX 10 mx.xn--bcher-kva.example", `o'b\@x\\y.example A 192.0.2.3`)
	d, ctx := served(t, z), t.Context()

	mx, err := d.LookupMX(ctx, "Example.org.")
	check(t, "MX", mx, err, dns.Answer[dns.MX]{Name: "example.org", Records: []dns.MX{{20, "b.example.org"}, {10, "a.example.org"}}})
	mx, err = d.LookupMX(ctx, "null.example")
	check(t, "null MX", mx, err, dns.Answer[dns.MX]{Name: "null.example", Records: []dns.MX{{0, ""}}})
	mx, err = d.LookupMX(ctx, "BÜCHER.example")
	check(t, "MX of an international name", mx, err, dns.Answer[dns.MX]{Name: "xn--bcher-kva.example", Records: []dns.MX{{10, "mx.xn--bcher-kva.example"}}})
	a, err := d.LookupAddrs(ctx, "host.example", dns.IPv4)
	check(t, "A", a, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1")})
	a, err = d.LookupAddrs(ctx, "host.example", dns.IPv6)
	check(t, "AAAA", a, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("2001:db8::1", "192.0.2.2")})
	a, err = d.LookupAddrs(ctx, "host.example", dns.Any)
	check(t, "addresses", a, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1", "2001:db8::1", "192.0.2.2")})
	a, err = d.LookupAddrs(ctx, `O'b@x\y.example`, dns.IPv4)
	check(t, "a name of special bytes", a, err, dns.Answer[netip.Addr]{Name: `o\'b\@x\\y.example`, Records: addrs("192.0.2.3")})
	txt, err := d.LookupTXT(ctx, "txt.example")
	check(t, "TXT", txt, err, dns.Answer[string]{Name: "txt.example", Records: []string{"v=spf1 -all", "a\"b\\c\xc8 d"}})
	tlsa, err := d.LookupTLSA(ctx, 25, "host.example")
	check(t, "TLSA", tlsa, err, dns.Answer[dns.TLSA]{Name: "_25._tcp.host.example", Records: []dns.TLSA{
		{Usage: 3, Selector: 1, Matching: 1, Data: []byte(strings.Repeat("\x01\x23\x45\x67\x89\xab\xcd\xef", 4))}}})
	ptr, err := d.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	check(t, "PTR", ptr, err, dns.Answer[string]{Name: "1.2.0.192.in-addr.arpa", Records: []string{"host.example"}})
	ptr, err = d.LookupPTR(ctx, netip.MustParseAddr("2001:db8::1"))
	if err != nil || len(ptr.Records) != 1 || ptr.Records[0] != "six.example" {
		t.Errorf("PTR of IPv6: got %+v, %v", ptr, err)
	}
}

// RFC 2308 §2: an absence is of the name, or of the records.
func TestAbsencesAreToldApart(t *testing.T) {
	z := routetest.New("host.example A 192.0.2.1", "below.empty.example TXT x", "alias.example CNAME gone.example")
	d, ctx := served(t, z), t.Context()
	for _, tc := range []struct {
		name, ask string
		want      error
	}{
		{"no name", "gone.example", dns.ErrNoDomain},
		{"no records", "host.example", dns.ErrNoRecords},
		{"a name that has only names below", "empty.example", dns.ErrNoRecords},
		{"an alias of nothing", "alias.example", dns.ErrNoDomain},
		{"no name at all", "", dns.ErrNoDomain},
		{"the root", ".", dns.ErrNoDomain},
		{"an empty label", "a..example", dns.ErrNoDomain},
		{"a long label", strings.Repeat("x", 64) + ".example", dns.ErrNoDomain},
		{"a long name", strings.Repeat("abc.", 64) + "example", dns.ErrNoDomain},
		{"no international name", "bü cher.example", dns.ErrNoDomain},
	} {
		_, err := d.LookupMX(ctx, tc.ask)
		wantError(t, tc.name, err, tc.want)
	}
	_, err := d.LookupAddrs(ctx, "gone.example", dns.Any)
	wantError(t, "addresses of no name", err, dns.ErrNoDomain)
	_, err = d.LookupAddrs(ctx, "empty.example", dns.Any)
	wantError(t, "no addresses", err, dns.ErrNoRecords)
	_, err = d.LookupPTR(ctx, netip.Addr{})
	wantError(t, "the name of no address", err, dns.ErrNoDomain)
}

func TestFailuresOfAServer(t *testing.T) {
	for _, tc := range []struct {
		name string
		how  routetest.Failure
		ok   bool
	}{
		{"SERVFAIL", routetest.ServFail, false},
		{"REFUSED", routetest.Refused, false},
		{"FORMERR", routetest.FormErr, false},
		{"NOTIMP", routetest.NotImp, false},
		{"lame", routetest.Lame, false},
		{"lame, and denies the name", routetest.LameDenial, false},
		{"referral", routetest.Referral, false},
		{"truncated by TCP", routetest.TruncationEverywhere, false},
		{"truncated by UDP", routetest.Truncation, true},
		{"cut off by UDP", routetest.CutOff, true},
		{"no EDNS", routetest.NoEDNS, true},
		{"forged answers before the right one", routetest.Forgery, true},
		{"garbage before the right answer", routetest.Garbage, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z := routetest.New("host.example A 192.0.2.1")
			z.Fail("host.example", tc.how)
			d := served(t, z)
			got, err := d.LookupAddrs(t.Context(), "host.example", dns.IPv4)
			if tc.ok {
				check(t, tc.name, got, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1")})
				return
			}
			wantError(t, tc.name, err, dns.ErrTemporary)
			z.Fail("host.example", 0)
			got, err = d.LookupAddrs(t.Context(), "host.example", dns.IPv4)
			check(t, "afterwards", got, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1")})
		})
	}
}

func TestLargeAnswersComeByTCP(t *testing.T) {
	z, want := routetest.New(), []string{}
	for i := range 40 {
		want = append(want, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100)))
		z.Add(fmt.Sprintf("large.example TXT %q", want[i]))
	}
	got, err := served(t, z).LookupTXT(t.Context(), "large.example")
	check(t, "TXT", got, err, dns.Answer[string]{Name: "large.example", Records: want})
	if n := z.Asked("TXT", "large.example"); n != 2 {
		t.Errorf("asked %d times, want once by UDP and once by TCP", n)
	}
}

func TestTheNextServerIsAsked(t *testing.T) {
	good := routetest.New("host.example A 192.0.2.1")
	second := routetest.Serve(t, good)
	for name, how := range map[string]routetest.Failure{"silent": routetest.Silence, "failing": routetest.ServFail, "lame": routetest.Lame} {
		t.Run(name, func(t *testing.T) {
			bad := routetest.New("host.example A 192.0.2.66")
			bad.Fail(routetest.All, how)
			d := routetest.NewResolver(t, dns.Config{Servers: []string{routetest.Serve(t, bad), second}, Timeout: 100 * time.Millisecond, Attempts: 50})
			got, err := d.LookupAddrs(t.Context(), "host.example", dns.IPv4)
			check(t, name, got, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1")})
			if bad.Asked("A", "host.example") == 0 {
				t.Error("the first server was not asked")
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		d := routetest.NewResolver(t, dns.Config{Servers: []string{unused(t), second}})
		got, err := d.LookupAddrs(t.Context(), "host.example", dns.IPv4)
		check(t, "A", got, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1")})
	})
}

// unused is a port of loopback on which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().String()
}

// A silent server costs its time, each of them as often as there are attempts, and no more.
func TestTriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := routetest.New()
		z.Fail(routetest.All, routetest.Silence)
		d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.1", "192.0.2.2"}, Timeout: 2 * time.Second, Attempts: 3, Transport: z})
		begin := time.Now()
		_, err := d.LookupMX(t.Context(), "example.org")
		wantError(t, "silence", err, dns.ErrTemporary)
		if n, took := z.Asked("MX", "example.org"), time.Since(begin); n != 6 || took != 12*time.Second {
			t.Errorf("asked %d times in %v, want 6 in 12s", n, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = d.LookupMX(ctx, "example.net")
		wantError(t, "a caller without patience", err, dns.ErrTemporary)
		if n := z.Asked("MX", "example.net"); n != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("asked %d times, and %v", n, err)
		}
	})
}

func TestCancellingEndsAWaitOnTheNetwork(t *testing.T) {
	z := routetest.New()
	z.Fail(routetest.All, routetest.Silence)
	d := routetest.NewResolver(t, dns.Config{Servers: []string{routetest.Serve(t, z)}, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for z.Asked("MX", "example.org") == 0 {
			time.Sleep(time.Millisecond) // until the question has arrived: there is nothing to wait on
		}
	}()
	_, err := d.LookupMX(ctx, "example.org")
	wantError(t, "cancelled", err, dns.ErrTemporary)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAliasesAreFollowed(t *testing.T) {
	z := routetest.New("one.example CNAME two.example", "two.example CNAME Three.example", "three.example A 192.0.2.1", "loop.example CNAME pool.example", "pool.example CNAME loop.example")
	for i := range 12 {
		z.Add(fmt.Sprintf("long%d.example CNAME long%d.example", i, i+1))
	}
	z.Add("long12.example A 192.0.2.2")
	for _, name := range []string{"in one answer", "in an answer each"} {
		t.Run(name, func(t *testing.T) {
			d := served(t, z)
			got, err := d.LookupAddrs(t.Context(), "one.example", dns.Any)
			check(t, "A", got, err, dns.Answer[netip.Addr]{Name: "three.example", Aliased: true, Records: addrs("192.0.2.1")})
			got, err = d.LookupAddrs(t.Context(), "long4.example", dns.IPv4)
			check(t, "eight aliases", got, err, dns.Answer[netip.Addr]{Name: "long12.example", Aliased: true, Records: addrs("192.0.2.2")})
			_, err = d.LookupAddrs(t.Context(), "long3.example", dns.IPv4)
			wantError(t, "nine aliases", err, dns.ErrTemporary)
			_, err = d.LookupAddrs(t.Context(), "loop.example", dns.IPv4)
			wantError(t, "a loop", err, dns.ErrTemporary)
			_, err = d.LookupMX(t.Context(), "one.example")
			wantError(t, "an alias of what has no such records", err, dns.ErrNoRecords)
		})
		z.Chop()
	}
}

// The AD bit counts from validating servers alone, and for a chain only when all of it was authentic.
func TestAuthenticAnswers(t *testing.T) {
	z := routetest.New("host.example A 192.0.2.1", "host.example AAAA 2001:db8::1", "alias.example CNAME host.example", "unsafe.example CNAME host.example")
	z.Secure("host.example", "alias.example")
	z.Chop()
	server := routetest.Serve(t, z)
	for _, tc := range []struct {
		name, ask        string
		validating, want bool
	}{
		{"validated", "host.example", true, true},
		{"a chain", "alias.example", true, true},
		{"a chain with one end loose", "unsafe.example", true, false},
		{"said by just any server", "host.example", false, false},
	} {
		cfg := dns.Config{Servers: []string{server}}
		if tc.validating {
			cfg.Validating = cfg.Servers
		}
		d := routetest.NewResolver(t, cfg)
		for _, from := range []string{"server", "cache"} {
			got, err := d.LookupAddrs(t.Context(), tc.ask, dns.Any)
			if err != nil || got.Authentic != tc.want || len(got.Records) != 2 {
				t.Errorf("%s, from %s: got %+v, %v", tc.name, from, got, err)
			}
		}
	}
}

// byServer asks each server a zone of its own.
type byServer map[string]*routetest.Zone

func (b byServer) Exchange(ctx context.Context, server netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	return b[server.Addr().String()].Exchange(ctx, server, query, tcp)
}

// A validating server has no answer when somebody meddles with it; that of another must not take its place.
func TestOthersAreNotAskedWhereSomeValidate(t *testing.T) {
	strict, loose := routetest.New("host.example A 192.0.2.1"), routetest.New("host.example A 192.0.2.66")
	strict.Secure(routetest.All)
	strict.Fail("host.example", routetest.ServFail)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, conf, "nameserver 192.0.2.54\nnameserver 192.0.2.53\noptions attempts:1")
	for name, cfg := range map[string]dns.Config{
		"listed":         {Servers: []string{"192.0.2.54", "192.0.2.53"}, Validating: []string{"192.0.2.53"}},
		"of resolv.conf": {ResolvConf: conf, Validating: []string{"192.0.2.53"}},
	} {
		cfg.Transport = byServer{"192.0.2.53": strict, "192.0.2.54": loose}
		d := routetest.NewResolver(t, cfg)
		strict.Fail("host.example", routetest.ServFail)
		_, err := d.LookupAddrs(t.Context(), "host.example", dns.IPv4)
		wantError(t, name+", bogus", err, dns.ErrTemporary)
		strict.Fail("host.example", 0)
		got, err := d.LookupAddrs(t.Context(), "host.example", dns.IPv4)
		check(t, name, got, err, dns.Answer[netip.Addr]{Name: "host.example", Records: addrs("192.0.2.1"), Authentic: true})
	}
	if n := loose.Asked("A", "host.example"); n != 0 {
		t.Errorf("the server that does not validate was asked %d times", n)
	}
}

// Addresses of both families are authentic when both are.
func TestBothFamiliesMustBeAuthentic(t *testing.T) {
	z := routetest.New("host.example A 192.0.2.1", "host.example AAAA 2001:db8::1")
	z.Secure("host.example")
	for _, kind := range []uint16{miekg.TypeA, miekg.TypeAAAA} {
		d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Validating: []string{"192.0.2.53"}, Transport: insecureKind{z, kind}})
		got, err := d.LookupAddrs(t.Context(), "host.example", dns.Any)
		if err != nil || len(got.Records) != 2 || got.Authentic {
			t.Errorf("%s not authentic: got %+v, %v", miekg.TypeToString[kind], got, err)
		}
	}
}

// insecureKind leaves the AD bit out of answers to questions of one kind.
type insecureKind struct {
	*routetest.Zone
	kind uint16
}

func (i insecureKind) Exchange(ctx context.Context, server netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	m, err := i.Zone.Exchange(ctx, server, query, tcp)
	m.AuthenticatedData = m.AuthenticatedData && query.Question[0].Qtype != i.kind
	return m, err
}

func TestOneFamilyIsEnough(t *testing.T) {
	z := routetest.New("four.example A 192.0.2.1", "six.example AAAA 2001:db8::6")
	d := served(t, z)
	for name, want := range map[string]string{"four.example": "192.0.2.1", "six.example": "2001:db8::6"} {
		got, err := d.LookupAddrs(t.Context(), name, dns.Any)
		check(t, name, got, err, dns.Answer[netip.Addr]{Name: name, Records: addrs(want)})
	}
	mute := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Transport: oneKind{z, miekg.TypeA}})
	got, err := mute.LookupAddrs(t.Context(), "four.example", dns.Any)
	check(t, "AAAA fails", got, err, dns.Answer[netip.Addr]{Name: "four.example", Records: addrs("192.0.2.1")})
	_, err = mute.LookupAddrs(t.Context(), "six.example", dns.Any)
	wantError(t, "no A, and AAAA fails", err, dns.ErrTemporary)
}

// oneKind answers questions of one kind alone, as some broken servers do.
type oneKind struct {
	*routetest.Zone
	kind uint16
}

func (o oneKind) Exchange(ctx context.Context, server netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	if query.Question[0].Qtype != o.kind {
		return nil, errors.New("no answer")
	}
	return o.Zone.Exchange(ctx, server, query, tcp)
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestAnswersAreKeptForTheirTime(t *testing.T) {
	const soa = "example. 7200 SOA ns.example. hostmaster.example. 1 2 3 4 120"
	type step struct {
		after time.Duration
		asked int // since the beginning
	}
	for _, tc := range []struct {
		name    string
		records []string
		cfg     dns.Config
		steps   []step
	}{
		{"TTL", []string{"x.example 60 MX 1 mx.example"}, dns.Config{}, []step{{0, 1}, {59 * time.Second, 1}, {time.Second, 2}, {59 * time.Second, 2}}},
		{"the least of several", []string{"x.example 60 MX 1 mx.example", "x.example 30 MX 1 my.example"}, dns.Config{}, []step{{0, 1}, {29 * time.Second, 1}, {time.Second, 2}}},
		{"of an alias", []string{"x.example 10 CNAME y.example", "y.example 60 MX 1 mx.example"}, dns.Config{}, []step{{0, 1}, {9 * time.Second, 1}, {time.Second, 2}}},
		{"none", []string{"x.example 0 MX 1 mx.example"}, dns.Config{}, []step{{0, 1}, {0, 2}}},
		{"no number of seconds (RFC 2181 §8)", []string{"x.example 2147483648 MX 1 mx.example"}, dns.Config{}, []step{{0, 1}, {0, 2}}},
		{"lower bound", []string{"x.example 0 MX 1 mx.example"}, dns.Config{MinTTL: 5 * time.Second}, []step{{0, 1}, {4 * time.Second, 1}, {time.Second, 2}}},
		{"upper bound", []string{"x.example 2000000 MX 1 mx.example"}, dns.Config{}, []step{{0, 1}, {24*time.Hour - 1, 1}, {1, 2}}},
		{"no such name: MINIMUM (RFC 2308 §5)", []string{soa}, dns.Config{}, []step{{0, 1}, {119 * time.Second, 1}, {time.Second, 2}}},
		{"no such records", []string{soa, "x.example A 192.0.2.1"}, dns.Config{}, []step{{0, 1}, {119 * time.Second, 1}, {time.Second, 2}}},
		{"absence: TTL of the SOA", []string{"example. 30 SOA ns.example. hostmaster.example. 1 2 3 4 120"}, dns.Config{}, []step{{0, 1}, {29 * time.Second, 1}, {time.Second, 2}}},
		{"absence: upper bound", []string{soa}, dns.Config{MaxNegativeTTL: time.Minute}, []step{{0, 1}, {59 * time.Second, 1}, {time.Second, 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z, now := routetest.New(tc.records...), &clock{now: time.Unix(1e9, 0)}
			tc.cfg.Servers, tc.cfg.Now = []string{routetest.Serve(t, z)}, now.Now
			d := routetest.NewResolver(t, tc.cfg)
			var first dns.Answer[dns.MX]
			for i, s := range tc.steps {
				now.pass(s.after)
				got, err := d.LookupMX(t.Context(), "x.example")
				if errors.Is(err, dns.ErrTemporary) {
					t.Fatal(err)
				}
				if i == 0 {
					first = got
				}
				if n := z.Asked("MX", "x.example"); n != s.asked || !reflect.DeepEqual(got, first) {
					t.Errorf("step %d: asked %d times, want %d; got %+v, at first %+v", i, n, s.asked, got, first)
				}
			}
		})
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	z := routetest.New("a.example A 192.0.2.1", "b.example A 192.0.2.2", "c.example A 192.0.2.3")
	d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Transport: z, CacheEntries: 2})
	for _, name := range []string{"a", "b", "a", "c", "a", "b"} { // b was not asked for longest when c came
		if _, err := d.LookupAddrs(t.Context(), name+".example", dns.IPv4); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"a": 1, "b": 2, "c": 1} {
		if n := z.Asked("A", name+".example"); n != want {
			t.Errorf("%s was asked %d times, want %d", name, n, want)
		}
	}
}

func TestTheCacheIsBoundedInBytes(t *testing.T) {
	z := routetest.New()
	for _, name := range []string{"a", "b", "c"} {
		for i := range 40 {
			z.Add(fmt.Sprintf("%s.example TXT %q", name, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100))))
		}
	}
	d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Transport: z, CacheBytes: 12 << 10}) // two of them
	for _, name := range []string{"a", "b", "a", "c", "a", "b"} {
		if _, err := d.LookupTXT(t.Context(), name+".example"); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"a": 1, "b": 2, "c": 1} {
		if n := z.Asked("TXT", name+".example"); n != want {
			t.Errorf("%s was asked %d times, want %d", name, n, want)
		}
	}
}

func TestAnswersOfManyKilobytesAreNotKept(t *testing.T) {
	z := routetest.New()
	for i := range 100 {
		z.Add(fmt.Sprintf("large.example TXT %q", fmt.Sprintf("%d %s", i, strings.Repeat("x", 100))))
	}
	d := routetest.Resolver(t, z)
	for range 2 {
		if got, err := d.LookupTXT(t.Context(), "large.example"); err != nil || len(got.Records) != 100 {
			t.Fatal(got, err)
		}
	}
	if n := z.Asked("TXT", "large.example"); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// An answer that a caller changes is nobody else's.
func TestAnswersAreTheCallersOwn(t *testing.T) {
	d := routetest.Resolver(t, routetest.New("a.example A 192.0.2.1", `a.example TXT "x"`, "_25._tcp.a.example TLSA 3 1 1 ab"))
	for range 2 {
		a, err := d.LookupAddrs(t.Context(), "a.example", dns.Any)
		check(t, "A", a, err, dns.Answer[netip.Addr]{Name: "a.example", Records: addrs("192.0.2.1")})
		a.Records[0] = netip.Addr{}
		s, err := d.LookupTLSA(t.Context(), 25, "a.example")
		check(t, "TLSA", s, err, dns.Answer[dns.TLSA]{Name: "_25._tcp.a.example", Records: []dns.TLSA{{3, 1, 1, []byte{0xab}}}})
		s.Records[0].Data[0] = 0
	}
}

func TestOneQuestionForAllWhoAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := routetest.New("example.org MX 10 mx.example.org")
		g := &gate{Zone: z, open: make(chan struct{})}
		d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Transport: g, Timeout: time.Hour, Attempts: 1})
		impatient, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { _, err := d.LookupMX(impatient, "example.org"); first <- err }()
		synctest.Wait()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if got, err := d.LookupMX(t.Context(), "EXAMPLE.org"); err != nil || len(got.Records) != 1 {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		}
		hasty, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if _, err := d.LookupMX(hasty, "example.org"); !errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits for another's question and has no time: %v", err)
		}
		if g.waiting() != 1 {
			t.Fatalf("%d questions under way", g.waiting())
		}
		cancel() // one of the others asks again
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first: %v", err)
		}
		synctest.Wait()
		if g.waiting() != 2 {
			t.Fatalf("%d questions, want one more", g.waiting())
		}
		close(g.open)
		all.Wait()
		if n := z.Asked("MX", "example.org"); n != 1 {
			t.Errorf("%d answers for ten", n)
		}
	})
}

// gate holds questions back until it is opened.
type gate struct {
	*routetest.Zone
	open chan struct{}
	mu   sync.Mutex
	came int
}

func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came
}

func (g *gate) Exchange(ctx context.Context, server netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error) {
	g.mu.Lock()
	g.came++
	g.mu.Unlock()
	select {
	case <-g.open:
		return g.Zone.Exchange(ctx, server, query, tcp)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestHostsFileComesFirst(t *testing.T) {
	z := routetest.New("host.example A 192.0.2.1", "only-dns.example A 192.0.2.2")
	path := filepath.Join(t.TempDir(), "hosts")
	d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Validating: []string{"192.0.2.53"}, HostsFile: path, Transport: z})
	ask := func(name string, family dns.Family, want ...string) {
		t.Helper()
		got, err := d.LookupAddrs(t.Context(), name, family)
		check(t, name, got, err, dns.Answer[netip.Addr]{Name: strings.ToLower(name), Records: addrs(want...)})
	}
	ask("host.example", dns.Any, "192.0.2.1") // there is no file
	write(t, path, "10.0.0.1 Host.example h # a comment\n2001:db8::5 host.example\nnonsense x\n10.0.0.2 four.example")
	ask("host.example", dns.Any, "10.0.0.1", "2001:db8::5")
	ask("HOST.example", dns.IPv6, "2001:db8::5")
	ask("h", dns.IPv4, "10.0.0.1")
	ask("only-dns.example", dns.IPv4, "192.0.2.2")
	_, err := d.LookupAddrs(t.Context(), "four.example", dns.IPv6)
	wantError(t, "the other family", err, dns.ErrNoRecords)
	ptr, err := d.LookupPTR(t.Context(), netip.MustParseAddr("10.0.0.1"))
	check(t, "PTR", ptr, err, dns.Answer[string]{Name: "10.0.0.1", Records: []string{"host.example", "h"}})

	write(t, path, "10.0.0.99 host.example\n") // changed: in length
	ask("host.example", dns.Any, "10.0.0.99")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	ask("host.example", dns.Any, "192.0.2.1")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	ask("host.example", dns.Any, "192.0.2.1") // cannot be read
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServersOfResolvConf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		r := &recorder{}
		d := routetest.NewResolver(t, dns.Config{ResolvConf: path, Transport: r})
		ask := func(want ...string) {
			t.Helper()
			r.servers = nil
			begin := time.Now()
			_, err := d.LookupMX(t.Context(), "example.org")
			wantError(t, "no answer", err, dns.ErrTemporary)
			got := append(r.servers, time.Since(begin).String())
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		ask("127.0.0.1:53", "127.0.0.1:53", "6s") // as resolv.conf(5) says where there is none
		write(t, path, "# nameserver 192.0.2.9\n;nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\nnameserver nonsense\n nameserver 2001:db8::1\noptions ndots:5 timeout:2 attempts:1 rotate\n")
		ask("192.0.2.1:53", "[2001:db8::1]:53", "4s")
		write(t, path, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\noptions timeout:0 attempts:x\noptions attempts:1")
		ask("192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53", "9s")
	})
}

// recorder never answers.
type recorder struct {
	mu      sync.Mutex
	servers []string
}

func (r *recorder) Exchange(ctx context.Context, server netip.AddrPort, _ *miekg.Msg, _ bool) (*miekg.Msg, error) {
	r.mu.Lock()
	r.servers = append(r.servers, server.String())
	r.mu.Unlock()
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]dns.Config{
		"no servers":            {ResolvConf: dns.NoFile},
		"a name":                {Servers: []string{"ns.example.org"}},
		"port 0":                {Servers: []string{"192.0.2.1:0"}},
		"validating, no addr":   {Validating: []string{"x"}},
		"validating, not asked": {Servers: []string{"192.0.2.1"}, Validating: []string{"192.0.2.1:54"}},
		"negative":              {Timeout: -1},
		"bounds crossed":        {MinTTL: 48 * time.Hour},
	} {
		if _, err := dns.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := dns.New(dns.Config{}); err != nil {
		t.Error(err)
	}
}
