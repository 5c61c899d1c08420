package client

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testTimeout is how long an operation may take when the server is silent.
const testTimeout = 300 * time.Millisecond

func testOptions() Options {
	return Options{Dialer: &net.Dialer{}, DialTimeout: 20 * time.Second, Timeout: 20 * time.Second}
}

// quick are options of an operation that must run into its deadline.
func quick(o Options) Options {
	o.Timeout = testTimeout
	return o
}

// peer is the server's end of a connection in a scripted dialogue.
type peer struct {
	t   *testing.T
	c   net.Conn
	raw net.Conn
	r   *bufio.Reader
}

// say sends lines.
func (p *peer) say(lines ...string) {
	if _, err := io.WriteString(p.c, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		p.t.Log("say:", err)
	}
}

// line reads one line; "" at the end.
func (p *peer) line() string {
	s, err := p.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimRight(s, "\r\n")
}

// body reads to the final dot.
func (p *peer) body() {
	for l := p.line(); l != "." && l != ""; l = p.line() {
	}
}

// reset ends the connection with a RST.
func (p *peer) reset() {
	_ = p.raw.(*net.TCPConn).SetLinger(0)
	_ = p.raw.Close()
}

// serve runs a script for each connection, until the test ends.
func serve(t *testing.T, config *tls.Config, script func(*peer)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[raw] = true
			mu.Unlock()
			wg.Go(func() {
				defer raw.Close()
				c := raw
				if config != nil {
					c = tls.Server(raw, config)
				}
				script(&peer{t: t, c: c, raw: raw, r: bufio.NewReader(c)})
			})
		}
	})
	return l.Addr().String()
}

// hold keeps the connection open until the client ends it.
func (p *peer) hold() { _, _ = io.Copy(io.Discard, p.r) }

// certificate makes what a server and its clients need for TLS on 127.0.0.1.
var certificate = sync.OnceValues(func() (*tls.Config, *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
})

// imapServer answers the commands of a script: each has the words after the tag with which it begins, and the answer, where "TAG" stands
// for the tag. The login is answered.
func imapServer(t *testing.T, caps string, steps ...imapStep) Node {
	t.Helper()
	server, trust := certificate()
	address := serve(t, server, func(p *peer) {
		p.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")
		steps := append([]imapStep{{"AUTHENTICATE PLAIN", func(p *peer, tag string) { p.say(tag + " OK [CAPABILITY IMAP4rev1 " + caps + "] in") }}}, steps...)
		for _, s := range steps {
			line := p.line()
			tag, rest, _ := strings.Cut(strings.ReplaceAll(line, `"`, ""), " ") // names may be quoted or not
			if !strings.HasPrefix(rest, s.command) {
				if line != "" {
					t.Errorf("the client sent %q, expected %q", line, s.command)
				}
				return
			}
			s.answer(p, tag)
		}
		p.hold()
	})
	return Node{Name: "n1", IMAPS: address, TLS: trust}
}

type imapStep struct {
	command string
	answer  func(p *peer, tag string)
}

// lines answers with lines in which TAG is the command's tag.
func lines(answer ...string) func(*peer, string) {
	return func(p *peer, tag string) {
		said := slices.Clone(answer)
		for i := range said {
			said[i] = strings.ReplaceAll(said[i], "TAG", tag)
		}
		p.say(said...)
	}
}

// literal reads a message of an APPEND, whose command line ended with its size, and the line end after it.
func literal(p *peer, sizeBytes int) {
	if _, err := io.CopyN(io.Discard, p.r, int64(sizeBytes)); err != nil {
		p.t.Log("literal:", err)
	}
	_ = p.line()
}

// refused is an address where nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}
