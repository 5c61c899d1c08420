package dns

import (
	"strings"
	"testing"
	"time"
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
