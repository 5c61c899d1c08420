package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/queue/route/routetest"
)

// sink is the mail server of another site, which keeps what it gets. What it answers to a recipient stands in front of the address:
// refuse.x@… is 550, busy.x@… 451, anything else is taken.
type sink struct {
	ip string
	l  net.Listener

	mu   sync.Mutex
	got  []arrived        // guarded by mu
	busy map[string]bool  // domains that answer 451 to everything; guarded by mu
	cert *tls.Certificate // for STARTTLS; nil: not offered. Guarded by mu.
	mail int              // MAIL commands; guarded by mu
}

// arrived is one transaction.
type arrived struct {
	from    string
	to      []string
	header  textproto.MIMEHeader
	raw     string
	options gosmtp.MailOptions
	at      time.Time
	tls     bool
}

const sinkPort = 2500

// newSink starts one on an address of its own, without TLS.
func newSink(t testing.TB) *sink {
	t.Helper()
	return newSinkWith(t, nil)
}

// newSinkWith is newSink with a certificate.
func newSinkWith(t testing.TB, cert *tls.Certificate) *sink {
	t.Helper()
	s := &sink{busy: map[string]bool{}, cert: cert}
	for {
		s.ip = loopback(t)
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", s.ip, sinkPort))
		if err == nil {
			s.l = l
			break
		}
	}
	srv := gosmtp.NewServer(s)
	srv.ErrorLog = log.New(io.Discard, "", 0) // that nodes die in the middle is the tests' doing
	srv.Domain, srv.EnableSMTPUTF8, srv.EnableDSN, srv.AllowInsecureAuth = "mx.elsewhere.test", true, true, true
	if cert != nil {
		srv.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.cert, nil
		}}
	}
	go func() { _ = srv.Serve(s.l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

// elsewhere starts name servers which say that the domains' mail goes to the sink, and returns what nodes need to know of them.
func elsewhere(t testing.TB, s *sink, domains ...string) (configuration string) {
	t.Helper()
	zone := routetest.New()
	for i, d := range domains {
		zone.Add(fmt.Sprintf("%s. 60 IN MX 10 mx%d.%s.", d, i, d), fmt.Sprintf("mx%d.%s. 60 IN A %s", i, d, s.ip))
	}
	return fmt.Sprintf("[dns]\nservers = %q\n\n[delivery]\nport = %d\n", routetest.Serve(t, zone), sinkPort)
}

// NewSession implements go-smtp's Backend.
func (s *sink) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	return &sinkSession{s: s, c: c}, nil
}

type sinkSession struct {
	s *sink
	c *gosmtp.Conn
	a arrived
}

func (x *sinkSession) Reset()        { x.a = arrived{} }
func (x *sinkSession) Logout() error { return nil }

func (x *sinkSession) Mail(from string, o *gosmtp.MailOptions) error {
	_, secure := x.c.TLSConnectionState()
	x.a.from, x.a.options, x.a.tls = from, *o, secure
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.mail++
	return nil
}

func (x *sinkSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	_, domain, _ := strings.Cut(to, "@")
	switch {
	case strings.HasPrefix(to, "refuse."):
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user here"}
	case strings.HasPrefix(to, "busy.") || x.s.busy[domain]:
		return &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 3, 2}, Message: "not now"}
	}
	x.a.to = append(x.a.to, to)
	return nil
}

func (x *sinkSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	x.a.raw = string(raw)
	x.a.header, err = textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
	if err != nil {
		return err
	}
	x.a.at = time.Now()
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.s.got = append(x.s.got, x.a)
	return nil
}

// setBusy makes a domain answer 451, or not.
func (s *sink) setBusy(domain string, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[domain] = busy
}

// show makes it show another certificate from the next connection on.
func (s *sink) show(cert tls.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert = &cert
}

// offered counts the messages that were begun, to their end or not.
func (s *sink) offered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mail
}

// all is what came.
func (s *sink) all() []arrived {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrived(nil), s.got...)
}

// copies counts what came for a recipient under a Message-ID.
func (s *sink) copies(to, messageID string) (n int) {
	for _, a := range s.all() {
		if a.header.Get("Message-Id") != messageID {
			continue
		}
		for _, r := range a.to {
			if r == to {
				n++
			}
		}
	}
	return n
}
