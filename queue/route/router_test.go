package route_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/routetest"
)

func router(t *testing.T, zone *routetest.Zone, cfg route.RouterConfig) *route.Router {
	t.Helper()
	if cfg.Resolver == nil {
		cfg.Resolver = routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Validating: []string{"192.0.2.53"},
			Transport: zone, Timeout: time.Millisecond, Attempts: 1})
	}
	if cfg.Random == nil {
		cfg.Random = rand.NewPCG(1, 2)
	}
	r, err := route.NewRouter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func tableOf(t *testing.T, rules ...route.Rule) func() route.Table {
	t.Helper()
	table, err := route.NewTable(rules)
	if err != nil {
		t.Fatal(err)
	}
	return func() route.Table { return table }
}

// short writes a plan's hosts as "10 name addr,addr!"; "!" marks what is authentic.
func short(p route.Plan) string {
	var hosts []string
	for _, h := range p.Hosts {
		var list []string
		for _, a := range h.Addrs {
			list = append(list, a.String())
		}
		s := fmt.Sprintf("%d %s %s", h.Preference, h.Name, strings.Join(list, ","))
		if h.Authentic {
			s += "!"
		}
		hosts = append(hosts, s)
	}
	return strings.Join(hosts, "; ")
}

func TestHostsOfADomain(t *testing.T) {
	z := routetest.New(
		"two.test MX 20 b.test", "two.test MX 10 a.test", "a.test A 192.0.2.1", "a.test AAAA 2001:db8::1", "b.test A 192.0.2.2",
		"signed.test MX 10 signed-mx.test", "signed.test MX 20 a.test", "signed-mx.test A 192.0.2.3",
		"loose.test MX 10 signed-mx.test",
		"twice.test MX 20 a.test", "twice.test MX 10 a.test", "twice.test MX 30 A.test",
		"null.test MX 0 .", "null.test A 192.0.2.66", "nullplus.test MX 0 .", "nullplus.test MX 10 a.test",
		"implicit.test A 192.0.2.4", "implicit.test AAAA 2001:db8::4", "implicit.test A 192.0.2.5",
		"alias.test CNAME two.test", "alias2.test CNAME implicit.test",
		"nothing.test TXT x",
		"cname.test MX 10 c.test", "cname.test MX 20 a.test", "c.test CNAME a.test", "onlycname.test MX 10 c.test",
		"gone.test MX 10 no.gone.test", "gone.test MX 20 nothing.test", "gone.test MX 30 a.test", "allgone.test MX 10 no.gone.test",
		"bad.test MX 10 multicast.test", "bad.test MX 20 zero.test", "bad.test MX 30 a.test", "bad.test MX 40 link.test", "allbad.test A 0.0.0.0",
		"multicast.test A 224.0.0.1", "multicast.test A 255.255.255.255", "multicast.test AAAA ff02::1", "zero.test A 0.1.2.3", "zero.test AAAA ::", "link.test AAAA fe80::1",
		"mapped.test A 192.0.2.7", "mapped.test AAAA ::ffff:192.0.2.7",
		"slow.test MX 10 silent.test", "slow.test MX 20 a.test", "allslow.test MX 10 no.gone.test", "allslow.test MX 20 silent.test",
		"xn--bcher-kva.test MX 10 a.test",
		"me.test MX 10 self.test", "me.test MX 5 b.test", "me.test MX 10 a.test", "me.test MX 20 c.test", "self.test A 203.0.113.1",
		"me2.test MX 10 other-name.test", "me2.test MX 5 b.test", "me2.test MX 10 a.test", "me2.test MX 20 a.test", "other-name.test A 203.0.113.1",
		"me3.test MX 10 self-alias.test", "me3.test MX 5 b.test", "self-alias.test CNAME self.test",
		"best.test MX 10 Self.test", "best.test MX 20 a.test", "best2.test MX 10 other-name.test", "best2.test MX 20 a.test",
		"onlyme.test MX 10 self.test", "iam.test A 203.0.113.1", "iam2.test CNAME self.test",
		"mebutslow.test MX 10 silent.test", "mebutslow.test MX 20 self.test", "meandslow.test MX 10 silent.test", "meandslow.test MX 10 other-name.test",
		"literally.test MX 10 192.0.2.1", "servfail.test A 192.0.2.1")
	z.Secure("signed.test", "signed-mx.test", "implicit.test")
	z.Fail("silent.test", routetest.Silence)
	z.Fail("servfail.test", routetest.ServFail)
	r := router(t, z, route.RouterConfig{
		Self: func() route.Self {
			return route.Self{Names: []string{"SELF.test."}, Addrs: addrs("203.0.113.1", "2001:db8:ffff::1")}
		},
		Table: tableOf(t, route.Rule{Domain: "*.smart.test", Kind: route.Smarthost, Host: "a.test"},
			route.Rule{Domain: "[192.0.2.99]", Kind: route.Reject}),
	})
	const a = "a.test [2001:db8::1]:25,192.0.2.1:25"
	for _, tc := range []struct{ name, domain, want string }{
		{"in order of preference", "two.test", "10 " + a + "; 20 b.test 192.0.2.2:25"},
		{"any case", "TWO.Test", "10 " + a + "; 20 b.test 192.0.2.2:25"},
		{"authentic all the way", "signed.test", "10 signed-mx.test 192.0.2.3:25!; 20 " + a},
		{"authentic but for the MX records", "loose.test", "10 signed-mx.test 192.0.2.3:25"},
		{"a host that is named again", "twice.test", "10 " + a},
		{"null MX (RFC 7505)", "null.test", "556 5.1.10 The domain null.test takes no mail"},
		{"null MX beside another", "nullplus.test", "10 " + a},
		{"no MX (RFC 5321 §5.1)", "implicit.test", "0 implicit.test [2001:db8::4]:25,192.0.2.4:25,192.0.2.5:25!"},
		{"alias of a domain with MX", "alias.test", "10 " + a + "; 20 b.test 192.0.2.2:25"},
		{"alias of a domain without MX", "alias2.test", "0 implicit.test [2001:db8::4]:25,192.0.2.4:25,192.0.2.5:25"},
		{"neither MX nor address", "nothing.test", "550 5.1.2 The domain nothing.test has no mail exchanger and no address"},
		{"no domain", "no-such.test", "550 5.1.2 The domain no-such.test does not exist"},
		{"MX that is an alias", "cname.test", "20 " + a},
		{"nothing but an MX that is an alias", "onlycname.test",
			"550 5.4.4 No mail exchanger of onlycname.test can be used: c.test is an alias, of a.test, which the host of an MX record must not be"},
		{"MX that does not exist", "gone.test", "30 " + a},
		{"nothing but an MX that does not exist", "allgone.test",
			"550 5.4.4 No mail exchanger of allgone.test can be used: no.gone.test: look up A of no.gone.test: no such domain"},
		{"addresses of nobody", "bad.test", "30 " + a},
		{"nothing but an address of nobody", "allbad.test", "550 5.1.2 The domain allbad.test has no mail exchanger and no address"},
		{"an address in two forms", "mapped.test", "0 mapped.test 192.0.2.7:25"},
		{"MX without an answer", "slow.test", "20 " + a},
		{"nothing but an MX without an answer", "allslow.test", "451 4.4.3 The DNS does not answer for the mail exchangers of allslow.test"},
		{"no answer", "servfail.test", "451 4.4.3 The DNS does not answer for servfail.test"},
		{"U-labels", "bücher.test", "10 " + a},
		{"this host by name", "me.test", "5 b.test 192.0.2.2:25"},
		{"this host by address", "me2.test", "5 b.test 192.0.2.2:25"},
		{"this host by alias", "me3.test", "5 b.test 192.0.2.2:25"},
		{"this host is best, by name", "best.test", "550 5.4.6 Mail for best.test loops back to this host, its best mail exchanger that can be used"},
		{"this host is best, by address", "best2.test", "550 5.4.6 Mail for best2.test loops back to this host, its best mail exchanger that can be used"},
		{"nobody but this host", "onlyme.test", "550 5.4.6 Mail for onlyme.test loops back to this host, which does not know the domain as its own"},
		{"this host without MX", "iam.test", "550 5.4.6 Mail for iam.test loops back to this host, which does not know the domain as its own"},
		{"this host's alias without MX", "iam2.test", "550 5.4.6 Mail for iam2.test loops back to this host, which does not know the domain as its own"},
		{"a better host has no answer", "mebutslow.test", "451 4.4.3 The DNS does not answer for the mail exchangers of mebutslow.test"},
		{"an equal host has no answer", "meandslow.test", "550 5.4.6 Mail for meandslow.test loops back to this host, its best mail exchanger that can be used"},
		{"an address as a name", "literally.test", "550 5.4.4 No mail exchanger of literally.test can be used: 192.0.2.1: look up A of 192.0.2.1: no such domain"},
		{"IPv4 literal", "[192.0.2.1]", "0 192.0.2.1 192.0.2.1:25"},
		{"IPv6 literal", "[ipv6:2001:DB8::1]", "0 2001:db8::1 [2001:db8::1]:25"},
		{"literal with an IPv4 address in IPv6", "[IPv6:::ffff:192.0.2.1]", "0 192.0.2.1 192.0.2.1:25"},
		{"literal of nobody", "[0.0.0.0]", "550 5.1.2 No mail can be sent to the address [0.0.0.0]"},
		{"literal of this host", "[203.0.113.1]", "550 5.4.6 Mail for [203.0.113.1] loops back to this host, which does not know the domain as its own"},
		{"literal with a rule", "[192.0.2.99]", "550 5.7.1 Mail for this domain is not accepted"},
		{"a rule", "x.smart.test", "0 a.test [2001:db8::1]:25,192.0.2.1:25"},
		{"no domain at all", "a..b\r\nü", `553 5.1.3 "a..b\r\n\u00fc" is no domain`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := r.Hosts(t.Context(), tc.domain)
			got := short(p)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			var e *route.Error
			if err != nil && (!errors.As(err, &e) || e.Permanent != (e.Code >= 500) || errors.Is(err, dns.ErrTemporary) == e.Permanent) {
				t.Errorf("%#v", err)
			}
		})
	}
}

// RFC 5321 §5.1: equal hosts are cut with this one, in whatever order they are tried, and by whatever it is known.
func TestThisSiteIsCutFromTheList(t *testing.T) {
	z := routetest.New("better.test A 192.0.2.1", "equal.test A 192.0.2.2", "worse.test A 192.0.2.3", "named.test A 192.0.2.4", "alias.test CNAME named.test", "other.test A 203.0.113.1",
		"slow.test MX 10 silent.test", "slow.test MX 10 other.test", "implicit.test CNAME named.test")
	z.Fail("silent.test", routetest.Silence)
	for _, me := range []string{"named", "alias", "other", "lost"} {
		z.Add(me+".x.test MX 5 better.test", me+".x.test MX 10 equal.test", me+".x.test MX 10 "+me+".test", me+".x.test MX 20 worse.test")
	}
	self := func() route.Self {
		return route.Self{Names: []string{"named.test", "lost.test"}, Addrs: addrs("203.0.113.1")}
	}
	for seed := range uint64(20) {
		r := router(t, z, route.RouterConfig{Self: self, Random: rand.NewPCG(seed, seed)})
		for _, domain := range []string{"named.x.test", "alias.x.test", "other.x.test", "lost.x.test"} {
			if p, err := r.Hosts(t.Context(), domain); err != nil || short(p) != "5 better.test 192.0.2.1:25" {
				t.Errorf("seed %d: %s: got %s, %v", seed, domain, short(p), err)
			}
		}
		for _, domain := range []string{"slow.test", "implicit.test", "named.test"} {
			var e *route.Error
			if _, err := r.Hosts(t.Context(), domain); !errors.As(err, &e) || e.Enhanced != "5.4.6" {
				t.Errorf("seed %d: %s: got %v", seed, domain, err)
			}
		}
	}
}

// Mail that waited when its domain became this site's is delivered, and not sent back as a loop.
func TestDomainsThatBecameLocalAreNoLoop(t *testing.T) {
	z := routetest.New("moved.test MX 10 self.test", "moved2.test A 203.0.113.1", "other.test MX 10 self.test", "self.test A 203.0.113.1")
	r := router(t, z, route.RouterConfig{Self: func() route.Self { return route.Self{Names: []string{"self.test"}, Addrs: addrs("203.0.113.1")} },
		Local: func(domain string) bool { return strings.HasPrefix(domain, "moved") }})
	for domain, want := range map[string]string{"moved.test": "10 self.test 203.0.113.1:25", "moved2.test": "0 moved2.test 203.0.113.1:25"} {
		if p, err := r.Hosts(t.Context(), domain); err != nil || short(p) != want {
			t.Errorf("%s: got %s, %v", domain, short(p), err)
		}
	}
	var e *route.Error
	if _, err := r.Hosts(t.Context(), "other.test"); !errors.As(err, &e) || e.Enhanced != "5.4.6" {
		t.Errorf("another: %v", err)
	}
}

func TestPlansSayWhatTheyAre(t *testing.T) {
	z := routetest.New("a.test MX 10 mx.a.test", "a.test MX 20 gone.test", "mx.a.test A 192.0.2.1", "relay.test A 192.0.2.2", "relay2.test A 192.0.2.3", "relay.test AAAA 2001:db8::2")
	r := router(t, z, route.RouterConfig{Resolver: routetest.NewResolver(t, dns.Config{Servers: []string{routetest.Serve(t, z)}}), Families: []dns.Family{dns.IPv4}, Port: 2525, Table: tableOf(t,
		route.Rule{Domain: "tls.test", TLS: route.TLSVerify},
		route.Rule{Domain: "sub.test", Kind: route.Smarthost, Host: "relay2.test, 192.0.2.9 ,[2001:db8::9], relay.test", Port: 26},
		route.Rule{Domain: "login.test", Kind: route.Smarthost, Host: "Relay.test", Username: "me", Password: "secret"},
		route.Rule{Domain: "hole.test", Kind: route.Discard})})
	ap := func(s string) []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(s)} }
	z.Add("tls.test MX 1 mx.a.test")
	for _, want := range []route.Plan{
		{Domain: "a.test", Kind: route.ByMX, Key: "mx:a.test", MXDomain: "a.test", TLS: route.TLSMay, Notes: []string{"gone.test: look up A of gone.test: no such domain"},
			Hosts: []route.Host{{Name: "mx.a.test", Preference: 10, Addrs: ap("192.0.2.1:2525")}}},
		{Domain: "tls.test", Kind: route.ByMX, Key: "mx:tls.test", MXDomain: "tls.test", TLS: route.TLSVerify, Hosts: []route.Host{{Name: "mx.a.test", Preference: 1, Addrs: ap("192.0.2.1:2525")}}},
		{Domain: "sub.test", Kind: route.Smarthost, Key: "smart:relay2.test,192.0.2.9,2001:db8::9,relay.test:26/may/", TLS: route.TLSMay,
			Notes: []string{"2001:db8::9: no address that mail can be sent to"},
			Hosts: []route.Host{{Name: "relay2.test", Preference: 0, Addrs: ap("192.0.2.3:26")}, {Name: "192.0.2.9", Preference: 1, Addrs: ap("192.0.2.9:26")},
				{Name: "relay.test", Preference: 3, Addrs: ap("192.0.2.2:26")}}},
		{Domain: "login.test", Kind: route.Smarthost, Key: r.Destination("login.test"), TLS: route.TLSVerify, Username: "me", Password: "secret",
			Hosts: []route.Host{{Name: "relay.test", Addrs: ap("192.0.2.2:587")}}},
		{Domain: "hole.test", Kind: route.Discard, Key: "discard", TLS: route.TLSMay},
		{Domain: "[192.0.2.1]", Kind: route.ByMX, Key: "mx:[192.0.2.1]", TLS: route.TLSMay, Hosts: []route.Host{{Name: "192.0.2.1", Addrs: ap("192.0.2.1:2525")}}},
	} {
		got, err := r.Hosts(t.Context(), want.Domain)
		if err != nil || got.Key != r.Destination(want.Domain) {
			t.Errorf("%s: the destination is %s: %v", want.Domain, r.Destination(want.Domain), err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s: %s", want.Domain, diff)
		}
	}
}

// Domains are one destination if equal rules lead them to a smarthost.
func TestDestinations(t *testing.T) {
	smart := func(domain, host, username, password string) route.Rule {
		return route.Rule{Domain: domain, Kind: route.Smarthost, Host: host, Username: username, Password: route.Secret(password)}
	}
	r := router(t, routetest.New(), route.RouterConfig{Table: tableOf(t, smart("*.one.test", "relay.test", "", ""), smart("two.test", "Relay.test", "", ""),
		smart("other.test", "relay2.test", "", ""), smart("user.test", "relay.test", "u", "p"), smart("user2.test", "relay.test", "u", "p"),
		smart("old.test", "relay.test", "u", "old"), route.Rule{Domain: "hole.test", Kind: route.Discard}, route.Rule{Domain: "no.test", Kind: route.Reject, Text: "450 4.7.1 later"})})
	for _, one := range []struct {
		a, b string
		same bool
	}{
		{"a.one.test", "b.one.test", true},
		{"a.one.test", "two.test", true},
		{"two.test", "other.test", false},
		{"two.test", "user.test", false},
		{"user.test", "user2.test", true},
		{"user.test", "old.test", false}, // a password that is wrong must not count for the right one
		{"a.test", "b.test", false},
		{"Viện.test", "xn--vin-5kz.test", true},
		{"hole.test", "a.test", false},
		{"no.test", "a.test", false},
		{"-", "a b", false},
	} {
		if same := r.Destination(one.a) == r.Destination(one.b); same != one.same {
			t.Errorf("%s and %s: %s, %s", one.a, one.b, r.Destination(one.a), r.Destination(one.b))
		}
	}
	if d := r.Destination("old.test"); strings.Contains(d, "old") {
		t.Errorf("a password shows in %s", d)
	}
	for _, domain := range []string{"no.test", "-", "gone.test"} {
		if p, err := r.Hosts(t.Context(), domain); err == nil || p.Key != r.Destination(domain) {
			t.Errorf("%s: %v, its key is %s", domain, err, p.Key)
		}
	}
}

// What is wrong with a smarthost never returns mail to its sender.
func TestTroubleWithASmarthostIsTemporary(t *testing.T) {
	z := routetest.New("empty.test TXT x")
	z.Fail("silent.test", routetest.Silence)
	for host, want := range map[string]string{
		"gone.test":             "451 4.3.5 No address is known for gone.test",
		"empty.test":            "451 4.3.5 No address is known for empty.test",
		"0.0.0.0":               "451 4.3.5 No address is known for 0.0.0.0",
		"silent.test":           "451 4.4.3 The DNS does not answer for silent.test",
		"empty.test,gone.test":  "451 4.3.5 No address is known for empty.test,gone.test",
		"gone.test,silent.test": "451 4.4.3 The DNS does not answer for gone.test,silent.test",
	} {
		r := router(t, z, route.RouterConfig{Table: tableOf(t, route.Rule{Domain: "*", Kind: route.Smarthost, Host: host})})
		_, err := r.Hosts(t.Context(), "example.org")
		var e *route.Error
		if !errors.As(err, &e) || e.Error() != want || e.Permanent {
			t.Errorf("%s: got %v, want %s", host, err, want)
		}
	}
}

// RFC 5321 §5.1: the sender MUST randomize hosts of equal preference. All six orders of three come.
func TestEqualHostsAreShuffled(t *testing.T) {
	z := routetest.New("x.test MX 10 a.test", "x.test MX 10 b.test", "x.test MX 10 c.test", "x.test MX 5 first.test", "a.test A 192.0.2.1", "b.test A 192.0.2.2", "c.test A 192.0.2.3", "first.test A 192.0.2.4")
	orders := func(seed uint64) map[string]int {
		r, seen := router(t, z, route.RouterConfig{Random: rand.NewPCG(seed, seed)}), map[string]int{}
		for range 300 {
			p, err := r.Hosts(t.Context(), "x.test")
			if err != nil || len(p.Hosts) != 4 || p.Hosts[0].Name != "first.test" {
				t.Fatalf("%+v, %v", p, err)
			}
			seen[p.Hosts[1].Name+p.Hosts[2].Name+p.Hosts[3].Name]++
		}
		return seen
	}
	one := orders(1)
	if len(one) != 6 {
		t.Errorf("orders: %v", one)
	}
	if diff := cmp.Diff(one, orders(1)); diff != "" {
		t.Errorf("the same seed gives other orders: %s", diff)
	}
}

func TestPlansAreBounded(t *testing.T) {
	z := routetest.New()
	for i := range 100 {
		z.Add(fmt.Sprintf("x.test MX %d mx%d.test", i, i), fmt.Sprintf("mx%d.test A 192.0.2.1", i), fmt.Sprintf("many.test A 192.0.2.%d", i))
	}
	r := router(t, z, route.RouterConfig{MaxHosts: 3, MaxAddrs: 4})
	p, err := r.Hosts(t.Context(), "x.test")
	if err != nil || short(p) != "0 mx0.test 192.0.2.1:25; 1 mx1.test 192.0.2.1:25; 2 mx2.test 192.0.2.1:25" {
		t.Errorf("%+v, %v", p, err)
	}
	if len(p.Notes) != 1 || p.Notes[0] != "97 more mail exchangers are not used" {
		t.Errorf("notes: %q", p.Notes)
	}
	if n := z.Asked("A", "mx3.test"); n != 0 {
		t.Error("asked for the address of a host that is too many")
	}
	if p, err := r.Hosts(t.Context(), "many.test"); err != nil || len(p.Hosts[0].Addrs) != 4 {
		t.Errorf("%+v, %v", p, err)
	}
}

// Many addresses of one family hide none of the other.
func TestBothFamiliesAreAmongTheFirstAddresses(t *testing.T) {
	z := routetest.New("few.test A 192.0.2.1", "few.test AAAA 2001:db8::1")
	for i := range 20 {
		z.Add(fmt.Sprintf("six.test AAAA 2001:db8::%x", i+1), fmt.Sprintf("both.test A 192.0.2.%d", i+1), fmt.Sprintf("both.test AAAA 2001:db8::%x", i+1))
	}
	z.Add("six.test A 192.0.2.1")
	r := router(t, z, route.RouterConfig{MaxAddrs: 5})
	for domain, want := range map[string][2]int{"few.test": {1, 1}, "six.test": {4, 1}, "both.test": {3, 2}} {
		p, err := r.Hosts(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		var got [2]int
		for _, a := range p.Hosts[0].Addrs {
			if a.Addr().Is4() {
				got[1]++
			} else {
				got[0]++
			}
		}
		if got != want || p.Hosts[0].Addrs[0].Addr().Is4() {
			t.Errorf("%s: %v addresses of IPv6 and IPv4, want %v: %v", domain, got, want, p.Hosts[0].Addrs)
		}
	}
}

func TestFamilies(t *testing.T) {
	z := routetest.New("x.test A 192.0.2.1", "x.test AAAA 2001:db8::1", "six.test AAAA 2001:db8::6", "y.test MX 1 six.test")
	for _, tc := range []struct {
		families []dns.Family
		want     string
	}{
		{nil, "0 x.test [2001:db8::1]:25,192.0.2.1:25"},
		{[]dns.Family{dns.IPv4, dns.IPv6}, "0 x.test 192.0.2.1:25,[2001:db8::1]:25"},
		{[]dns.Family{dns.IPv4}, "0 x.test 192.0.2.1:25"},
		{[]dns.Family{dns.IPv6}, "0 x.test [2001:db8::1]:25"},
	} {
		p, err := router(t, z, route.RouterConfig{Families: tc.families}).Hosts(t.Context(), "x.test")
		if err != nil || short(p) != tc.want {
			t.Errorf("%v: got %s, %v, want %s", tc.families, short(p), err, tc.want)
		}
	}
	four := router(t, z, route.RouterConfig{Families: []dns.Family{dns.IPv4}})
	for _, ask := range []string{"six.test", "y.test", "[IPv6:2001:db8::1]"} {
		if _, err := four.Hosts(t.Context(), ask); err == nil || errors.Is(err, dns.ErrTemporary) {
			t.Errorf("%s without IPv6: %v", ask, err)
		}
	}
	resolver := routetest.Resolver(t, z)
	for name, cfg := range map[string]route.RouterConfig{
		"no resolver": {}, "any": {Resolver: resolver, Families: []dns.Family{dns.Any}}, "twice": {Resolver: resolver, Families: []dns.Family{dns.IPv4, dns.IPv4}},
		"none": {Resolver: resolver, Families: []dns.Family{}}, "one host": {Resolver: resolver, MaxHosts: 1}, "no address": {Resolver: resolver, MaxAddrs: -1},
	} {
		if _, err := route.NewRouter(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Hosts whose servers are dead are waited for at the same time.
func TestSlowHostsAreLookedUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := routetest.New("a.test A 192.0.2.1", "x.test MX 99 a.test")
		for i := range 10 {
			z.Add(fmt.Sprintf("x.test MX 10 dead%d.test", i))
			z.Fail(fmt.Sprintf("dead%d.test", i), routetest.Silence)
		}
		d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Transport: z, Timeout: time.Second, Attempts: 2})
		r, err := route.NewRouter(route.RouterConfig{Resolver: d})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		p, err := r.Hosts(t.Context(), "x.test")
		if err != nil || len(p.Hosts) != 1 || len(p.Notes) != 10 || time.Since(begin) != 2*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(begin), p, err)
		}
	})
}

func TestTheLongestRuleDecides(t *testing.T) {
	table := tableOf(t,
		route.Rule{Domain: "*", Text: "0"}, route.Rule{Domain: "*.test", Text: "1"}, route.Rule{Domain: "*.Example.test", Text: "2"}, route.Rule{Domain: "example.test", Text: "3"},
		route.Rule{Domain: "a.b.example.test", Text: "4"}, route.Rule{Domain: "bücher.test", Text: "5"}, route.Rule{Domain: "[ipv6:2001:db8:0::1]", Text: "6"})()
	for domain, want := range map[string]string{
		"example.test": "3", "EXAMPLE.test": "3", "x.example.test": "2", "b.example.test": "2", "a.b.example.test": "4", "x.a.b.example.test": "2", "other.test": "1", "test": "0",
		"notexample.test": "1", "example.org": "0", "xn--bcher-kva.test": "5", "[IPv6:2001:db8::1]": "6", "[192.0.2.1]": "0", "": "0", "a..test": "0",
	} {
		if got := table.Decide(domain); got.Text != want || got.Kind != route.ByMX || got.TLS != route.TLSMay {
			t.Errorf("%q: got %+v, want %s", domain, got, want)
		}
	}
	if got := (route.Table{}).Decide("example.org"); got != (route.Rule{Domain: "*", Kind: route.ByMX, TLS: route.TLSMay}) {
		t.Errorf("without rules: %+v", got)
	}
}

func TestRulesAreChecked(t *testing.T) {
	smart := func(r route.Rule) route.Rule { r.Domain, r.Kind = "x.test", route.Smarthost; return r }
	many := strings.Repeat("a.test,", 17)
	for name, rules := range map[string][]route.Rule{
		"no pattern":                {{}},
		"no domain":                 {{Domain: "a..b"}},
		"star within":               {{Domain: "a.*.b"}},
		"below an address":          {{Domain: "*.[192.0.2.1]"}},
		"two of a pattern":          {{Domain: "a.test"}, {Domain: "A.TEST"}},
		"no such kind":              {{Domain: "*", Kind: "local"}},
		"no such TLS":               {{Domain: "*", TLS: "maybe"}},
		"smarthost without host":    {smart(route.Rule{})},
		"smarthost without one":     {smart(route.Rule{Host: "a.test,,b.test"})},
		"smarthost and port":        {smart(route.Rule{Host: "a.test:25"})},
		"too many":                  {smart(route.Rule{Host: many[:len(many)-1]})},
		"password in clear":         {smart(route.Rule{Host: "a.test", Username: "u", TLS: route.TLSMay})},
		"password in clear, surely": {smart(route.Rule{Host: "a.test", Username: "u", TLS: route.TLSNone})},
		"implicit TLS to MX":        {{Domain: "*", TLS: route.TLSImplicit}},
		"host to MX":                {{Domain: "*", Host: "a.test"}},
		"login to MX":               {{Domain: "*", Username: "u"}},
		"text of two lines":         {{Domain: "*", Kind: route.Reject, Text: "a\r\nb"}},
		"text that is not ASCII":    {{Domain: "*", Kind: route.Reject, Text: "không"}},
		"text with codes at odds":   {{Domain: "*", Kind: route.Reject, Text: "550 4.7.1 x"}},
		"text that is long":         {{Domain: "*", Kind: route.Reject, Text: strings.Repeat("x", 401)}},
	} {
		if _, err := route.NewTable(rules); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSmarthostDefaults(t *testing.T) {
	for _, tc := range []struct {
		rule route.Rule
		port uint16
		tls  route.TLS
	}{
		{route.Rule{}, 25, route.TLSMay},
		{route.Rule{TLS: route.TLSEncrypt}, 25, route.TLSEncrypt},
		{route.Rule{Username: "u"}, 587, route.TLSVerify},
		{route.Rule{Username: "u", TLS: route.TLSEncrypt}, 587, route.TLSEncrypt},
		{route.Rule{TLS: route.TLSImplicit}, 465, route.TLSImplicit},
		{route.Rule{Username: "u", TLS: route.TLSImplicit, Port: 1465}, 1465, route.TLSImplicit},
	} {
		tc.rule.Domain, tc.rule.Kind, tc.rule.Host = "*", route.Smarthost, "a.test"
		if got := tableOf(t, tc.rule)().Decide("x.test"); got.Port != tc.port || got.TLS != tc.tls {
			t.Errorf("%+v: port %d, TLS %s", tc.rule, got.Port, got.TLS)
		}
	}
}

func TestRejectRules(t *testing.T) {
	for text, want := range map[string]route.Error{
		"":                         {Code: 550, Enhanced: "5.7.1", Text: "Mail for this domain is not accepted", Permanent: true},
		"Gone away":                {Code: 550, Enhanced: "5.7.1", Text: "Gone away", Permanent: true},
		"551 5.1.6 Ask x@y.test":   {Code: 551, Enhanced: "5.1.6", Text: "Ask x@y.test", Permanent: true},
		"450 4.7.1 Not before May": {Code: 450, Enhanced: "4.7.1", Text: "Not before May"},
		"404 is no code":           {Code: 550, Enhanced: "5.7.1", Text: "404 is no code", Permanent: true},
	} {
		r := router(t, routetest.New(), route.RouterConfig{Table: tableOf(t, route.Rule{Domain: "*", Kind: route.Reject, Text: text})})
		_, err := r.Hosts(t.Context(), "example.org")
		var e *route.Error
		if !errors.As(err, &e) || *e != want {
			t.Errorf("%q: got %+v", text, err)
		}
	}
}

// A password must not get into a log by the way of a whole plan.
func TestPasswordsHide(t *testing.T) {
	p := route.Plan{Username: "user", Password: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "plan", p, "password", p.Password)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "plan", p, "password", p.Password)
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%+v %#v %q %s %x %d", p, p, p.Password, p.Password, p.Password, p.Password), string(raw), log.String()} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, "68756e746572") || !strings.Contains(s, "[hidden]") {
			t.Error(s)
		}
	}
}
