package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// errNoService is a node that does not offer what is asked for, or whose certificate is not known yet.
var errNoService = errors.New("the node does not offer this")

// maxTapBytes bounds what conn keeps of the answers to one command.
const maxTapBytes = 64 << 10

// conn is a connection whose deadline is that of the operation, whatever the protocol's library sets, and that knows whether all that was
// handed to it left: after a failed Write the last bytes never reached the kernel, nor did a TLS record that is whole, so the server
// cannot have read them.
type conn struct {
	net.Conn

	mu     sync.Mutex
	broken error // of the first Write that failed
	tapped bool
	tap    bytes.Buffer // what was read while tapped
}

// connect dials and, with a TLS configuration, shakes hands.
func connect(ctx context.Context, o Options, address string, config *tls.Config) (*conn, error) {
	if address == "" {
		return nil, errNoService
	}
	ctx, cancel := context.WithTimeout(ctx, o.filled().DialTimeout)
	defer cancel()
	raw, err := o.Dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if config == nil {
		return &conn{Conn: raw}, nil
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address) // it was dialled, so it is a host and a port
	}
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // nothing was said yet
		return nil, fmt.Errorf("begin TLS: %w", err)
	}
	return &conn{Conn: secured}, nil
}

// begin gives the next operation its deadline; the end of ctx is one, too. The function that it returns ends the operation.
func (c *conn) begin(ctx context.Context, timeout time.Duration) (end func()) {
	deadline := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = c.Conn.SetDeadline(deadline) // fails only for a closed connection, whose reads and writes fail as well
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.Conn.SetDeadline(time.Time{}) // between operations the reader may wait
		}
	}
}

// SetDeadline does nothing: begin has set it.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: begin has set it.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: begin has set it.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.broken == nil {
			c.broken = err
		}
	}
	return n, err
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tapped && c.tap.Len() < maxTapBytes {
		c.tap.Write(p[:n])
	}
	return n, err
}

// left tells whether all that was written left.
func (c *conn) left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken == nil
}

// startTap keeps what is read from now on; stopTap returns it.
func (c *conn) startTap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tapped = true
	c.tap.Reset()
}

func (c *conn) stopTap() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tapped = false
	return bytes.Clone(c.tap.Bytes())
}
