package site

import (
	"net"
	"sync/atomic"
)

// listener hands out connections that know when the answer to a message has left.
type listener struct {
	net.Listener
	s *Site
}

// Accept implements net.Listener. A site that is down ends each connection at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if f, _ := l.s.now(); f.Down {
			_ = c.Close() // nothing was said on it
			continue
		}
		return &conn{Conn: c}, nil
	}
}

// conn is one connection of a node.
type conn struct {
	net.Conn
	then atomic.Pointer[func()] // called after the next write that succeeds
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil {
		if f := c.then.Swap(nil); f != nil {
			(*f)()
		}
	}
	return n, err
}
