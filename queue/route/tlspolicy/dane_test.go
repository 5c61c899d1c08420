package tlspolicy_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/routetest"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
)

// tlsa makes the record that names a certificate.
func tlsa(usage, selector, matching uint8, of *authority) dns.TLSA {
	data := of.cert.Raw
	if selector == 1 {
		data = of.cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dns.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

func TestVerifyDANE(t *testing.T) {
	root := issue(t, nil, isCA)
	middle := issue(t, root, isCA)
	leaf := issue(t, middle, named("mx.example.test"))
	self := issue(t, nil, named("elsewhere.test"))
	old := issue(t, middle, func(c *x509.Certificate) {
		c.DNSNames, c.NotAfter = []string{"mx.example.test"}, certTime.AddDate(0, -1, 0)
	})
	oldRoot := issue(t, nil, func(c *x509.Certificate) { isCA(c); c.NotAfter = certTime.AddDate(0, -1, 0) })
	underOld := issue(t, oldRoot, named("mx.example.test"))
	notCA := issue(t, root, named("mx.example.test"))
	underNotCA := issue(t, notCA, named("mx.example.test"))
	stranger := issue(t, nil, isCA)
	underStranger := issue(t, stranger, named("mx.example.test"))

	one, two := []string{"mx.example.test", "example.test"}, []string{"other.test", "example.test"}
	none := tlspolicy.ErrDANEMismatch
	type list = []dns.TLSA
	type chain = []*authority
	for _, tc := range []struct {
		name    string
		records list
		chain   chain
		names   []string
		want    error
	}{
		{"EE, whole", list{tlsa(3, 0, 0, leaf)}, chain{leaf}, one, nil},
		{"EE, whole, SHA-256", list{tlsa(3, 0, 1, leaf)}, chain{leaf}, one, nil},
		{"EE, whole, SHA-512", list{tlsa(3, 0, 2, leaf)}, chain{leaf}, one, nil},
		{"EE, key", list{tlsa(3, 1, 0, leaf)}, chain{leaf}, one, nil},
		{"EE, key, SHA-256", list{tlsa(3, 1, 1, leaf)}, chain{leaf}, one, nil},
		{"EE, key, SHA-512", list{tlsa(3, 1, 2, leaf)}, chain{leaf}, one, nil},
		{"EE asks for no name and no authority (RFC 7672 §3.1.1)", list{tlsa(3, 1, 1, self)}, chain{self}, one, nil},
		{"EE asks for no date", list{tlsa(3, 1, 1, old)}, chain{old}, one, nil},
		{"EE, one of several", list{tlsa(3, 1, 1, self), tlsa(3, 1, 1, leaf)}, chain{leaf}, one, nil},
		{"EE, another", list{tlsa(3, 1, 1, self)}, chain{leaf}, one, none},
		{"EE, another, whole", list{tlsa(3, 0, 0, self)}, chain{leaf}, one, none},
		{"EE names no authority", list{tlsa(3, 1, 1, middle)}, chain{leaf, middle}, one, none},
		{"EE, the other selector", list{{Usage: 3, Selector: 0, Matching: 1, Data: tlsa(3, 1, 1, leaf).Data}}, chain{leaf}, one, none},

		{"TA, root", list{tlsa(2, 0, 1, root)}, chain{leaf, middle, root}, one, nil},
		{"TA, root, key", list{tlsa(2, 1, 2, root)}, chain{leaf, middle, root}, one, nil},
		{"TA, between", list{tlsa(2, 1, 1, middle)}, chain{leaf, middle}, one, nil},
		{"TA, any order of the others", list{tlsa(2, 1, 1, root)}, chain{leaf, root, middle}, one, nil},
		{"TA, not sent (RFC 7671 §5.2.2)", list{tlsa(2, 0, 1, root)}, chain{leaf, middle}, one, none},
		{"TA, not sent, in the record", list{tlsa(2, 0, 0, root)}, chain{leaf, middle}, one, nil},
		{"TA, key in the record (RFC 7671 §5.2.3)", list{tlsa(2, 1, 0, root)}, chain{leaf, middle}, one, nil},
		{"TA, key in the record, of the host's issuer", list{tlsa(2, 1, 0, middle)}, chain{leaf}, one, nil},
		{"TA, key in the record, of another", list{tlsa(2, 1, 0, stranger)}, chain{leaf, middle}, one, none},
		{"TA, whole in the record, of another", list{tlsa(2, 0, 0, stranger)}, chain{leaf, middle, root}, one, none},
		{"TA, the next-hop domain's name (RFC 7672 §3.2.2)", list{tlsa(2, 1, 1, middle)}, chain{leaf, middle}, []string{"other.test", "mx.example.test"}, nil},
		{"TA, another name", list{tlsa(2, 1, 1, middle)}, chain{leaf, middle}, two, none},
		{"TA, no name", list{tlsa(2, 1, 1, middle)}, chain{leaf, middle}, nil, none},
		{"TA, expired", list{tlsa(2, 1, 1, middle)}, chain{old, middle}, one, none},
		{"TA, itself expired", list{tlsa(2, 1, 1, oldRoot)}, chain{underOld, oldRoot}, one, none},
		{"TA, a certificate that may not sign", list{tlsa(2, 1, 1, root)}, chain{underNotCA, notCA, root}, one, none},
		{"TA, not in the way", list{tlsa(2, 1, 1, root)}, chain{underStranger, stranger, root}, one, none},
		{"TA, somebody's certificate with the right authority beside it", list{tlsa(2, 0, 0, root)}, chain{underStranger, middle, root}, one, none},
		{"TA is not the host's own", list{tlsa(2, 1, 1, leaf)}, chain{leaf}, one, none},
		{"TA fails, EE does not", list{tlsa(2, 1, 1, stranger), tlsa(3, 1, 1, leaf)}, chain{leaf, middle}, one, nil},

		{"nothing sent", list{tlsa(3, 1, 1, leaf)}, nil, one, none},
		{"no records", nil, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"PKIX-TA", list{tlsa(0, 1, 1, middle)}, chain{leaf, middle}, one, tlspolicy.ErrDANEUnusable},
		{"PKIX-EE (RFC 7672 §3.1.3)", list{tlsa(1, 1, 1, leaf)}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"a usage of the future", list{tlsa(4, 1, 1, leaf)}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"a selector of the future", list{tlsa(3, 2, 1, leaf)}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"a digest of the future", list{tlsa(3, 1, 3, leaf)}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"half a digest", list{{Usage: 3, Selector: 1, Matching: 1, Data: tlsa(3, 1, 1, leaf).Data[:16]}}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"half a certificate", list{{Usage: 2, Data: root.cert.Raw[:100]}}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"no data", list{{Usage: 3, Selector: 1, Matching: 0, Data: nil}}, chain{leaf}, one, tlspolicy.ErrDANEUnusable},
		{"an unusable one beside one that does not match", list{tlsa(1, 1, 1, leaf), tlsa(3, 1, 1, self)}, chain{leaf}, one, none},
		{"an unusable one beside one that matches", list{tlsa(1, 1, 1, self), tlsa(3, 1, 1, leaf)}, chain{leaf}, one, nil},

		{"the strongest digest decides (RFC 7671 §9)", list{tlsa(3, 1, 1, leaf), tlsa(3, 1, 2, self)}, chain{leaf}, one, none},
		{"of each selector", list{tlsa(3, 1, 1, leaf), tlsa(3, 0, 2, self)}, chain{leaf}, one, nil},
		{"of each usage", list{tlsa(3, 1, 1, leaf), tlsa(2, 1, 2, root)}, chain{leaf}, one, nil},
		{"a strongest that cannot be used decides nothing", list{tlsa(3, 1, 1, leaf), {Usage: 3, Selector: 1, Matching: 2, Data: []byte{1}}}, chain{leaf}, one, nil},
	} {
		var sent []*x509.Certificate
		for _, c := range tc.chain {
			sent = append(sent, c.cert)
		}
		err := tlspolicy.VerifyDANE(tc.records, sent, tc.names, certTime)
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestVerifyDANETakesTheTimeItIsGiven(t *testing.T) {
	root := issue(t, nil, isCA)
	leaf := issue(t, root, named("mx.test"))
	chain, records := []*x509.Certificate{leaf.cert, root.cert}, []dns.TLSA{tlsa(2, 1, 1, root)}
	for years, ok := range map[int]bool{-2: false, 0: true, 49: true, 51: false} {
		if err := tlspolicy.VerifyDANE(records, chain, []string{"mx.test"}, certTime.AddDate(years, 0, 0)); (err == nil) != ok {
			t.Errorf("after %d years: %v", years, err)
		}
	}
}

// RFC 7672 §2.1.2, §2.2.
func TestTLSARecordsCountOnlyWhenAuthentic(t *testing.T) {
	data := fmt.Sprintf("%064x", 7)
	z := routetest.New("_25._tcp.mx.test TLSA 3 1 1 "+data, "_2525._tcp.mx.test TLSA 2 1 1 "+data, "_25._tcp.plain.test TLSA 3 1 1 "+data, "bare.test A 192.0.2.1", "_25._tcp.loose.test TLSA 3 1 1 "+data,
		"_25._tcp.alias.test CNAME _25._tcp.mx.test")
	z.Secure(routetest.All)
	z.Insecure("_25._tcp.plain.test")
	z.Fail("_25._tcp.hidden.test", routetest.ServFail)
	d := routetest.NewResolver(t, dns.Config{Servers: []string{"192.0.2.53"}, Validating: []string{"192.0.2.53"}, Transport: z, Timeout: time.Second, Attempts: 1})
	host := func(name string, port uint16, authentic bool) route.Host {
		return route.Host{Name: name, Authentic: authentic, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)}}
	}
	for _, tc := range []struct {
		name  string
		host  route.Host
		usage int // -1: none
		err   error
	}{
		{"authentic", host("mx.test", 25, true), 3, nil},
		{"of its port", host("mx.test", 2525, true), 2, nil},
		{"by an alias (RFC 7671 §7)", host("alias.test", 25, true), 3, nil},
		{"of a host that is not", host("loose.test", 25, false), -1, nil},
		{"not authentic", host("plain.test", 25, true), -1, nil},
		{"none", host("bare.test", 25, true), -1, nil},
		{"no answer", host("hidden.test", 25, true), -1, dns.ErrTemporary},
		{"no address", route.Host{Name: "mx.test", Authentic: true}, -1, nil},
	} {
		got, err := tlspolicy.TLSARecords(t.Context(), d, tc.host)
		if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || (len(got) > 0) != (tc.usage >= 0) || len(got) > 0 && int(got[0].Usage) != tc.usage {
			t.Errorf("%s: got %v, %v", tc.name, got, err)
		}
	}
	if z.Asked("TLSA", "_25._tcp.loose.test") != 0 {
		t.Error("asked for the records of a host that is not authentic")
	}
}
