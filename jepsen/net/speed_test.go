package net_test

import (
	"context"
	"io"
	stdnet "net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorumail/quorumail/jepsen/net"
)

// listen opens a TCP listener in an end's namespace.
func (b *bed) listen(t testing.TB, end int, port uint16) stdnet.Listener {
	t.Helper()
	var l stdnet.Listener
	err := net.Inside(b.paths[end], func() (err error) {
		var lc stdnet.ListenConfig
		l, err = lc.Listen(context.Background(), "tcp4", stdnet.TCPAddrFromAddrPort(addrPort(end, port)).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// BenchmarkCopy is what one TCP connection carries through the switch.
func BenchmarkCopy(b *testing.B) {
	bed := newBed(b, 2)
	l := bed.listen(b, 1, 7000)
	done := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- 0
			return
		}
		n, _ := io.Copy(io.Discard, c)
		c.Close()
		done <- n
	}()
	c, err := bed.dial(0, 1, 7000, patience)
	if err != nil {
		b.Fatal(err)
	}
	chunk := make([]byte, 256<<10)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := c.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-done
}

// BenchmarkRoundTrip is one small request and its answer, one after the other.
func BenchmarkRoundTrip(b *testing.B) {
	bed := newBed(b, 2)
	bed.echo(b, 1, 7000)
	c, err := bed.dial(0, 1, 7000, patience)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	line := make([]byte, 64)
	for b.Loop() {
		if _, err := c.Write(line); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, line); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkManyRoundTrips is 64 clients at once, each with one request after the other, to three servers.
func BenchmarkManyRoundTrips(b *testing.B) {
	const clients = 64
	bed := newBed(b, 4)
	for end := 1; end <= 3; end++ {
		bed.echo(b, end, 7000)
	}
	conns := make([]stdnet.Conn, clients)
	for i := range conns {
		c, err := bed.dial(0, 1+i%3, 7000, patience)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			line := make([]byte, 256)
			for left.Add(-1) >= 0 {
				if _, err := c.Write(line); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, line); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
