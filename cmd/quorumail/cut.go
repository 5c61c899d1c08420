package main

import (
	"errors"
	"net"
	"sync"
)

// sockets are this process's listeners and the connections that came in by them. A process that must end may have a thread that is stuck in
// the kernel, on a disk that hangs: the system then keeps its sockets open, and clients would wait instead of turning to another node.
type sockets struct {
	mu    sync.Mutex
	open  map[interface{ Close() error }]struct{} // guarded by mu
	ended bool                                    // guarded by mu
}

// listener makes l one of them.
func (s *sockets) listener(l net.Listener) net.Listener {
	s.add(l)
	return cutListener{l, s}
}

func (s *sockets) add(c interface{ Close() error }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		_ = c.Close() // nobody is served any longer
		return
	}
	if s.open == nil {
		s.open = map[interface{ Close() error }]struct{}{}
	}
	s.open[c] = struct{}{}
}

func (s *sockets) forget(c interface{ Close() error }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// cut closes all of them, without a farewell.
func (s *sockets) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for c := range s.open {
		_ = c.Close() // what is closed already is what it shall be
	}
}

type cutListener struct {
	net.Listener
	all *sockets
}

// Accept waits for a connection.
func (l cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.all.add(c)
	return &cutConn{Conn: c, all: l.all}, nil
}

// Close stops listening.
func (l cutListener) Close() error {
	l.all.forget(l.Listener)
	return l.Listener.Close()
}

type cutConn struct {
	net.Conn
	all *sockets
}

// Close ends the connection.
func (c *cutConn) Close() error {
	c.all.forget(c.Conn)
	return c.Conn.Close()
}

// CloseWrite ends this side of the connection: what was written last can arrive before it is closed.
func (c *cutConn) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite is CloseWrite of what has it.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
