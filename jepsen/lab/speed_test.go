package lab_test

import (
	"testing"

	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/net"
)

// BenchmarkDial is what it costs to connect from a namespace: the thread goes there and back.
func BenchmarkDial(b *testing.B) {
	kinds := map[string]lab.Namespaces{"loopback": lab.Never}
	if net.Supported() == nil {
		kinds["namespaces"] = lab.Always
	}
	for name, kind := range kinds {
		b.Run(name, func(b *testing.B) {
			l, err := lab.New(lab.Config{Nodes: 1, Namespaces: kind})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			listener, err := l.Listen(b.Context(), "n1", "tcp", l.Address("n1")+":7000")
			if err != nil {
				b.Fatal(err)
			}
			defer listener.Close()
			for b.Loop() {
				c, err := l.DialContext(b.Context(), "tcp", listener.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				server, err := listener.Accept()
				if err != nil {
					b.Fatal(err)
				}
				server.Close() // it waits in TIME_WAIT, where ports are not short
				c.Close()
			}
		})
	}
}
