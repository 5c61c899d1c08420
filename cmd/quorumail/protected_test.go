package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/queue/route/routetest"
)

// authority signs certificates for what lies outside of the cluster.
type authority struct {
	t    *testing.T
	cert *x509.Certificate // nil: each certificate is its own authority
	key  *ecdsa.PrivateKey
}

// newAuthority makes one that the nodes started after it trust, by the variable that an operator would use.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	made := (&authority{t: t}).issue(func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Leaf.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", path)
	return &authority{t: t, cert: made.Leaf, key: made.PrivateKey.(*ecdsa.PrivateKey)}
}

func (a *authority) issue(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	change(template)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	chain := [][]byte{raw}
	if a.cert != nil {
		chain = append(chain, a.cert.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}
}

func (a *authority) forNames(names ...string) tls.Certificate {
	return a.issue(func(c *x509.Certificate) { c.DNSNames = names })
}

// internet is other sites, each with a mail server of its own, and the name servers that know them.
type internet struct {
	t    *testing.T
	zone *routetest.Zone
	ca   *authority
	self *authority // whom nobody trusts
	web  *policyHost
}

func newInternet(t *testing.T) *internet {
	t.Helper()
	i := &internet{t: t, zone: routetest.New(". 0 SOA ns.test. hostmaster.test. 1 1 1 1 0"), ca: newAuthority(t), self: &authority{t: t}}
	i.zone.Secure(routetest.All)
	i.web = newPolicyHost(t, i.ca)
	return i
}

// configuration is what nodes need to reach all that.
func (i *internet) configuration() string {
	servers := routetest.Serve(i.t, i.zone)
	return fmt.Sprintf("[dns]\nservers = %q\nvalidating = %q\n\n[delivery]\nport = %d\n", servers, servers, sinkPort)
}

// site makes a domain whose mail goes to a server of its own, with that certificate.
func (i *internet) site(domain string, cert *tls.Certificate) *sink {
	i.t.Helper()
	s := newSinkWith(i.t, cert)
	i.zone.Add(fmt.Sprintf("%s. 0 IN MX 10 mx.%s.", domain, domain), fmt.Sprintf("mx.%s. 0 IN A %s", domain, s.ip))
	return s
}

// tlsa says in the DNS which certificate the server of a domain has.
func (i *internet) tlsa(domain string, usage, selector int, of []byte) {
	i.zone.Add(fmt.Sprintf("_%d._tcp.mx.%s. 0 IN TLSA %d %d 1 %x", sinkPort, domain, usage, selector, sha256.Sum256(of)))
}

// policy announces an MTA-STS policy.
func (i *internet) policy(domain, mode string, mx ...string) {
	i.zone.Add(fmt.Sprintf("_mta-sts.%s. 0 IN TXT \"v=STSv1; id=1;\"", domain), fmt.Sprintf("mta-sts.%s. 0 IN A %s", domain, i.web.ip))
	text := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: 86400\n", mode)
	for _, name := range mx {
		text += "mx: " + name + "\n"
	}
	i.web.put("mta-sts."+domain, text)
}

// policyHost is the web server of all domains' policies, at the one port where they may be.
type policyHost struct {
	ip  string
	srv *http.Server

	mu    sync.Mutex
	files map[string]string // by host; guarded by mu
}

func newPolicyHost(t *testing.T, ca *authority) *policyHost {
	t.Helper()
	h := &policyHost{ip: loopback(t), files: map[string]string{}}
	l, err := net.Listen("tcp", h.ip+":443")
	if err != nil {
		t.Skipf("no web server at port 443, which takes privileges: %v", err)
	}
	h.srv = &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert := ca.forNames(hello.ServerName)
			return &cert, nil
		}}}
	go func() { _ = h.srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = h.srv.Close() })
	return h
}

func (h *policyHost) put(host, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[host] = text
}

// ServeHTTP implements http.Handler.
func (h *policyHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	text, ok := h.files[r.Host]
	h.mu.Unlock()
	if !ok || r.URL.Path != "/.well-known/mta-sts.txt" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text)
}

// fate sends a message to a domain and waits until its trace tells how the first attempt ended.
func (c *devCluster) fate(id, domain string) admin.TraceEvent {
	c.t.Helper()
	an, messageID := c.Accounts[0], fmt.Sprintf("<%s@example.test>", id)
	if err := submit(c.Nodes[0], an, []string{"someone@" + domain}, fmt.Sprintf("From: %s\nMessage-ID: %s\n\nHello.\n", an.Address, messageID)); err != nil {
		c.t.Fatal(err)
	}
	var end admin.TraceEvent
	await(c.t.(*testing.T), "the end of an attempt for "+domain, func() bool {
		var list []admin.Trace
		if err := c.admin(0, "trace", admin.TraceRequest{What: messageID}, &list); err != nil {
			return false
		}
		for _, trace := range list {
			for _, e := range trace.Events {
				if e.Kind == "delivered" || e.Kind == "deferred" || e.Kind == "failed" {
					end = e
					return true
				}
			}
		}
		return false
	})
	return end
}

// protected is a site, and what must become of a message to it.
type protected struct {
	domain string
	sink   *sink
	kind   string // of the event at the end of the attempt
	says   string // in its text
	tls    bool   // delivered by TLS
}

func (p protected) check(t *testing.T, c *devCluster) {
	t.Helper()
	offered := p.sink.offered()
	e := c.fate(strings.ReplaceAll(fmt.Sprint(p.domain, p.kind, offered), ".", "-"), p.domain)
	if e.Kind != p.kind || !strings.Contains(e.Text, p.says) {
		t.Errorf("%s: the trace says %s: %q, want %s: %q", p.domain, e.Kind, e.Text, p.kind, p.says)
	}
	all := p.sink.all()
	switch {
	case p.kind != "delivered" && p.sink.offered() != offered:
		t.Errorf("%s: a message was offered that should have waited", p.domain)
	case p.kind == "delivered" && (len(all) == 0 || all[len(all)-1].tls != p.tls):
		t.Errorf("%s: came %+v, want it by TLS: %t", p.domain, all, p.tls)
	}
}

// RFC 7672, from the message to the other site's server: what the DNS says of its certificate decides, if the answer is authentic.
func TestDANEDecidesWhereMailGoes(t *testing.T) {
	i := newInternet(t)
	site := func(domain string, cert tls.Certificate) *sink { return i.site(domain, &cert) }
	own := func(domain string) tls.Certificate { return i.self.forNames("mx." + domain) }
	good, bad, loose, hidden := own("good.test"), own("bad.test"), own("loose.test"), own("hidden.test")
	anchored, other, pkix, plain := i.ca.forNames("mx.anchored.test"), i.ca.forNames("mx.elsewhere.test"), own("pkix.test"), own("plain.test")
	cases := []protected{
		{"good.test", site("good.test", good), "delivered", "(TLS 1.3, verified)", true},
		{"anchored.test", site("anchored.test", anchored), "delivered", "(TLS 1.3, verified)", true},
		{"bad.test", site("bad.test", bad), "deferred", "TLSA", false},
		{"other.test", site("other.test", other), "deferred", "TLSA", false},
		{"stripped.test", i.site("stripped.test", nil), "deferred", "TLS is required", false},
		{"hidden.test", site("hidden.test", hidden), "deferred", "TLSA", false},
		{"loose.test", site("loose.test", loose), "delivered", "(TLS 1.3)", true},
		{"pkix.test", site("pkix.test", pkix), "delivered", "(TLS 1.3)", true},
		{"plain.test", site("plain.test", plain), "delivered", "(TLS 1.3)", true},
		{"clear.test", i.site("clear.test", nil), "delivered", "OK: queued", false},
	}
	i.tlsa("good.test", 3, 1, good.Leaf.RawSubjectPublicKeyInfo)
	i.tlsa("anchored.test", 2, 0, i.ca.cert.Raw)
	i.tlsa("bad.test", 3, 1, good.Leaf.RawSubjectPublicKeyInfo)
	i.tlsa("other.test", 2, 0, i.ca.cert.Raw) // whom it trusts vouches for another name
	i.tlsa("stripped.test", 3, 1, good.Leaf.RawSubjectPublicKeyInfo)
	i.tlsa("loose.test", 3, 1, good.Leaf.RawSubjectPublicKeyInfo)
	i.zone.Insecure("loose.test") // nobody vouches for its MX records
	i.tlsa("pkix.test", 1, 1, good.Leaf.RawSubjectPublicKeyInfo)
	i.zone.Fail(fmt.Sprintf("_%d._tcp.mx.hidden.test", sinkPort), routetest.ServFail)
	c := startClusterWith(t, 1, 0, i.configuration())
	for _, p := range cases {
		p.check(t, c)
	}
	// What was wrong is put right: the message that waited goes out.
	flushed := func(p protected) func() bool { // again and again: an attempt may be under way
		return func() bool {
			_ = exec.Command(c.Bin, "queue", "flush", "--yes", "--config", c.configOf(0)).Run() // fails when nothing is left to try
			return len(p.sink.all()) == 1
		}
	}
	cases[2].sink.show(good)
	await(t, "the message that waited", flushed(cases[2]))
	if n := len(cases[3].sink.all()); n != 0 {
		t.Errorf("%d messages went to a server that is not the right one", n)
	}
	// An administrator may decide otherwise.
	runTool(t, nil, c.Bin, "set", "delivery.dane", "false", "--config", c.configOf(0))
	await(t, "the message that nobody protects any more", flushed(cases[3]))
}

// RFC 8461, likewise. A policy that was seen holds though its web server, and the node that fetched it, have died.
func TestMTASTSDecidesWhereMailGoes(t *testing.T) {
	i := newInternet(t)
	trusted, stranger := i.ca.forNames("mx.good.test", "mx.renamed.test", "mx.unlisted.test"), i.self.forNames("mx.forged.test", "mx.trying.test")
	misnamed := i.ca.forNames("mx.elsewhere.test")
	good := protected{"good.test", i.site("good.test", &trusted), "delivered", "(TLS 1.3, verified)", true}
	cases := []protected{
		good,
		{"forged.test", i.site("forged.test", &stranger), "deferred", "certificate", false},
		{"misnamed.test", i.site("misnamed.test", &misnamed), "deferred", "certificate", false},
		{"unlisted.test", i.site("unlisted.test", &trusted), "deferred", "MTA-STS", false},
		{"stripped.test", i.site("stripped.test", nil), "deferred", "TLS is required", false},
		{"trying.test", i.site("trying.test", &stranger), "delivered", "(TLS 1.3)", true},
		{"none.test", i.site("none.test", nil), "delivered", "OK: queued", false},
	}
	i.policy("good.test", "enforce", "*.good.test")
	i.policy("forged.test", "enforce", "mx.forged.test")
	i.policy("misnamed.test", "enforce", "mx.misnamed.test")
	i.policy("unlisted.test", "enforce", "mail.unlisted.test", "*.mx.unlisted.test")
	i.policy("stripped.test", "enforce", "mx.stripped.test")
	i.policy("trying.test", "testing", "mx.elsewhere.test")
	i.policy("none.test", "none")
	c := startClusterWith(t, 1, 0, i.configuration())
	for _, p := range cases {
		p.check(t, c)
	}

	if err := i.web.srv.Close(); err != nil {
		t.Fatal(err)
	}
	i.zone.Remove("_mta-sts.good.test")
	i.zone.Remove("mta-sts.good.test")
	good.check(t, c)
	good.sink.show(stranger)
	c.kill(0)
	c.restart(0)
	await(t, "the node to serve again", func() bool { return answers(c.Nodes[0].Submission) })
	good.kind, good.says = "deferred", "certificate"
	good.check(t, c)
}
