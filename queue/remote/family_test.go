package remote

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// serve6 is serve at [::1].
func serve6(t *testing.T, f func(conn net.Conn, br *bufio.Reader)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	return serveAt(t, l, f)
}

// closedAt is an address of a family where nobody listens.
func closedAt(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Skipf("no port at %s: %v", ip, err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// TestHostsOfBothFamilies: each is spoken to from the source address of its family, and where the first refuses the other takes the mail.
func TestHostsOfBothFamilies(t *testing.T) {
	from := make(chan string, 1)
	note := func(conn net.Conn, br *bufio.Reader) {
		from <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
		talk(conn, br, nil)
	}
	four, six := serve(t, note), serve6(t, note)
	no4, no6 := closedAt(t, "127.0.0.1"), closedAt(t, "::1")
	c := newClient(t, Config{Hostname: "client.example", Limits: Limits{Addrs: 2, IdleConnections: -1}, LocalAddrs: []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.9")}})
	msg, rcpts := simple(t, "x\r\n")
	for name, one := range map[string]struct {
		addrs []netip.AddrPort
		want  netip.AddrPort
		from  string
	}{
		"IPv6":         {[]netip.AddrPort{six, four}, six, "::1"},
		"IPv4":         {[]netip.AddrPort{four, six}, four, "127.0.0.9"},
		"IPv6 refuses": {[]netip.AddrPort{no6, four}, four, "127.0.0.9"},
		"IPv4 refuses": {[]netip.AddrPort{no4, six}, six, "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.Deliver(context.Background(), oneHost(one.addrs...), msg, rcpts)[0]
			if r.Status != Delivered || r.Addr != one.want {
				t.Fatalf("%s by %s, want %s", shownResult(r), r.Addr, one.want)
			}
			if got := <-from; got != one.from {
				t.Errorf("from %s, want %s", got, one.from)
			}
		})
	}
}

// TestFamilyThatThisMachineDoesNotSpeak: its addresses cost no time, and are not counted among those that a delivery tries.
func TestFamilyThatThisMachineDoesNotSpeak(t *testing.T) {
	four := serve(t, func(conn net.Conn, br *bufio.Reader) { talk(conn, br, nil) })
	for _, why := range []error{syscall.ENETUNREACH, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL} {
		c := newClient(t, Config{Hostname: "client.example", Limits: Limits{Addrs: 1}, Dial: func(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error) {
			if to.Addr().Is6() {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: why}
			}
			return dial(ctx, local, to)
		}})
		six := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:25"), netip.MustParseAddrPort("[2001:db8::2]:25")}
		msg, rcpts := simple(t, "x\r\n")
		if r := c.Deliver(context.Background(), oneHost(append(six, four)...), msg, rcpts)[0]; r.Status != Delivered {
			t.Errorf("%v: %s", why, shownResult(r))
		}
	}
}
