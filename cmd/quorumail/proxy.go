package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	// It is alive: 0.15 and 0.16 are of summer 2026.
	"github.com/pires/go-proxyproto"
)

const (
	// proxyHeaderTime is how long a proxy may take to say who its client is.
	proxyHeaderTime = 5 * time.Second
	// maxProxyWaits bounds the connections that are waited for so; further ones are closed.
	maxProxyWaits = 1000
)

// proxyListener takes connections of proxies as those of their clients: they begin with a PROXY header, version 1 or 2, and what comes behind
// it, TLS too, is the client's. A header from anyone else is not looked at: to the server it is rubbish that a client says.
//
// The header is read before Accept returns the connection, and beside it: servers ask for the address at once, and one proxy that is silent must
// not keep others waiting. One goroutine accepts, and one waits for each header; Close ends them.
type proxyListener struct {
	net.Listener
	from []netip.Prefix
	log  *slog.Logger

	accepted chan acceptedConn
	ended    chan struct{}
	wg       sync.WaitGroup

	mu      sync.Mutex
	waiting map[net.Conn]struct{} // for their headers; nil once it is closed
}

type acceptedConn struct {
	net.Conn
	err error
}

func newProxyListener(l net.Listener, from []netip.Prefix, log *slog.Logger) *proxyListener {
	p := &proxyListener{Listener: l, from: from, log: log, accepted: make(chan acceptedConn), ended: make(chan struct{}), waiting: map[net.Conn]struct{}{}}
	p.wg.Go(p.run)
	return p
}

// Accept waits for a connection whose client is known.
func (p *proxyListener) Accept() (net.Conn, error) {
	select {
	case a := <-p.accepted:
		return a.Conn, a.err
	case <-p.ended:
		return nil, fmt.Errorf("accept on %v: %w", p.Addr(), net.ErrClosed)
	}
}

// Close stops to listen, and closes what is waited for.
func (p *proxyListener) Close() error {
	err := p.Listener.Close()
	p.mu.Lock()
	first := p.waiting != nil
	for c := range p.waiting {
		_ = c.Close() // its goroutine ends with it
	}
	p.waiting = nil
	p.mu.Unlock()
	if first {
		close(p.ended)
	}
	p.wg.Wait()
	return err
}

// run accepts until the listener is closed.
func (p *proxyListener) run() {
	for {
		c, err := p.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || !p.isProxy(c.RemoteAddr()):
			p.hand(c, err)
		case p.wait(c):
			p.wg.Go(func() { p.header(c) })
		}
	}
}

// hand gives a connection to whoever accepts.
func (p *proxyListener) hand(c net.Conn, err error) {
	select {
	case p.accepted <- acceptedConn{c, err}:
	case <-p.ended:
		if c != nil {
			_ = c.Close() // nobody is served any longer
		}
	}
}

// isProxy is whether a proxy is at that address.
func (p *proxyListener) isProxy(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	ip := ap.Addr().Unmap().WithZone("")
	for _, network := range p.from {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// wait notes that a connection is waited for; false: it is closed instead.
func (p *proxyListener) wait(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil || len(p.waiting) >= maxProxyWaits {
		_ = c.Close() // the proxy tries again, or another node
		return false
	}
	p.waiting[c] = struct{}{}
	return true
}

// header reads who the client is.
func (p *proxyListener) header(c net.Conn) {
	conn := proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyHeaderTime), proxyproto.ValidateHeader(validHeader))
	header := conn.ProxyHeader()
	p.mu.Lock()
	delete(p.waiting, c)
	p.mu.Unlock()
	if header == nil {
		p.log.Warn("a proxy did not say who its client is", "pkg", "main", "proxy", c.RemoteAddr())
		_ = c.Close() // nothing can be said to a client that is not known
		return
	}
	p.hand(proxiedConn{conn, c}, nil)
}

// validHeader: the client speaks TCP, or it is the proxy that looks whether this node lives.
func validHeader(h *proxyproto.Header) error {
	if _, ok := h.SourceAddr.(*net.TCPAddr); !ok && !h.Command.IsLocal() {
		return errors.New("no TCP client")
	}
	return nil
}

// proxiedConn is a client's connection through a proxy.
type proxiedConn struct {
	*proxyproto.Conn
	raw net.Conn
}

// CloseWrite ends this side of the connection.
func (c proxiedConn) CloseWrite() error { return closeWrite(c.raw) }
