package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A frame is length (4), call id (8), kind (1), then for a request the method's length (1), the method and the body, for an answer
// the body. The length counts what follows it.
const (
	kindRequest = 0
	kindOK      = 1
	kindError   = 2

	frameHeadBytes = 9 // of what the length counts

	// maxFrameBytes bounds a frame between nodes, maxJoinFrameBytes one of somebody who has shown no certificate.
	maxFrameBytes     = 16 << 20
	maxJoinFrameBytes = 64 << 10
)

// frame is one message of the call protocol.
type frame struct {
	id     uint64
	kind   byte
	method string // of a request
	body   []byte
}

// size is what the frame's length field says.
func (f frame) size() int {
	n := frameHeadBytes + len(f.body)
	if f.kind == kindRequest {
		n += 1 + len(f.method)
	}
	return n
}

// append needs a method of at most 255 bytes.
func (f frame) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(f.size()))
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = append(b, f.kind)
	if f.kind == kindRequest {
		b = append(b, byte(len(f.method)))
		b = append(b, f.method...)
	}
	return append(b, f.body...)
}

// refusalID is no call's id: the peer says why it ends the connection.
const refusalID = 0

// sayWhy tells a peer whose calls are not taken. It goes unheard if the peer does not read at once.
func sayWhy(c net.Conn, why error) {
	text := why.Error()
	f := frame{id: refusalID, kind: kindError, body: []byte(text[:min(len(text), 1024)])}
	if c.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = c.Write(f.append(nil))
	}
}

// readFrame reads one frame. What the length promises is read in pieces, so that a lie costs no more memory than the bytes that came.
func readFrame(r *bufio.Reader, maxBytes int) (frame, error) {
	var h [4 + frameHeadBytes]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(h[:]))
	if n < frameHeadBytes || n > int64(maxBytes) {
		return frame{}, fmt.Errorf("a frame of %d bytes", n)
	}
	f := frame{id: binary.BigEndian.Uint64(h[4:]), kind: h[12]}
	rest, err := readPieces(r, int(n-frameHeadBytes))
	if err != nil {
		return frame{}, err
	}
	switch f.kind {
	case kindOK, kindError:
		f.body = rest
	case kindRequest:
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return frame{}, fmt.Errorf("a request of %d bytes that names no method", len(rest))
		}
		f.method, f.body = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
	default:
		return frame{}, fmt.Errorf("a frame of kind %d", f.kind)
	}
	return f, nil
}

func readPieces(r io.Reader, n int) ([]byte, error) {
	const piece = 256 << 10
	b := make([]byte, min(n, piece))
	for at := 0; ; {
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, err
		}
		if at = len(b); at == n {
			return b, nil
		}
		b = append(b, make([]byte, min(n-at, len(b)))...)
	}
}

// writeTimeout is how long a peer may take nothing in before its connection is given up.
const writeTimeout = 10 * time.Second

// frameWriter sends frames of many goroutines; what waits goes out in one write.
type frameWriter struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  []byte // guarded by mu
	dead bool   // guarded by mu
	done chan struct{}
}

func newFrameWriter(c net.Conn) *frameWriter {
	w := &frameWriter{done: make(chan struct{})}
	w.cond = sync.NewCond(&w.mu)
	go w.run(c)
	return w
}

func (w *frameWriter) run(c net.Conn) {
	defer close(w.done)
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
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.Write(out); err != nil {
			c.Close() // the reader of this connection ends too, and says so to who waits
			w.kill()
			return
		}
		if cap(out) > 4<<20 {
			out = nil
		}
	}
}

func (w *frameWriter) kill() {
	w.mu.Lock()
	w.dead, w.buf = true, nil
	w.mu.Unlock()
	w.cond.Broadcast()
}

// stop ends the writer, whose connection must be closed already, and waits for it.
func (w *frameWriter) stop() {
	w.kill()
	<-w.done
}

func (w *frameWriter) send(f frame) {
	w.mu.Lock()
	if !w.dead {
		w.buf = f.append(w.buf)
	}
	w.mu.Unlock()
	w.cond.Signal()
}
