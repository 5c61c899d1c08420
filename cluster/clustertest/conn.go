package clustertest

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// pipe is one direction of a connection. All its fields are guarded by the network's mutex.
type pipe struct {
	net             *Network
	from, to, proto string
	queue           []chunk
	wake            chan struct{} // closed and replaced when the reader has something new to look at
	deadline        time.Time     // of the reader
	ended           bool          // the writer closed it
	abandoned       bool          // the reader closed it
	reset           bool
	lost            bool      // one end has no power
	silent          time.Time // since when keep-alive gets no answer, zero while it does
}

// keepAlive is how long a connection outlives the silence of the other end, as with the product's TCP.
const keepAlive = 5 * time.Second

type chunk struct {
	at   time.Time // when it arrives
	data []byte
}

func (n *Network) pipe(from, to, proto string) *pipe {
	p := &pipe{net: n, from: from, to: to, proto: proto, wake: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pipes[p] = struct{}{}
	return p
}

func (p *pipe) signal() {
	close(p.wake)
	p.wake = make(chan struct{})
}

// arrival is when bytes that are written now arrive: in order, and not faster than the link is.
func (p *pipe) arrival(size int) time.Time {
	n := p.net
	at := time.Now().Add(n.delay)
	if n.jitter > 0 {
		at = at.Add(time.Duration(n.rng.Int64N(int64(n.jitter))))
	}
	if k := len(p.queue); k > 0 && at.Before(p.queue[k-1].at) {
		at = p.queue[k-1].at
	}
	if n.bytesPerSecond > 0 {
		at = at.Add(time.Duration(int64(size) * int64(time.Second) / n.bytesPerSecond))
	}
	return at
}

func (p *pipe) write(b []byte) (int, error) {
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case p.reset:
		return 0, syscall.ECONNRESET
	case p.lost:
		return len(b), nil // into the void; the sender's kernel does not know yet
	case p.ended:
		return 0, net.ErrClosed
	case n.resetPercent > 0 && n.rng.Float64()*100 < n.resetPercent:
		p.reset = true
	}
	if p.reset || p.abandoned {
		p.reset = true
		p.signal()
		return 0, syscall.ECONNRESET
	}
	p.queue = append(p.queue, chunk{p.arrival(len(b)), append([]byte(nil), b...)})
	p.signal()
	return len(b), nil
}

// take gives what has arrived, or says what to wait for.
func (p *pipe) take(b []byte) (n int, wake, changed <-chan struct{}, until time.Time, err error) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	now := time.Now()
	blocked := p.lost || p.net.isBlocked(p.from, p.to, p.proto)
	until = p.deadline
	if !blocked && !p.net.isBlocked(p.to, p.from, p.proto) {
		p.silent = time.Time{}
	} else {
		if p.silent.IsZero() {
			p.silent = now
		}
		dead := p.silent.Add(keepAlive)
		p.reset = p.reset || !now.Before(dead)
		if until.IsZero() || dead.Before(until) {
			until = dead
		}
	}
	switch {
	case p.abandoned:
		return 0, nil, nil, until, net.ErrClosed
	case p.reset:
		return 0, nil, nil, until, syscall.ECONNRESET
	case !p.deadline.IsZero() && !now.Before(p.deadline):
		return 0, nil, nil, until, os.ErrDeadlineExceeded
	case blocked:
	case len(p.queue) > 0 && !now.Before(p.queue[0].at):
		n = copy(b, p.queue[0].data)
		if p.queue[0].data = p.queue[0].data[n:]; len(p.queue[0].data) == 0 {
			p.queue = p.queue[1:]
		}
		return n, nil, nil, until, nil
	case len(p.queue) > 0:
		if until.IsZero() || p.queue[0].at.Before(until) {
			until = p.queue[0].at
		}
	case p.ended:
		return 0, nil, nil, until, io.EOF
	}
	return 0, p.wake, p.net.changed, until, nil
}

func (p *pipe) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, wake, changed, until, err := p.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		var timer <-chan time.Time
		if !until.IsZero() {
			timer = time.After(time.Until(until))
		}
		select {
		case <-wake:
		case <-changed:
		case <-timer:
		}
	}
}

// conn is one end of a connection.
type conn struct {
	in, out       *pipe
	local, remote addr
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read from %s: %w", c.remote, err)
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	if err != nil {
		err = fmt.Errorf("write to %s: %w", c.remote, err)
	}
	return n, err
}

func (c *conn) Close() error {
	n := c.in.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.in.abandoned, c.out.ended = true, true
	c.in.signal()
	c.out.signal()
	// Both ends closed it: nobody will ask again.
	if c.in.ended && c.out.abandoned {
		delete(n.pipes, c.in)
		delete(n.pipes, c.out)
	}
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.net.mu.Lock()
	defer c.in.net.mu.Unlock()
	c.in.deadline = t
	c.in.signal()
	return nil
}

// SetWriteDeadline has nothing to bound: writes never wait.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
