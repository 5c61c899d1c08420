package replica

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

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// What the nodes ask of each other.
const (
	methodPut     = "replica/put"
	methodGet     = "replica/get"
	methodClock   = "replica/clock"
	methodMissing = "replica/missing"
)

// Answers on a stream.
const (
	statusOK byte = iota
	statusNotFound
	statusCorrupt // the bytes, as sent or as stored
	statusNoSpace
	statusFailed
)

const (
	putHeaderBytes  = store.BodyIDBytes + 8 + 8
	putAnswerBytes  = 1 + 16
	getAnswerBytes  = 1 + 8
	streamBuffer    = 16 << 10
	maxEncodedBytes = blob.MaxRawBytes + blob.MaxRawBytes/64 // no container is longer: frames never grow, and the header is small
	trailerOK       = 0x5a                                   // all bytes before it were as stored
	trailerBroken   = 0xa5                                   // they were not
)

func statusOf(err error) byte {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, blob.ErrCorrupt), errors.Is(err, io.ErrUnexpectedEOF):
		return statusCorrupt
	case errors.Is(err, store.ErrNotFound):
		return statusNotFound
	case errors.Is(err, store.ErrNoSpace):
		return statusNoSpace
	}
	return statusFailed
}

func statusError(status byte) error {
	switch status {
	case statusOK:
		return nil
	case statusNotFound:
		return blob.ErrNotFound
	case statusCorrupt:
		return blob.ErrCorrupt
	case statusNoSpace:
		return fmt.Errorf("the peer's %w", blob.ErrNoSpace)
	}
	return errors.New("the peer could not do it")
}

// stream is one side's end of a connection for bodies. While it is in use it fails when it makes no progress for a while.
type stream struct {
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	limit  time.Duration // without progress
	pool   *pool         // the asking side's
	reused bool
	since  time.Time // idle
}

func newStream(c net.Conn, limit time.Duration) *stream {
	s := &stream{conn: c, limit: limit}
	s.in, s.out = bufio.NewReaderSize(moving{s}, streamBuffer), bufio.NewWriterSize(moving{s}, streamBuffer)
	return s
}

// moving gives each single read and write its own deadline.
type moving struct{ s *stream }

func (m moving) Read(p []byte) (int, error) {
	if err := m.s.conn.SetReadDeadline(time.Now().Add(m.s.limit)); err != nil {
		return 0, err
	}
	return m.s.conn.Read(p)
}

// Write goes on in small pieces: on a slow line a large one has no end within any limit, however well it comes forward.
func (m moving) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := m.s.conn.SetWriteDeadline(time.Now().Add(m.s.limit)); err != nil {
			return n, err
		}
		piece := p[:min(len(p), streamBuffer)]
		k, err := m.s.conn.Write(piece)
		n += k
		if err != nil {
			return n, err
		}
		p = p[len(piece):]
	}
	return n, nil
}

// put sends one body and reads the answer.
func (s *stream) put(ctx context.Context, id store.BodyID, epoch uint64, body *io.SectionReader) (incarnation [16]byte, status byte, err error) {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err() // the connection is closed, or about to be
		}
	}()
	h := make([]byte, 0, putHeaderBytes)
	h = append(h, id[:]...)
	h = binary.BigEndian.AppendUint64(h, epoch)
	h = binary.BigEndian.AppendUint64(h, uint64(body.Size()))
	if _, err := s.out.Write(h); err != nil {
		return incarnation, 0, err
	}
	if _, err := io.Copy(s.out, body); err != nil {
		return incarnation, 0, err
	}
	if err := s.out.Flush(); err != nil {
		return incarnation, 0, err
	}
	var a [putAnswerBytes]byte
	if _, err := io.ReadFull(s.in, a[:]); err != nil {
		return incarnation, 0, fmt.Errorf("read the acknowledgement: %w", err)
	}
	return [16]byte(a[1:]), a[0], nil
}

// get asks for one body and writes its container into w. What was written counts only if the error is nil; even then it is not verified.
func (s *stream) get(ctx context.Context, id store.BodyID, begin func(sizeBytes int64) (io.Writer, error)) (status byte, err error) {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
	}()
	if _, err := s.out.Write(id[:]); err != nil {
		return 0, err
	}
	if err := s.out.Flush(); err != nil {
		return 0, err
	}
	var a [getAnswerBytes]byte
	if _, err := io.ReadFull(s.in, a[:]); err != nil {
		return 0, err
	}
	if a[0] != statusOK {
		return a[0], nil
	}
	size := binary.BigEndian.Uint64(a[1:])
	if size > maxEncodedBytes {
		return 0, fmt.Errorf("a body of %d bytes: %w", size, store.ErrTooLarge)
	}
	w, err := begin(int64(size))
	if err != nil {
		return 0, err
	}
	if _, err := io.CopyN(w, s.in, int64(size)); err != nil {
		return 0, err
	}
	trailer, err := s.in.ReadByte()
	if err != nil {
		return 0, err
	}
	if trailer != trailerOK {
		return statusCorrupt, nil
	}
	return statusOK, nil
}

// pools keep connections to the peers for the next body.
type pools struct {
	r      *Replica
	mu     sync.Mutex
	of     map[poolKey]*pool            // guarded by mu
	silent map[store.ServerID]time.Time // peers that could not be reached, and when; guarded by mu
}

// avoidFor is how long a peer that could not be reached is the last one to be asked.
const avoidFor = 30 * time.Second

// errNoStream: no connection to the peer could be opened.
var errNoStream = errors.New("no connection")

// failed notes that a peer could not be reached.
func (p *pools) failed(peer store.ServerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = map[store.ServerID]time.Time{}
	}
	p.silent[peer] = time.Now()
}

func (p *pools) reached(peer store.ServerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.silent, peer)
}

// compareReach orders peers: first those that are not known to be out of reach.
func (p *pools) compareReach(a, b store.ServerID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	rank := func(id store.ServerID) int {
		if at, silent := p.silent[id]; silent && time.Since(at) < avoidFor {
			return 1
		}
		return 0
	}
	return rank(a) - rank(b)
}

type poolKey struct {
	peer   store.ServerID
	method string
}

type pool struct {
	slots  chan struct{} // one for each connection in use
	mu     sync.Mutex
	idle   []*stream // the last used one last; guarded by mu
	closed bool      // guarded by mu
}

func (p *pools) pool(k poolKey) *pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[k] == nil {
		p.of[k] = &pool{slots: make(chan struct{}, p.r.cfg.Limits.StreamsPerPeer)}
	}
	return p.of[k]
}

// get waits for its turn and takes an idle connection or opens one.
func (p *pools) get(ctx context.Context, peer store.ServerID, method string) (*stream, error) {
	q := p.pool(poolKey{peer, method})
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a stream to %s: %w", peer, ctx.Err())
	}
	if s := q.take(); s != nil {
		return s, nil
	}
	dial, cancel := context.WithTimeout(ctx, p.r.cfg.Intervals.Stream)
	defer cancel()
	c, err := p.r.cfg.Peers.OpenStream(dial, peer, method)
	if err != nil {
		<-q.slots
		if ctx.Err() == nil { // else it is not the peer's fault
			p.failed(peer)
		}
		return nil, fmt.Errorf("open a stream to %s: %w: %w", peer, errNoStream, err)
	}
	p.reached(peer)
	s := newStream(c, p.r.cfg.Intervals.Stream)
	s.pool = q
	return s, nil
}

func (q *pool) take() *stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.idle)
	if n == 0 {
		return nil
	}
	s := q.idle[n-1]
	q.idle = q.idle[:n-1]
	s.reused = true
	return s
}

// release gives the connection back, if it is still good.
func (s *stream) release(good bool) {
	q := s.pool
	q.mu.Lock()
	defer q.mu.Unlock()
	<-q.slots
	if !good || q.closed {
		s.conn.Close()
		return
	}
	s.since = time.Now()
	q.idle = append(q.idle, s)
}

// reap closes connections that were idle for longer.
func (p *pools) reap(longer time.Duration) {
	p.each(func(q *pool) { q.drop(func(s *stream) bool { return time.Since(s.since) > longer }) })
}

// close closes all idle connections, and those in use when they are released.
func (p *pools) close() {
	p.each(func(q *pool) {
		q.mu.Lock()
		q.closed = true
		q.mu.Unlock()
		q.drop(func(*stream) bool { return true })
	})
}

func (p *pools) each(f func(*pool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.of {
		f(q)
	}
}

func (q *pool) drop(old func(*stream) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.idle[:0]
	for _, s := range q.idle {
		if old(s) {
			s.conn.Close()
		} else {
			kept = append(kept, s)
		}
	}
	q.idle = kept
}
