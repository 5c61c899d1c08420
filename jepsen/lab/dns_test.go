package lab_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/quorumail/quorumail/jepsen/lab"
)

const zone = `
example.test. 60 IN MX 10 mx.example.test.
example.test. 60 IN MX 20 mx2.example.test.
MX.example.test. 60 IN A 192.0.2.1
www.example.test. 60 IN CNAME mx.example.test.
`

// asker asks the name server from node n1.
type asker struct {
	t      *testing.T
	l      *lab.Lab
	server *lab.DNS
}

func newAsker(t *testing.T, kind lab.Namespaces) *asker {
	t.Helper()
	l := newLab(t, 1, kind)
	d, err := l.StartDNS(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetRecords(zone); err != nil {
		t.Fatal(err)
	}
	return &asker{t: t, l: l, server: d}
}

func (a *asker) ask(network, name string, kind uint16, wait time.Duration) (*dns.Msg, error) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), wait)
	defer cancel()
	c, err := a.l.DialFrom(ctx, "n1", network, a.server.Address())
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(name, kind)); err != nil {
		a.t.Fatal(err)
	}
	return conn.ReadMsg()
}

// want asks, and checks what is answered: the response code and the records' data.
func (a *asker) want(network, name string, kind uint16, code int, records ...string) *dns.Msg {
	a.t.Helper()
	m, err := a.ask(network, name, kind, patience)
	if err != nil {
		a.t.Fatalf("%s over %s: %v", name, network, err)
	}
	var got []string
	for _, rr := range m.Answer {
		got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	if m.Rcode != code || strings.Join(got, ", ") != strings.Join(records, ", ") {
		a.t.Errorf("%s over %s: code %d, %q", name, network, m.Rcode, got)
	}
	return m
}

func TestDNSAnswers(t *testing.T) {
	for name, kind := range map[string]lab.Namespaces{"namespaces": lab.Always, "loopback": lab.Never} {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t, kind)
			for _, network := range []string{"udp", "tcp"} {
				a.want(network, "example.test.", dns.TypeMX, dns.RcodeSuccess, "10 mx.example.test.", "20 mx2.example.test.")
				a.want(network, "mx.EXAMPLE.test.", dns.TypeA, dns.RcodeSuccess, "192.0.2.1")
				a.want(network, "mx.example.test.", dns.TypeAAAA, dns.RcodeSuccess)
				a.want(network, "www.example.test.", dns.TypeA, dns.RcodeSuccess, "mx.example.test.")
				a.want(network, "none.example.test.", dns.TypeA, dns.RcodeNameError)
			}
			if n := a.server.Queries(); n != 10 {
				t.Errorf("%d queries", n)
			}
			if _, err := a.l.StartDNS(deadline(t)); err == nil {
				t.Error("a second name server")
			}
		})
	}
}

func TestDNSFails(t *testing.T) {
	a := newAsker(t, lab.Never)
	a.server.Fail(lab.DNSFault{Code: dns.RcodeServerFailure})
	a.want("udp", "example.test.", dns.TypeMX, dns.RcodeServerFailure)
	a.server.Fail(lab.DNSFault{Code: dns.RcodeNameError})
	a.want("tcp", "example.test.", dns.TypeMX, dns.RcodeNameError)

	a.server.Fail(lab.DNSFault{Silent: true})
	for _, network := range []string{"udp", "tcp"} {
		if _, err := a.ask(network, "example.test.", dns.TypeMX, 200*time.Millisecond); !os.IsTimeout(err) {
			t.Errorf("a silent server over %s: %v", network, err)
		}
	}

	const delay = 200 * time.Millisecond
	a.server.Fail(lab.DNSFault{Delay: delay})
	start := time.Now()
	a.want("udp", "mx.example.test.", dns.TypeA, dns.RcodeSuccess, "192.0.2.1")
	if d := time.Since(start); d < delay {
		t.Errorf("a slow server answered within %v", d)
	}

	a.server.Fail(lab.DNSFault{Truncate: true})
	if m := a.want("udp", "mx.example.test.", dns.TypeA, dns.RcodeSuccess); !m.Truncated {
		t.Error("not truncated")
	}
	a.want("tcp", "mx.example.test.", dns.TypeA, dns.RcodeSuccess, "192.0.2.1")

	a.server.Fail(lab.DNSFault{})
	a.want("udp", "mx.example.test.", dns.TypeA, dns.RcodeSuccess, "192.0.2.1")
}

// An answer too long for UDP is cut, and whole over TCP. A slow server can be closed at once.
func TestDNSLongAnswers(t *testing.T) {
	a := newAsker(t, lab.Never)
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "many.test. 60 IN A 192.0.2.%d\n", i)
	}
	if err := a.server.SetRecords(many.String()); err != nil {
		t.Fatal(err)
	}
	m, err := a.ask("udp", "many.test.", dns.TypeA, patience)
	if err != nil || !m.Truncated || len(m.Answer) == 100 {
		t.Errorf("over UDP: %v, %v", m, err)
	}
	m, err = a.ask("tcp", "many.test.", dns.TypeA, patience)
	if err != nil || m.Truncated || len(m.Answer) != 100 {
		t.Errorf("over TCP: %v, %v", m, err)
	}
	if a.server.SetRecords("no zone file") == nil {
		t.Error("took what is no zone file")
	}

	a.server.Fail(lab.DNSFault{Delay: time.Hour})
	if _, err := a.ask("udp", "many.test.", dns.TypeA, 100*time.Millisecond); !os.IsTimeout(err) {
		t.Error(err)
	}
}
