package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// RemoteError is the answer of a peer that refused.
type RemoteError struct{ Text string }

func (e RemoteError) Error() string { return e.Text }

var (
	// errLost: the connection broke while a call was under way; the peer may have acted on it.
	errLost = errors.New("the connection to the node was lost")
	// errClosed: the caller was closed; nothing was sent.
	errClosed = errors.New("this node is stopping")
)

// dialTimeout bounds the making of a connection, whoever waits for it.
const dialTimeout = 5 * time.Second

// Caller makes calls to one peer over one connection, made anew when it breaks.
type Caller struct {
	dial    func(context.Context) (net.Conn, error)
	ctx     context.Context // ends with Close; only for the caller's own goroutines
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	link    *link     // nil while there is no connection; guarded by mu
	dialing *dialling // nil while nobody connects; guarded by mu
	closed  bool      // guarded by mu
}

// dialling is a connection in the making, which any number of calls wait for.
type dialling struct {
	done chan struct{}
	err  error // set before done is closed
}

// NewCaller makes a caller that connects with dial when it must.
func NewCaller(ctx context.Context, dial func(context.Context) (net.Conn, error)) *Caller {
	c := &Caller{dial: dial}
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// Call asks and waits, no longer than ctx. Sent tells whether the request may have reached the peer; an error without it is definite.
func (c *Caller) Call(ctx context.Context, method string, req []byte) (res []byte, sent bool, err error) {
	f := frame{kind: kindRequest, method: method, body: req}
	if f.size() > maxFrameBytes || len(method) > 255 {
		return nil, false, fmt.Errorf("call %q with %d bytes: %w", method, len(req), ErrTooLarge)
	}
	for {
		l, err := c.connect(ctx)
		if err != nil {
			return nil, false, err
		}
		id, ch := l.start(f)
		if ch == nil {
			continue // it broke just now
		}
		select {
		case a := <-ch:
			return a.body, true, a.err
		case <-ctx.Done():
			l.forget(id)
			return nil, true, ctx.Err()
		}
	}
}

// connect returns the present connection, or waits for a new one.
func (c *Caller) connect(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, errClosed
		}
		if c.link != nil {
			defer c.mu.Unlock()
			return c.link, nil
		}
		d := c.dialing
		if d == nil {
			d = &dialling{done: make(chan struct{})}
			c.dialing = d
			c.running.Add(1)
			go func() { defer c.running.Done(); c.makeLink(d) }()
		}
		c.mu.Unlock()
		select {
		case <-d.done:
			if d.err != nil {
				return nil, d.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Caller) makeLink(d *dialling) {
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	conn, err := c.dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialing = nil
	if err == nil && c.closed {
		conn.Close()
		err = errClosed
	}
	if err == nil {
		l := newLink(conn)
		c.link = l
		c.running.Add(1)
		go func() { defer c.running.Done(); c.read(l) }()
	}
	d.err = err
	close(d.done)
}

// read hands answers to who waits for them until the connection ends.
func (c *Caller) read(l *link) {
	r := bufio.NewReaderSize(l.conn, 64<<10)
	for {
		f, err := readFrame(r, maxFrameBytes)
		if err != nil || f.kind == kindRequest {
			break
		}
		l.finish(f)
	}
	c.mu.Lock()
	if c.link == l {
		c.link = nil
	}
	c.mu.Unlock()
	l.end()
}

// Close ends the connection and the calls under way.
func (c *Caller) Close() {
	c.mu.Lock()
	c.closed = true
	l := c.link
	c.mu.Unlock()
	c.cancel()
	if l != nil {
		l.conn.Close()
	}
	c.running.Wait()
}

// link is one connection and the calls that wait for answers on it.
type link struct {
	conn net.Conn
	w    *frameWriter
	mu   sync.Mutex
	next uint64                 // guarded by mu
	why  error                  // of the peer that ends the connection; guarded by mu
	wait map[uint64]chan answer // nil once the connection ended; guarded by mu
}

type answer struct {
	body []byte
	err  error
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, w: newFrameWriter(conn), wait: map[uint64]chan answer{}}
}

// start sends a request; the channel is nil when the connection has ended, and then nothing was sent.
func (l *link) start(f frame) (uint64, chan answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait == nil {
		return 0, nil
	}
	l.next++
	f.id = l.next
	ch := make(chan answer, 1)
	l.wait[f.id] = ch
	l.w.send(f)
	return f.id, ch
}

func (l *link) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.wait, id)
}

func (l *link) finish(f frame) {
	l.mu.Lock()
	if f.id == refusalID {
		l.why = fmt.Errorf("the node takes nothing from this one: %w", RemoteError{string(f.body)})
	}
	ch := l.wait[f.id]
	delete(l.wait, f.id)
	l.mu.Unlock()
	switch {
	case ch == nil: // nobody waits for it any longer
	case f.kind == kindError:
		ch <- answer{err: RemoteError{string(f.body)}}
	default:
		ch <- answer{body: f.body}
	}
}

func (l *link) end() {
	l.mu.Lock()
	waiting, why := l.wait, l.why
	l.wait = nil
	l.mu.Unlock()
	l.conn.Close()
	l.w.stop()
	if why == nil {
		why = errLost
	}
	for _, ch := range waiting {
		ch <- answer{err: why}
	}
}
