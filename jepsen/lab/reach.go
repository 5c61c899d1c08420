package lab

import (
	"context"
	"fmt"
	stdnet "net"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/net"
)

// dialTimeout bounds a dial whose context has no deadline.
const dialTimeout = time.Minute

// Command is exec.CommandContext for a program at a node. The process that starts is the program itself: nsenter, which takes it into the
// namespace, becomes the program, within a moment of the start. For a node that there is not, starting the command fails.
func (l *Lab) Command(ctx context.Context, node, bin string, args ...string) *exec.Cmd {
	p, err := l.place(node)
	if err != nil {
		cmd := exec.CommandContext(ctx, bin, args...)
		cmd.Err = err
		return cmd
	}
	if p.namespace == "" {
		return exec.CommandContext(ctx, bin, args...)
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + p.namespace, "--", bin}, args...)...)
}

// DialContext connects from where the clients are. The address is an IP address and a port, or for "unix" a path. Without a deadline in the
// context it gives up after a minute.
func (l *Lab) DialContext(ctx context.Context, network, address string) (stdnet.Conn, error) {
	return l.DialFrom(ctx, Clients, network, address)
}

// DialFrom is DialContext from a node's place.
func (l *Lab) DialFrom(ctx context.Context, node, network, address string) (c stdnet.Conn, err error) {
	p, err := l.place(node)
	if err != nil {
		return nil, err
	}
	d := stdnet.Dialer{Timeout: dialTimeout, LocalAddr: p.local(network)}
	err = p.inside(network, address, func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens at a node, such as for what plays another mail server.
func (l *Lab) Listen(ctx context.Context, node, network, address string) (listener stdnet.Listener, err error) {
	p, err := l.place(node)
	if err != nil {
		return nil, err
	}
	err = p.inside(network, address, func() error {
		listener, err = new(stdnet.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket is Listen for datagrams.
func (l *Lab) ListenPacket(ctx context.Context, node, network, address string) (conn stdnet.PacketConn, err error) {
	p, err := l.place(node)
	if err != nil {
		return nil, err
	}
	err = p.inside(network, address, func() error {
		conn, err = new(stdnet.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// inside calls a function that makes a socket, where the place is. Names are refused: they would be looked up from outside.
func (p *place) inside(network, address string, f func() error) error {
	if !strings.HasPrefix(network, "unix") {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return fmt.Errorf("address %q: want an IP address and a port: %w", address, err)
		}
	}
	if p.namespace == "" {
		return f()
	}
	return net.Inside(p.namespace, f)
}

// local is the address that others see connections come from. In a namespace there is only one.
func (p *place) local(network string) stdnet.Addr {
	switch {
	case p.namespace != "":
		return nil
	case strings.HasPrefix(network, "tcp"):
		return &stdnet.TCPAddr{IP: p.ip.AsSlice()}
	case strings.HasPrefix(network, "udp"):
		return &stdnet.UDPAddr{IP: p.ip.AsSlice()}
	}
	return nil
}
