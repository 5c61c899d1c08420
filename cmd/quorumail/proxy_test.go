package main

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxied is a listener for proxies at the loopback address of IPv4, or at another.
func proxied(t *testing.T, proxy string) *proxyListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newProxyListener(l, []netip.Prefix{netip.MustParsePrefix(proxy)}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func dialAndSay(t *testing.T, l net.Listener, said string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, said); err != nil {
		t.Fatal(err)
	}
	return c
}

func headerV2(t *testing.T, source string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::25]:25")))
	raw, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestProxyNamesItsClient(t *testing.T) {
	for name, tt := range map[string]struct{ header, client string }{
		"version 1":      {"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", "192.0.2.7:4711"},
		"version 1 IPv6": {"PROXY TCP6 2001:db8::7 2001:db8::25 4711 25\r\n", "[2001:db8::7]:4711"},
		"version 2":      {headerV2(t, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
	} {
		t.Run(name, func(t *testing.T) {
			l := proxied(t, "127.0.0.0/8")
			silent := dialAndSay(t, l, "") // keeps nobody waiting
			dialAndSay(t, l, tt.header+"EHLO c\r\n")
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.RemoteAddr().String(); got != tt.client {
				t.Errorf("the client is %s, want %s", got, tt.client)
			}
			if _, ok := c.RemoteAddr().(*net.TCPAddr); !ok {
				t.Errorf("an address of type %T", c.RemoteAddr())
			}
			said := make([]byte, 8)
			if _, err := io.ReadFull(c, said); err != nil || string(said) != "EHLO c\r\n" {
				t.Errorf("the client says %q, %v", said, err)
			}
			if err := closeWrite(c); err != nil {
				t.Error(err)
			}
			_ = l.Close()
			if _, err := silent.Read(said); err == nil {
				t.Error("what is waited for outlives the listener")
			}
		})
	}
}

func TestProxyMustNameItsClient(t *testing.T) {
	for _, said := range []string{"EHLO c\r\n", "PROXY UNIX a b 1 2\r\n", "PROXY TCP4 x y z\r\n"} {
		l := proxied(t, "127.0.0.0/8")
		c := dialAndSay(t, l, said)
		if got, err := io.ReadAll(c); len(got) != 0 || err != nil && !errors.Is(err, net.ErrClosed) && !isReset(err) {
			t.Errorf("%q: %q, %v", said, got, err)
		}
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// Nobody else can pretend to be another.
func TestHeaderOfAStrangerIsNotLookedAt(t *testing.T) {
	l := proxied(t, "192.0.2.1/32")
	const header = "PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n"
	dialAndSay(t, l, header)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	said := make([]byte, len(header))
	if _, err := io.ReadFull(c, said); err != nil || string(said) != header {
		t.Errorf("the client says %q, %v", said, err)
	}
	if host, _, _ := net.SplitHostPort(c.RemoteAddr().String()); host != "127.0.0.1" {
		t.Errorf("the client is %s", c.RemoteAddr())
	}
}

// A proxy looks whether the node lives.
func TestProxySpeaksForItself(t *testing.T) {
	l := proxied(t, "127.0.0.0/8")
	raw, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}).Format()
	if err != nil {
		t.Fatal(err)
	}
	dialAndSay(t, l, string(raw))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if host, _, _ := net.SplitHostPort(c.RemoteAddr().String()); host != "127.0.0.1" {
		t.Errorf("the client is %s", c.RemoteAddr())
	}
}

func TestTLSBehindAProxy(t *testing.T) {
	l := proxied(t, "127.0.0.0/8")
	dir := t.TempDir()
	issue(t, dir, 1)
	key, err := tls.LoadX509KeyPair(filepath.Join(dir, "mail.crt"), filepath.Join(dir, "mail.key"))
	if err != nil {
		t.Fatal(err)
	}
	c := dialAndSay(t, l, headerV2(t, "[2001:db8::7]:4711"))
	done := make(chan error, 1)
	go func() {
		conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		_, err := io.WriteString(conn, "hello")
		done <- err
	}()
	accepted, err := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{key}}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	said := make([]byte, 5)
	if _, err := io.ReadFull(accepted, said); err != nil || string(said) != "hello" || accepted.RemoteAddr().String() != "[2001:db8::7]:4711" {
		t.Errorf("%v says %q, %v", accepted.RemoteAddr(), said, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAcceptEndsWithTheListener(t *testing.T) {
	l := proxied(t, "127.0.0.0/8")
	done := make(chan error, 1)
	go func() {
		_, err := newClientListener(l).Listener.Accept()
		done <- err
	}()
	_ = l.Close()
	_ = l.Close() // it may be said twice
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
