package queue

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/routetest"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
)

func certificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// twoHosts is a plan with mx1 and mx2 of example.test, and its route.
func twoHosts(authentic bool) (route.Plan, remote.Route) {
	at := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25")}
	p := route.Plan{Kind: route.ByMX, Domain: "example.test", MXDomain: "example.test", Hosts: []route.Host{
		{Name: "mx1.example.test", Addrs: at, Authentic: authentic}, {Name: "mx2.example.test", Addrs: at, Authentic: authentic}}}
	return p, routeOf(p)
}

func names(r remote.Route) (out []string) {
	for _, h := range r.Hosts {
		out = append(out, h.Name)
	}
	return out
}

// RFC 7672 §2.2: a host that has TLSA records is spoken to by TLS that fits them.
func TestTLSARecordsPinAHost(t *testing.T) {
	good, other := certificate(t, "mx1.example.test"), certificate(t, "mx1.example.test")
	zone := routetest.New(fmt.Sprintf("_25._tcp.mx1.example.test. 60 IN TLSA 3 1 1 %x", sha256.Sum256(good.RawSubjectPublicKeyInfo)))
	zone.Secure("_25._tcp.mx1.example.test")
	p := &Protection{Resolver: routetest.Resolver(t, zone)}
	plan, r := twoHosts(true)
	if err := p.Protect(context.Background(), plan, &r); err != nil {
		t.Fatal(err)
	}
	pinned, free := r.Hosts[0], r.Hosts[1]
	if pinned.TLS != remote.TLSEncrypt || pinned.VerifyPeer == nil || free.VerifyPeer != nil || free.TLS != remote.TLSDefault {
		t.Fatalf("hosts are %+v", r.Hosts)
	}
	if err := pinned.VerifyPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{good}}); err != nil {
		t.Errorf("the certificate that the record names is refused: %v", err)
	}
	if err := pinned.VerifyPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{other}}); !errors.Is(err, tlspolicy.ErrDANEMismatch) {
		t.Errorf("another certificate is answered %v", err)
	}
}

// RFC 7672 §2.2: records that say nothing here still mean TLS, and no less of it than the route wants.
func TestUnusableTLSARecordsMeanTLS(t *testing.T) {
	zone := routetest.New(fmt.Sprintf("_25._tcp.mx1.example.test. 60 IN TLSA 1 1 1 %064x", 7))
	zone.Secure(routetest.All)
	p := &Protection{Resolver: routetest.Resolver(t, zone)}
	for wanted, got := range map[remote.TLSPolicy]remote.TLSPolicy{remote.TLSDefault: remote.TLSEncrypt, remote.TLSMay: remote.TLSEncrypt, remote.TLSVerify: remote.TLSVerify} {
		plan, r := twoHosts(true)
		r.TLS = wanted
		if err := p.Protect(context.Background(), plan, &r); err != nil {
			t.Fatal(err)
		}
		if h := r.Hosts[0]; h.TLS != got || h.VerifyPeer != nil {
			t.Errorf("with a route of TLS policy %d: %+v", wanted, h)
		}
	}
}

// RFC 7672 §2.1.2: without an answer about TLSA records a host cannot be used; the others can.
func TestHostWithoutAnAnswerAboutTLSAIsLeftOut(t *testing.T) {
	zone := routetest.New("mx2.example.test. 60 IN A 192.0.2.1")
	zone.Fail("_25._tcp.mx1.example.test", routetest.ServFail)
	p := &Protection{Resolver: routetest.Resolver(t, zone)}
	plan, r := twoHosts(true)
	if err := p.Protect(context.Background(), plan, &r); err != nil || len(r.Hosts) != 1 || r.Hosts[0].Name != "mx2.example.test" {
		t.Errorf("hosts are %v (%v)", names(r), err)
	}
	zone.Fail("_25._tcp.mx2.example.test", routetest.ServFail)
	p.Resolver = routetest.Resolver(t, zone) // the other one remembers
	plan, r = twoHosts(true)
	if err := p.Protect(context.Background(), plan, &r); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("without any host the error is %v", err)
	}
}

// RFC 8461 §5.
func TestPolicyChoosesHostsAndWantsCertificates(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy tlspolicy.STSPolicy
		want   []string
		tls    remote.TLSPolicy
		fails  bool
	}{
		{"enforce, one host", tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MX: []string{"mx2.example.test"}}, []string{"mx2.example.test"}, remote.TLSVerify, false},
		{"enforce, all", tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MX: []string{"*.example.test"}}, []string{"mx1.example.test", "mx2.example.test"}, remote.TLSVerify, false},
		{"enforce, none", tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MX: []string{"mail.example.test"}}, nil, 0, true},
		{"testing", tlspolicy.STSPolicy{Mode: tlspolicy.STSTesting, MX: []string{"mail.example.test"}}, []string{"mx1.example.test", "mx2.example.test"}, remote.TLSDefault, false},
		{"none", tlspolicy.STSPolicy{Mode: tlspolicy.STSNone}, []string{"mx1.example.test", "mx2.example.test"}, remote.TLSDefault, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &Protection{Resolver: routetest.Resolver(t, routetest.New()), Policy: func(context.Context, string) (tlspolicy.STSPolicy, error) { return c.policy, nil }}
			plan, r := twoHosts(false)
			err := p.Protect(context.Background(), plan, &r)
			if (err != nil) != c.fails || !c.fails && fmt.Sprint(names(r)) != fmt.Sprint(c.want) {
				t.Fatalf("hosts are %v (%v), want %v", names(r), err, c.want)
			}
			for _, h := range r.Hosts {
				if h.TLS != c.tls {
					t.Errorf("%s is spoken to with TLS policy %d, want %d", h.Name, h.TLS, c.tls)
				}
			}
		})
	}
}

func TestSmarthostIsNotAskedForItsPolicy(t *testing.T) {
	p := &Protection{Policy: func(context.Context, string) (tlspolicy.STSPolicy, error) {
		return tlspolicy.STSPolicy{}, errors.New("asked")
	}}
	plan := route.Plan{Kind: route.Smarthost, Hosts: []route.Host{{Name: "smart.test"}}, TLS: route.TLSVerify}
	r := routeOf(plan)
	if err := p.Protect(context.Background(), plan, &r); err != nil || r.TLS != remote.TLSVerify {
		t.Errorf("the route is %+v (%v)", r, err)
	}
}
