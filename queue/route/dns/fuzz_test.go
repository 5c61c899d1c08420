package dns

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// FuzzResolvConf: whatever stands there, there are at most three servers, all with a port, and sane times.
func FuzzResolvConf(f *testing.F) {
	for _, s := range []string{"nameserver 127.0.0.1", "nameserver fe80::1%eth0\noptions timeout:1", "options attempts:99999999999999999999", "#\n;\n\n nameserver", "options timeout:-1 attempts:3"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		conf := parseResolvConf(raw)
		if len(conf.servers) > maxServers || conf.timeout < 0 || conf.timeout > 30*time.Second || conf.attempts < 0 || conf.attempts > 5 {
			t.Fatalf("%q: %+v", raw, conf)
		}
		for _, s := range conf.servers {
			if !s.IsValid() || s.Port() != 53 {
				t.Fatalf("%q: %+v", raw, conf)
			}
		}
	})
}

// FuzzHosts: the file's two directions agree.
func FuzzHosts(f *testing.F) {
	for _, s := range []string{"127.0.0.1 localhost", "::1 localhost ip6-localhost # x", "::ffff:1.2.3.4 a.b.", "fe80::1%lo x", "1.1.1.1\ta..b bücher.test", "1.1.1.1 a A a."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := parseHosts(raw)
		for name, list := range h.addrs {
			// A backslash is escaped each time anew.
			if again, err := fqdn(name); !strings.Contains(name, `\`) && (err != nil || again != name) {
				t.Fatalf("%q: %q is %q, %v", raw, name, again, err)
			}
			for _, addr := range list {
				found := false
				for _, n := range h.names[addr.WithZone("")] {
					found = found || n+"." == name
				}
				if !found || addr.Is4In6() {
					t.Fatalf("%q: %q has %v, whose names are %q", raw, name, addr, h.names[addr])
				}
			}
		}
	})
}

// FuzzUnescape: no escape of miekg/dns grows, or survives.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`a\"b`, `\200`, `\`, `\\`, `\2`, `\25`, `\999`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := unescape(s)
		if len(got) > len(s) || !strings.Contains(s, `\`) && got != s {
			t.Fatalf("%q is %q", s, got)
		}
	})
}

// always answers with one message, whatever it is asked.
type always []byte

func (a always) Exchange(_ context.Context, _ netip.AddrPort, query *miekg.Msg, _ bool) (*miekg.Msg, error) {
	m := new(miekg.Msg)
	if err := m.Unpack(a); err != nil {
		return nil, err
	}
	m.Id, m.Response, m.Question = query.Id, true, query.Question
	return m, nil
}

// FuzzAnswer: whatever a server says, the question ends, with records or with one of the three errors; only a null MX is a null MX.
func FuzzAnswer(f *testing.F) {
	for _, records := range [][]string{{"a.test. MX 10 b.test."}, {"a.test. CNAME b.test.", "b.test. MX 0 ."}, {"a.test. CNAME a.test."}, {"a.test. TXT x"}} {
		m := new(miekg.Msg).SetQuestion("a.test.", miekg.TypeMX)
		m.RecursionAvailable = true
		for _, s := range records {
			rr, err := miekg.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		raw, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	// An MX and a CNAME record without data, as dynamic updates have them.
	header := "\x00\x00\x80\x80\x00\x00\x00\x01\x00\x00\x00\x00\x01a\x04test\x00"
	f.Add([]byte(header + "\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x00"))
	f.Add([]byte(header + "\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := New(Config{Servers: []string{"192.0.2.53"}, HostsFile: NoFile, Transport: always(raw), Attempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		mx, err := d.LookupMX(t.Context(), "a.test")
		if err != nil && !errors.Is(err, ErrNoDomain) && !errors.Is(err, ErrNoRecords) && !errors.Is(err, ErrTemporary) {
			t.Fatalf("%x: %v", raw, err)
		}
		m := new(miekg.Msg)
		if err != nil || m.Unpack(raw) != nil {
			return
		}
		null := false
		for _, rr := range m.Answer {
			rr, ok := rr.(*miekg.MX)
			null = null || ok && rr.Mx == "."
		}
		for _, r := range mx.Records {
			if r.Host == "" && !null {
				t.Fatalf("%x: a null MX out of nothing: %+v", raw, mx)
			}
		}
	})
}
