package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
)

// Handler answers a call.
type Handler func(ctx context.Context, from, method string, req []byte) ([]byte, error)

// Limits of the calls of one connection; beyond them the peer waits.
const (
	maxCalls     = 4096
	maxCallBytes = 64 << 20 // of requests under way; one larger may go alone
	maxJoinCalls = 2
)

// ServeCalls answers the calls of one connection until it ends or ctx does.
func ServeCalls(ctx context.Context, c Conn, h Handler) {
	maxBytes, calls := maxFrameBytes, maxCalls
	if c.From == "" {
		maxBytes, calls = maxJoinFrameBytes, maxJoinCalls
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	w := newFrameWriter(c)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer func() {
		stop()
		cancel()
		c.Close()
		w.stop()
		running.Wait()
	}()
	r := bufio.NewReaderSize(c, 64<<10)
	room := newGate(calls, maxCallBytes)
	for {
		f, err := readFrame(r, maxBytes)
		if err != nil || f.kind != kindRequest || !room.enter(ctx, len(f.body)) {
			return
		}
		running.Add(1)
		go func() {
			defer running.Done()
			defer room.leave(len(f.body))
			w.send(answerOf(ctx, c.From, f, h))
		}()
	}
}

func answerOf(ctx context.Context, from string, f frame, h Handler) frame {
	res, err := h(ctx, from, f.method, f.body)
	a := frame{id: f.id, kind: kindOK, body: res}
	if err == nil && a.size() > maxFrameBytes {
		err = fmt.Errorf("the answer to %q has %d bytes: %w", f.method, len(res), ErrTooLarge)
	}
	if err != nil {
		text := err.Error()
		a.kind, a.body = kindError, []byte(text[:min(len(text), 4096)])
	}
	return a
}

// ErrTooLarge: a request or an answer does not fit into a frame. Nothing was sent.
var ErrTooLarge = errors.New("larger than a frame between nodes")

// gate bounds what is under way by number and bytes.
type gate struct {
	max      int
	maxBytes int
	mu       sync.Mutex
	n, bytes int           // guarded by mu
	free     chan struct{} // closed and replaced when something leaves; guarded by mu
}

func newGate(n, bytes int) *gate {
	return &gate{max: n, maxBytes: bytes, free: make(chan struct{})}
}

// enter waits for room; false when ctx ended.
func (g *gate) enter(ctx context.Context, size int) bool {
	for {
		g.mu.Lock()
		if g.n < g.max && (g.bytes+size <= g.maxBytes || g.n == 0) {
			g.n, g.bytes = g.n+1, g.bytes+size
			g.mu.Unlock()
			return true
		}
		free := g.free
		g.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return false
		}
	}
}

func (g *gate) leave(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n, g.bytes = g.n-1, g.bytes-size
	close(g.free)
	g.free = make(chan struct{})
}
