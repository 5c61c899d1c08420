package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxFrameBytes bounds a frame of the call protocol.
const maxFrameBytes = 16 << 20

// Handler answers a call.
type Handler func(ctx context.Context, from, method string, req []byte) ([]byte, error)

// RemoteError is the answer of a peer that refused.
type RemoteError struct{ Text string }

func (e RemoteError) Error() string { return e.Text }

// A frame is length (4), call id (8), kind (1), then for a request the method's length (1), the method and the body, for an answer
// the body. Many calls share one connection; what waits to be sent goes out in one write.
const (
	kindRequest = 0
	kindOK      = 1
	kindError   = 2
)

type frameWriter struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  []byte // guarded by mu
	dead bool   // guarded by mu
}

func newFrameWriter(c net.Conn) *frameWriter {
	w := &frameWriter{}
	w.cond = sync.NewCond(&w.mu)
	go w.run(c)
	return w
}

func (w *frameWriter) run(c net.Conn) {
	var out []byte
	for {
		w.mu.Lock()
		for len(w.buf) == 0 && !w.dead {
			w.cond.Wait()
		}
		if w.dead {
			w.mu.Unlock()
			return
		}
		out, w.buf = w.buf, out[:0]
		w.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(out); err != nil {
			c.Close()
			w.stop()
			return
		}
		if cap(out) > 4<<20 {
			out = nil
		}
	}
}

func (w *frameWriter) stop() {
	w.mu.Lock()
	w.dead = true
	w.mu.Unlock()
	w.cond.Broadcast()
}

func (w *frameWriter) send(id uint64, kind byte, method string, body []byte) {
	n := 9 + len(body)
	if kind == kindRequest {
		n += 1 + len(method)
	}
	w.mu.Lock()
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(n))
	w.buf = binary.BigEndian.AppendUint64(w.buf, id)
	w.buf = append(w.buf, kind)
	if kind == kindRequest {
		w.buf = append(w.buf, byte(len(method)))
		w.buf = append(w.buf, method...)
	}
	w.buf = append(w.buf, body...)
	w.mu.Unlock()
	w.cond.Signal()
}

func readFrame(r *bufio.Reader) (id uint64, kind byte, body []byte, err error) {
	var h [13]byte
	if _, err = io.ReadFull(r, h[:]); err != nil {
		return
	}
	n := binary.BigEndian.Uint32(h[:])
	if n < 9 || n > maxFrameBytes {
		return 0, 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	id, kind = binary.BigEndian.Uint64(h[4:]), h[12]
	body = make([]byte, n-9)
	_, err = io.ReadFull(r, body)
	return
}

// ServeCalls answers the calls of one connection until it ends.
func ServeCalls(ctx context.Context, c Conn, h Handler) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.Close()
	w := newFrameWriter(c)
	defer w.stop()
	r := bufio.NewReaderSize(c, 64<<10)
	slots := make(chan struct{}, 4096) // calls at once on one connection; more wait in the socket
	for {
		id, kind, body, err := readFrame(r)
		if err != nil || kind != kindRequest || len(body) < 1 || len(body) < 1+int(body[0]) {
			return
		}
		method, req := string(body[1:1+body[0]]), body[1+body[0]:]
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			res, err := h(ctx, c.From, method, req)
			if err != nil {
				w.send(id, kindError, "", []byte(err.Error()))
				return
			}
			w.send(id, kindOK, "", res)
		}()
	}
}

// Caller makes calls to one peer over one connection, made anew when it breaks.
type Caller struct {
	dial    func(context.Context) (net.Conn, error)
	dialing chan struct{} // holds one token while somebody connects: others wait for it only as long as their contexts let them
	mu      sync.Mutex
	conn    net.Conn               // guarded by mu
	w       *frameWriter           // guarded by mu
	next    uint64                 // guarded by mu
	wait    map[uint64]chan answer // guarded by mu
	closed  bool                   // guarded by mu
}

type answer struct {
	body []byte
	err  error
}

// errLost: the connection broke while a call was under way; the peer may have acted on it.
var errLost = errors.New("the connection to the node was lost")

// NewCaller makes a caller that connects with dial when it must.
func NewCaller(dial func(context.Context) (net.Conn, error)) *Caller {
	return &Caller{dial: dial, dialing: make(chan struct{}, 1), wait: map[uint64]chan answer{}}
}

// Call asks and waits. Sent tells whether the request may have reached the peer.
func (c *Caller) Call(ctx context.Context, method string, req []byte) (res []byte, sent bool, err error) {
	id, ch, err := c.start(ctx, method, req)
	if err != nil {
		return nil, false, err
	}
	select {
	case a := <-ch:
		return a.body, true, a.err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.wait, id)
		c.mu.Unlock()
		return nil, true, ctx.Err()
	}
}

func (c *Caller) start(ctx context.Context, method string, req []byte) (uint64, chan answer, error) {
	for {
		if id, ch, ok := c.send(method, req); ok {
			return id, ch, nil
		}
		if err := c.connect(ctx); err != nil {
			return 0, nil, err
		}
	}
}

// send sends a request if there is a connection.
func (c *Caller) send(method string, req []byte) (uint64, chan answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return 0, nil, false
	}
	c.next++
	ch := make(chan answer, 1)
	c.wait[c.next] = ch
	c.w.send(c.next, kindRequest, method, req)
	return c.next, ch, true
}

// connect makes sure that there is a connection, or was one a moment ago.
func (c *Caller) connect(ctx context.Context) error {
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.dialing }()
	c.mu.Lock()
	has := c.conn != nil
	c.mu.Unlock()
	if has {
		return nil // somebody else was faster
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return net.ErrClosed
	}
	c.conn, c.w = conn, newFrameWriter(conn)
	go c.read(conn, c.w)
	return nil
}

func (c *Caller) read(conn net.Conn, w *frameWriter) {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		id, kind, body, err := readFrame(r)
		c.mu.Lock()
		if err != nil {
			if c.conn == conn {
				c.conn = nil
				for id, ch := range c.wait {
					ch <- answer{err: errLost}
					delete(c.wait, id)
				}
			}
			c.mu.Unlock()
			w.stop()
			conn.Close()
			return
		}
		ch := c.wait[id]
		delete(c.wait, id)
		c.mu.Unlock()
		if ch == nil {
			continue // nobody waits for it any longer
		}
		if kind == kindError {
			ch <- answer{err: RemoteError{string(body)}}
		} else {
			ch <- answer{body: body}
		}
	}
}

// Close ends the connection.
func (c *Caller) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.Close()
	}
}
