package clustertest

import (
	"errors"
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
	queued          int           // bytes in queue
	wake            chan struct{} // closed and replaced when reader and writer have something new to look at
	deadline        time.Time     // of the reader
	writeBy         time.Time     // of the writer
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

// bufferBytes is how much may be under way, as in a socket's buffers; then the writer waits.
const bufferBytes = 256 << 10

func (p *pipe) write(b []byte) (int, error) {
	for {
		w, err := p.put(b)
		if err != nil || w.wake == nil {
			return len(b), err
		}
		var timer <-chan time.Time
		if !w.until.IsZero() {
			timer = time.After(time.Until(w.until))
		}
		select {
		case <-w.wake:
		case <-w.changed:
		case <-timer:
		}
	}
}

// put takes bytes, or says what to wait for.
func (p *pipe) put(b []byte) (w waiting, err error) {
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case p.reset:
		return w, syscall.ECONNRESET
	case p.lost:
		return w, nil // into the void; the sender's kernel does not know yet
	case p.ended:
		return w, net.ErrClosed
	case !p.writeBy.IsZero() && !time.Now().Before(p.writeBy):
		return w, os.ErrDeadlineExceeded
	case n.resetPercent > 0 && n.rng.Float64()*100 < n.resetPercent:
		p.reset = true
	}
	if p.reset || p.abandoned {
		p.reset = true
		p.signal()
		return w, syscall.ECONNRESET
	}
	if p.queued > bufferBytes {
		return waiting{p.wake, n.changed, p.writeBy}, nil
	}
	p.queue = append(p.queue, chunk{p.arrival(len(b)), append([]byte(nil), b...)})
	p.queued += len(b)
	p.signal()
	return w, nil
}

// waiting is what a reader waits for.
type waiting struct {
	wake, changed <-chan struct{}
	until         time.Time // zero for ever
}

// take gives what has arrived, or says what to wait for.
func (p *pipe) take(b []byte) (n int, w waiting, err error) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	now := time.Now()
	blocked := p.lost || p.net.isBlocked(p.from, p.to, p.proto)
	until := p.deadline
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
		return 0, w, net.ErrClosed
	case p.reset:
		return 0, w, syscall.ECONNRESET
	case !p.deadline.IsZero() && !now.Before(p.deadline):
		return 0, w, os.ErrDeadlineExceeded
	case blocked:
	case len(p.queue) > 0 && !now.Before(p.queue[0].at):
		n = copy(b, p.queue[0].data)
		if p.queued > bufferBytes {
			p.signal() // somebody may wait to write
		}
		p.queued -= n
		if p.queue[0].data = p.queue[0].data[n:]; len(p.queue[0].data) == 0 {
			p.queue = p.queue[1:]
		}
		return n, w, nil
	case len(p.queue) > 0:
		if until.IsZero() || p.queue[0].at.Before(until) {
			until = p.queue[0].at
		}
	case p.ended:
		return 0, w, io.EOF
	}
	return 0, waiting{p.wake, p.net.changed, until}, nil
}

func (p *pipe) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, w, err := p.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		var timer <-chan time.Time
		if !w.until.IsZero() {
			timer = time.After(time.Until(w.until))
		}
		select {
		case <-w.wake:
		case <-w.changed:
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

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.net.mu.Lock()
	defer c.in.net.mu.Unlock()
	c.in.deadline = t
	c.in.signal()
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.net.mu.Lock()
	defer c.out.net.mu.Unlock()
	c.out.writeBy = t
	c.out.signal()
	return nil
}
