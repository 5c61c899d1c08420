package tlspolicy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/queue/route/routetest"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
)

// RFC 8461 §3.1.
func TestSTSRecords(t *testing.T) {
	for _, tc := range []struct {
		name  string
		texts []string
		id    string
		ok    bool
	}{
		{"as in the RFC", []string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z", true},
		{"without the last semicolon", []string{"v=STSv1;id=1"}, "1", true},
		{"with extensions", []string{"v=STSv1; a_b-c.d=x/y=z; id=1 ; x=y;"}, "1", true},
		{"beside others", []string{"v=spf1 -all", "v=STSv2; id=2;", "v=STSv1; id=1", "v=STSv1"}, "1", true},
		{"an ID that comes again", []string{"v=STSv1; id=1; id=2"}, "1", true},
		{"none", nil, "", false},
		{"two", []string{"v=STSv1; id=1;", "v=STSv1; id=1;"}, "", false},
		{"without ID", []string{"v=STSv1; x=y"}, "", false},
		{"empty ID", []string{"v=STSv1; id="}, "", false},
		{"long ID", []string{"v=STSv1; id=" + strings.Repeat("a", 33)}, "", false},
		{"odd ID", []string{"v=STSv1; id=a-b"}, "", false},
		{"no field", []string{"v=STSv1; id=1; x"}, "", false},
		{"odd field", []string{"v=STSv1; id=1; -x=y"}, "", false},
		{"another case", []string{"V=STSv1; id=1"}, "", false},
	} {
		if id, ok := tlspolicy.STSRecord(tc.texts); ok != tc.ok || ok && id != tc.id {
			t.Errorf("%s: got %q, %t", tc.name, id, ok)
		}
	}
}

// RFC 8461 §3.2.
func TestSTSPolicies(t *testing.T) {
	const good = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.NET\r\nmx: bücher.test\r\nmax_age: 604800\r\n"
	want := tlspolicy.STSPolicy{Mode: tlspolicy.STSEnforce, MX: []string{"mail.example.com", "*.example.net", "xn--bcher-kva.test"}, MaxAge: 7 * 24 * time.Hour}
	for name, raw := range map[string]string{
		"CRLF":                 good,
		"LF":                   strings.ReplaceAll(good, "\r", ""),
		"no end":               strings.TrimSpace(good),
		"space at the end":     strings.ReplaceAll(good, "\r\n", " \t\r\n"),
		"no space":             strings.ReplaceAll(good, ": ", ":"),
		"extensions":           "x-y.z_1: a: b\n" + good,
		"again, and different": good + "mode: none\nversion: STSv2\nmax_age: 1\n",
		"empty lines":          "\n" + good + "\r\n\n",
	} {
		if got, err := tlspolicy.ParseSTSPolicy([]byte(raw)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	for name, raw := range map[string]string{
		"empty":            "",
		"no version":       strings.Replace(good, "version: STSv1\r\n", "", 1),
		"another version":  strings.Replace(good, "STSv1", "STSv2", 1),
		"no mode":          strings.Replace(good, "mode: enforce\r\n", "", 1),
		"another mode":     strings.Replace(good, "enforce", "Enforce", 1),
		"no mx":            "version: STSv1\nmode: testing\nmax_age: 1",
		"mx that is none":  good + "mx: a..b",
		"mx is a star":     good + "mx: *",
		"mx is an address": good + "mx: [192.0.2.1]",
		"star within":      good + "mx: a.*.b",
		"no age":           strings.Replace(good, "max_age: 604800\r\n", "", 1),
		"negative age":     strings.Replace(good, "604800", "-1", 1),
		"endless age":      strings.Replace(good, "604800", "12345678901", 1),
		"no colon":         good + "x",
		"a web page":       "<html>\n" + good,
	} {
		if got, err := tlspolicy.ParseSTSPolicy([]byte(raw)); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	none, err := tlspolicy.ParseSTSPolicy([]byte("version: STSv1\nmode: none\nmax_age: 9999999999"))
	if err != nil || none.Mode != tlspolicy.STSNone || none.MaxAge != 31557600*time.Second {
		t.Errorf("none: got %+v, %v", none, err)
	}
}

// RFC 8461 §4.1.
func TestSTSMatch(t *testing.T) {
	p := tlspolicy.STSPolicy{MX: []string{"mail.example.com", "*.example.net", "xn--bcher-kva.test"}}
	for host, want := range map[string]bool{
		"mail.example.com": true, "MAIL.Example.COM": true, "mail.example.com.": true, "a.mail.example.com": false, "example.com": false, "a.example.net": true, "a.b.example.net": false,
		"example.net": false, "*.example.net": false, "bücher.test": true, "": false, "[192.0.2.1]": false, "net": false,
	} {
		if got := p.Match(host); got != want {
			t.Errorf("%q: got %t", host, got)
		}
	}
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

// stsSite is a domain with a policy, and who asks for it.
type stsSite struct {
	sts    *tlspolicy.STS
	zone   *routetest.Zone
	store  *routetest.Policies
	now    *clock
	policy atomic.Pointer[http.HandlerFunc]
	hits   atomic.Int32
	log    strings.Builder // only while nothing is under way
}

const examplePolicy = "version: STSv1\nmode: enforce\nmx: mail.example.test\nmax_age: 604800\n"

func newSTSSite(t *testing.T, certNames ...string) *stsSite {
	t.Helper()
	s := &stsSite{zone: routetest.New("_mta-sts.example.test 0 TXT \"v=STSv1; id=1\"", "mta-sts.example.test A 127.0.0.1",
		"test 0 SOA ns.test hostmaster.test 1 1 1 1 0"), store: &routetest.Policies{}, now: &clock{now: time.Now()}}
	if certNames == nil {
		certNames = []string{"mta-sts.example.test"}
	}
	ca := issue(t, nil, isCA)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		if r.URL.Path == "/elsewhere" {
			text(examplePolicy)(w, r)
		} else if r.URL.Path != "/.well-known/mta-sts.txt" || r.Method != http.MethodGet || !strings.HasPrefix(r.Host, "mta-sts.example.test") {
			t.Errorf("asked for %s %s %s", r.Method, r.Host, r.URL)
		} else {
			(*s.policy.Load())(w, r)
		}
	}))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{issue(t, ca, named(certNames...)).tls()}}
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(web.Close)
	s.serve(text(examplePolicy))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	s.sts, err = tlspolicy.NewSTS(tlspolicy.STSConfig{Resolver: routetest.Resolver(t, s.zone), Store: s.store, Now: s.now.Now, RootCAs: roots, Port: uint16(number), MaxKept: 100,
		Logger: slog.New(slog.NewTextHandler(&s.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stsSite) serve(h http.HandlerFunc) { s.policy.Store(&h) }

// announce changes the ID in the DNS; "" takes it away.
func (s *stsSite) announce(id string) {
	s.zone.Remove("_mta-sts.example.test")
	if id != "" {
		s.zone.Add("_mta-sts.example.test 0 TXT \"v=STSv1; id=" + id + "\"")
	}
}

// expect asks for the policy, and wants its mode, and so many fetches since the beginning.
func (s *stsSite) expect(t *testing.T, what string, mode tlspolicy.STSMode, hits int32) {
	t.Helper()
	p, err := s.sts.Policy(t.Context(), "Example.test")
	if err != nil || p.Mode != mode || s.hits.Load() != hits {
		t.Errorf("%s: got %+v, %v after %d fetches, want %s after %d", what, p, err, s.hits.Load(), mode, hits)
	}
}

func text(policy string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, policy)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestPoliciesAreFetchedAndKept(t *testing.T) {
	s := newSTSSite(t)
	s.expect(t, "first", tlspolicy.STSEnforce, 1)
	s.expect(t, "kept", tlspolicy.STSEnforce, 1)
	s.serve(text(strings.Replace(examplePolicy, "enforce", "testing", 1)))
	s.expect(t, "the same ID", tlspolicy.STSEnforce, 1)
	s.announce("2")
	s.expect(t, "another ID", tlspolicy.STSTesting, 2)
	s.now.pass(47 * time.Hour)
	s.expect(t, "within two days", tlspolicy.STSTesting, 2)
	s.now.pass(2 * time.Hour)
	s.expect(t, "when nobody renewed it", tlspolicy.STSTesting, 3)
	s.expect(t, "renewed", tlspolicy.STSTesting, 3)
	s.serve(text("version: STSv1\nmode: none\nmax_age: 60"))
	s.announce("3")
	s.expect(t, "given up by its domain", tlspolicy.STSNone, 4)
}

// RFC 8461 §3.3, §5.1: what was fetched once holds for its time, whatever an attacker hides.
func TestKeptPoliciesHoldWhenNothingCanBeHad(t *testing.T) {
	s := newSTSSite(t)
	s.expect(t, "first", tlspolicy.STSEnforce, 1)
	s.announce("")
	s.expect(t, "no record", tlspolicy.STSEnforce, 1)
	s.zone.Fail("_mta-sts.example.test", routetest.ServFail)
	s.expect(t, "no answer", tlspolicy.STSEnforce, 1)
	s.zone.Fail("_mta-sts.example.test", 0)
	s.announce("2")
	s.serve(status(500))
	s.expect(t, "no file", tlspolicy.STSEnforce, 2)
	s.expect(t, "not tried again at once", tlspolicy.STSEnforce, 2)
	s.now.pass(5 * time.Minute)
	s.expect(t, "tried again", tlspolicy.STSEnforce, 3)
	s.announce("3")
	s.expect(t, "another ID is tried at once", tlspolicy.STSEnforce, 4)
	s.now.pass(7 * 24 * time.Hour)
	s.announce("")
	s.expect(t, "expired", tlspolicy.STSNone, 4)
}

func TestDomainsWithoutPolicy(t *testing.T) {
	s := newSTSSite(t)
	for _, domain := range []string{"other.test", "[192.0.2.1]", "a..b"} {
		if p, err := s.sts.Policy(t.Context(), domain); err != nil || p.Mode != tlspolicy.STSNone {
			t.Errorf("%s: got %+v, %v", domain, p, err)
		}
	}
	s.zone.Remove("mta-sts.example.test")
	s.expect(t, "no host", tlspolicy.STSNone, 0)
	if _, err := tlspolicy.NewSTS(tlspolicy.STSConfig{}); err == nil {
		t.Error("no error without a resolver")
	}
}

// RFC 8461 §3.3: each of these is no policy, and the domain's mail goes on as if it had none.
func TestPoliciesThatDoNotCount(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"redirect":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"not found":  status(404),
		"no content": status(204),
		"another success": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusNonAuthoritativeInfo)
			_, _ = io.WriteString(w, examplePolicy)
		},
		"unreadable": text("mode: enforce"),
		"too large":  text(examplePolicy + strings.Repeat("x: y\n", 64<<10/5)),
		"another type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, examplePolicy)
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, examplePolicy)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSTSSite(t)
			s.serve(h)
			s.expect(t, name, tlspolicy.STSNone, 1)
		})
	}
	s := newSTSSite(t)
	s.serve(text(examplePolicy + strings.Repeat("x: y\n", (64<<10-len(examplePolicy))/5)))
	s.expect(t, "just not too large", tlspolicy.STSEnforce, 1)
}

// RFC 8461 §3.3: the certificate must be good for the policy's host.
func TestPolicyHostNeedsACertificate(t *testing.T) {
	newSTSSite(t, "*.example.test").want(t, tlspolicy.STSEnforce)
	newSTSSite(t, "example.test", "other.test").want(t, tlspolicy.STSNone)
	other := newSTSSite(t)
	strangers, err := tlspolicy.NewSTS(tlspolicy.STSConfig{Resolver: routetest.Resolver(t, other.zone), Store: other.store, RootCAs: x509.NewCertPool()})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := strangers.Policy(t.Context(), "example.test"); err != nil || p.Mode != tlspolicy.STSNone {
		t.Errorf("an authority that nobody knows: %+v, %v", p, err)
	}
}

func (s *stsSite) want(t *testing.T, mode tlspolicy.STSMode) {
	t.Helper()
	if p, err := s.sts.Policy(t.Context(), "example.test"); err != nil || p.Mode != mode {
		t.Errorf("got %+v, %v, want %s", p, err, mode)
	}
}

// Whoever cannot know whether there is a policy must not take it for none.
func TestPolicyIsUnknownWithoutStoreOrTime(t *testing.T) {
	s := newSTSSite(t)
	broken := errors.New("broken")
	s.store.Fail(broken)
	if p, err := s.sts.Policy(t.Context(), "example.test"); !errors.Is(err, broken) {
		t.Errorf("got %+v, %v", p, err)
	}
	s.store.Fail(nil)
	ctx, cancel := context.WithCancel(t.Context())
	s.serve(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if p, err := s.sts.Policy(ctx, "example.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", p, err)
	}
	s.serve(func(w http.ResponseWriter, r *http.Request) { s.store.Fail(broken); text(examplePolicy)(w, r) })
	if p, err := s.sts.Policy(t.Context(), "example.test"); err != nil || p.Mode != tlspolicy.STSEnforce {
		t.Errorf("fetched, and not kept: got %+v, %v", p, err)
	}
}
