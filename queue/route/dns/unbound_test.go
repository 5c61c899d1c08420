package dns_test

import (
	"crypto"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/routetest"
)

// signedZone answers for signed.test, with signatures, and for plain.test, without. Names that begin with "forged" have other records than were
// signed.
type signedZone struct {
	t    *testing.T
	key  *miekg.DNSKEY
	sign crypto.Signer
	sets map[string][]miekg.RR // records and signatures, by "A host.signed.test."
}

func newSignedZone(t *testing.T, records ...string) *signedZone {
	t.Helper()
	z := &signedZone{t: t, sets: map[string][]miekg.RR{}, key: &miekg.DNSKEY{Hdr: miekg.RR_Header{Name: "signed.test.", Rrtype: miekg.TypeDNSKEY, Class: miekg.ClassINET, Ttl: 300},
		Flags: 257, Protocol: 3, Algorithm: miekg.ECDSAP256SHA256}}
	private, err := z.key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	z.sign = private.(crypto.Signer)
	z.add(z.key)
	for _, s := range records {
		rr, err := miekg.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		z.add(rr)
	}
	return z
}

func (z *signedZone) add(rr miekg.RR) {
	z.t.Helper()
	h := rr.Header()
	set := []miekg.RR{rr}
	if strings.HasSuffix(h.Name, "signed.test.") {
		now := time.Now()
		sig := &miekg.RRSIG{Hdr: miekg.RR_Header{Ttl: h.Ttl}, Algorithm: z.key.Algorithm, KeyTag: z.key.KeyTag(), SignerName: "signed.test.",
			Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix())}
		if err := sig.Sign(z.sign, set); err != nil {
			z.t.Fatal(err)
		}
		if a, ok := rr.(*miekg.A); ok && strings.HasPrefix(h.Name, "forged") {
			a.A = net.IPv4(192, 0, 2, 66)
		}
		set = append(set, sig)
	}
	z.sets[miekg.TypeToString[h.Rrtype]+" "+h.Name] = set
}

// ServeDNS implements miekg.Handler.
func (z *signedZone) ServeDNS(w miekg.ResponseWriter, query *miekg.Msg) {
	m := new(miekg.Msg)
	m.SetReply(query)
	m.Authoritative = true
	q := query.Question[0]
	name := strings.ToLower(q.Name)
	m.Answer = z.sets[miekg.TypeToString[q.Qtype]+" "+name]
	if m.Answer == nil {
		m.Answer = z.sets["CNAME "+name]
	}
	if m.Answer == nil {
		m.Ns = z.sets["SOA plain.test."]
	}
	if strings.HasPrefix(name, "gone") {
		m.Rcode = miekg.RcodeNameError
	}
	m.SetEdns0(1232, true)
	_ = w.WriteMsg(m) // a client that has gone is its own affair
}

// serve answers by UDP on loopback until the test ends.
func (z *signedZone) serve() (addr string) {
	z.t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		z.t.Fatal(err)
	}
	started, s := make(chan struct{}), &miekg.Server{PacketConn: c, Handler: z}
	s.NotifyStartedFunc = func() { close(started) }
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	<-started
	z.t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	return c.LocalAddr().String()
}

// unbound starts one that checks what the zone says, and returns its address.
func unbound(t *testing.T, z *signedZone) (addr string) {
	t.Helper()
	program, err := exec.LookPath("unbound")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/unbound"); err != nil {
			t.Skip("unbound is not installed (Debian package unbound)")
		}
	}
	zone, addr := strings.Replace(z.serve(), ":", "@", 1), unused(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "unbound.conf")
	write(t, path, fmt.Sprintf(`server:
  interface: %s
  port: %s
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  do-not-query-localhost: no
  qname-minimisation: no
  module-config: "validator iterator"
  local-zone: "test." nodefault
  trust-anchor: "%s"
remote-control:
  control-enable: no
stub-zone:
  name: "signed.test"
  stub-addr: %s
stub-zone:
  name: "plain.test"
  stub-addr: %s
`, host, port, filepath.Dir(path), strings.ReplaceAll(z.key.String(), "\t", " "), zone, zone))
	log, err := os.Create(filepath.Join(filepath.Dir(path), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program, "-d", "-c", path)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if raw, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("unbound says:\n%s", raw)
		}
	})
	return addr
}

// What a real resolver that validates says of right, of forged and of unsigned records is understood.
func TestUnboundValidates(t *testing.T) {
	z := newSignedZone(t, "signed.test. 300 IN MX 10 host.signed.test.", "host.signed.test. 300 IN A 192.0.2.1", "forged.signed.test. 300 IN A 192.0.2.2",
		"_25._tcp.host.signed.test. 300 IN TLSA 3 1 1 "+strings.Repeat("ab", 32), "alias.signed.test. 300 IN CNAME host.plain.test.",
		"host.plain.test. 300 IN A 192.0.2.3", "alias.plain.test. 300 IN CNAME host.signed.test.", "plain.test. 300 IN SOA ns.plain.test. h.plain.test. 1 2 3 4 5")
	server := unbound(t, z)
	d := routetest.NewResolver(t, dns.Config{Servers: []string{server}, Validating: []string{server}, Attempts: 1})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // polls until it serves
		if _, err := d.LookupAddrs(t.Context(), "host.plain.test", dns.IPv4); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	trusting := routetest.NewResolver(t, dns.Config{Servers: []string{server}})
	for _, tc := range []struct {
		name, want string
		authentic  bool
	}{
		{"host.signed.test", "192.0.2.1", true},
		{"host.plain.test", "192.0.2.3", false},
		{"alias.signed.test", "192.0.2.3", false},
		{"alias.plain.test", "192.0.2.1", false},
	} {
		got, err := d.LookupAddrs(t.Context(), tc.name, dns.IPv4)
		if err != nil || fmt.Sprint(got.Records) != "["+tc.want+"]" || got.Authentic != tc.authentic {
			t.Errorf("%s: got %+v, %v", tc.name, got, err)
		}
		if got, err := trusting.LookupAddrs(t.Context(), tc.name, dns.IPv4); err != nil || got.Authentic {
			t.Errorf("%s, of a server that is not known to validate: got %+v, %v", tc.name, got, err)
		}
	}
	if mx, err := d.LookupMX(t.Context(), "signed.test"); err != nil || !mx.Authentic || mx.Records[0].Host != "host.signed.test" {
		t.Errorf("MX: got %+v, %v", mx, err)
	}
	if tlsa, err := d.LookupTLSA(t.Context(), 25, "host.signed.test"); err != nil || !tlsa.Authentic || len(tlsa.Records[0].Data) != 32 {
		t.Errorf("TLSA: got %+v, %v", tlsa, err)
	}
	_, err := d.LookupAddrs(t.Context(), "forged.signed.test", dns.IPv4)
	wantError(t, "forged", err, dns.ErrTemporary)
	_, err = d.LookupMX(t.Context(), "signed2.plain.test")
	wantError(t, "no such records", err, dns.ErrNoRecords)
	_, err = d.LookupMX(t.Context(), "gone.plain.test")
	wantError(t, "no such name", err, dns.ErrNoDomain)
}
