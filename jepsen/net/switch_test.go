package net_test

import (
	"fmt"
	"io"
	stdnet "net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/net"
)

// bed is a switch with ends a, b, c ... of which end i has address 10.213.0.i+1.
type bed struct {
	*net.Switch
	paths []string
}

func newBed(t testing.TB, ends int) *bed {
	t.Helper()
	if err := net.Supported(); err != nil {
		t.Skip(err)
	}
	b := &bed{Switch: net.New(net.Config{Seed: 1})}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		for _, p := range b.paths {
			if err := net.RemoveNamespace(p); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range ends {
		path, err := net.AddNamespace(fmt.Sprintf("qj-%d-t%s", os.Getpid(), name(i)))
		if err != nil {
			t.Fatal(err)
		}
		b.paths = append(b.paths, path)
		if err := b.Attach(name(i), path, netip.PrefixFrom(address(i), 24)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func name(i int) string { return string(rune('a' + i)) }

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 213, 0, byte(i + 1)}) }

func addrPort(end int, port uint16) netip.AddrPort { return netip.AddrPortFrom(address(end), port) }

// patience is how long a test waits for what must happen, on a slow machine.
const patience = 20 * time.Second

// silence is how long a test listens for what must not happen.
const silence = 300 * time.Millisecond

// dial connects from one end to another.
func (b *bed) dial(from, to int, port uint16, timeout time.Duration) (c stdnet.Conn, err error) {
	err = net.Inside(b.paths[from], func() error {
		d := stdnet.Dialer{Timeout: timeout}
		c, err = d.Dial("tcp4", addrPort(to, port).String())
		return err
	})
	return c, err
}

// echo serves TCP connections that send back what they get, until the test ends.
func (b *bed) echo(t testing.TB, end int, port uint16) {
	t.Helper()
	l := b.listen(t, end, port)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c) // until the other side closes
				c.Close()
			})
			// The other side may be cut off when the test ends.
			wg.Go(func() { <-stop; c.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); close(stop); wg.Wait() })
}
