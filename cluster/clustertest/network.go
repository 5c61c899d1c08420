package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// link is one direction between two nodes for one protocol; proto "" is all of them.
type link struct{ from, to, proto string }

// Network connects nodes in memory. Addresses are "node:port".
type Network struct {
	mu        sync.Mutex
	rng       *rand.Rand
	listeners map[string]*listener // by address
	blocked   map[link]bool
	changed   chan struct{} // closed and replaced when something is unblocked
	pipes     map[*pipe]struct{}
	down      map[string]bool  // nodes without power: nothing comes back from them
	hosts     map[string]*Host // of the processes that run

	delay, jitter  time.Duration
	bytesPerSecond int64 // 0 is unlimited
	resetPercent   float64
}

// NewNetwork makes a network without faults.
func NewNetwork(rng *rand.Rand) *Network {
	return &Network{rng: rng, listeners: map[string]*listener{}, blocked: map[link]bool{}, changed: make(chan struct{}), pipes: map[*pipe]struct{}{}, down: map[string]bool{}, hosts: map[string]*Host{}}
}

// Block stops what goes from one node to another; proto "" is everything.
func (n *Network) Block(from, to, proto string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocked[link{from, to, proto}] = true
}

// Heal unblocks everything.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.blocked)
	n.wake()
}

// Slow sets how long bytes take, how many a link carries, and which percentage of writes resets its connection.
func (n *Network) Slow(delay, jitter time.Duration, bytesPerSecond int64, resetPercent float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.jitter, n.bytesPerSecond, n.resetPercent = delay, jitter, bytesPerSecond, resetPercent
}

// PowerOff makes a node silent: nothing of it arrives any more, nor does anything say that it is gone.
func (n *Network) PowerOff(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[node] = true
	if h := n.hosts[node]; h != nil {
		h.off = true
	}
	for p := range n.pipes {
		if p.from == node || p.to == node {
			p.lost = true
		}
	}
	for a, l := range n.listeners {
		if host(a) == node {
			l.stop()
			delete(n.listeners, a)
		}
	}
	n.wake()
}

// PowerOn brings a node back. Its connections of before are reset.
func (n *Network) PowerOn(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.down, node)
	for p := range n.pipes {
		if p.lost && (p.from == node || p.to == node) {
			p.reset = true
		}
	}
	n.wake()
}

func (n *Network) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// isBlocked needs mu.
func (n *Network) isBlocked(from, to, proto string) bool {
	return n.blocked[link{from, to, ""}] || n.blocked[link{from, to, proto}]
}

func host(address string) string { name, _, _ := strings.Cut(address, ":"); return name }

// Host is the network as one process of a node sees it.
type Host struct {
	net  *Network
	name string
	off  bool // this process is no more; guarded by net.mu
}

// Host gives a new process of a node its network.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[name] = &Host{net: n, name: name}
	return n.hosts[name]
}

type listener struct {
	net     *Network
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// Listen listens at "node:port".
func (h *Host) Listen(address string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.listeners[address] != nil || h.off {
		return nil, fmt.Errorf("listen at %s: %w", address, syscall.EADDRINUSE)
	}
	l := &listener{net: h.net, address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	h.net.listeners[address] = l
	return l, nil
}

func (l *listener) stop() { l.once.Do(func() { close(l.closed) }) }

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close stops listening.
func (l *listener) Close() error {
	l.stop()
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.net.listeners[l.address] == l {
		delete(l.net.listeners, l.address)
	}
	return nil
}

// Addr is where it listens.
func (l *listener) Addr() net.Addr { return addr(l.address) }

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }

// Dial connects. To a node that does not answer it waits until ctx ends.
func (h *Host) Dial(ctx context.Context, proto, address string) (net.Conn, error) {
	n, to := h.net, host(address)
	for {
		n.mu.Lock()
		l, changed, delay := n.listeners[address], n.changed, 2*n.delay
		if h.off {
			n.mu.Unlock()
			return nil, syscall.ENETDOWN
		}
		silent := n.down[to] || n.isBlocked(h.name, to, proto) || n.isBlocked(to, h.name, proto)
		n.mu.Unlock()
		if !silent {
			return h.connect(ctx, l, delay, proto, address)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (h *Host) connect(ctx context.Context, l *listener, delay time.Duration, proto, address string) (net.Conn, error) {
	refused := fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	if l == nil {
		return nil, refused
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	there, back := h.net.pipe(h.name, host(address), proto), h.net.pipe(host(address), h.name, proto)
	mine := &conn{in: back, out: there, local: addr(h.name), remote: addr(address)}
	select {
	case l.conns <- &conn{in: there, out: back, local: addr(address), remote: addr(h.name)}:
		return mine, nil
	case <-l.closed:
		mine.Close()
		return nil, refused
	case <-ctx.Done():
		mine.Close()
		return nil, ctx.Err()
	}
}
