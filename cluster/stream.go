package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/store/durable"
)

// streamLayer gives Raft its share of the port.
type streamLayer struct {
	n      *Node
	accept chan net.Conn
	closed context.Context
	cancel context.CancelFunc
}

func newStreamLayer(n *Node) *streamLayer {
	l := &streamLayer{n: n, accept: make(chan net.Conn)}
	l.closed, l.cancel = context.WithCancel(n.ctx)
	n.cfg.Port.Handle(transport.ProtoRaft, func(c transport.Conn) {
		select {
		case l.accept <- c:
		case <-l.closed.Done():
			c.Close()
		}
	})
	return l
}

func (l *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

func (l *streamLayer) Close() error { l.cancel(); return nil }

// Addr is what Raft tells the others, so it is the advertised address.
func (l *streamLayer) Addr() net.Addr { return address(l.n.cfg.Advertise) }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// serveCalls takes the calls and streams of the other nodes.
func (n *Node) serveCalls() {
	n.Handle("propose", n.handlePropose)
	n.Handle("barrier", n.handleBarrier)
	n.Handle("term", n.handleTerm)
	n.Handle("member", n.handleMember)
	n.Handle("applied", n.handleApplied)
	n.cfg.Port.Admit(n.admitted)
	n.cfg.Port.Handle(transport.ProtoRPC, func(c transport.Conn) {
		transport.ServeCalls(n.ctx, c, func(ctx context.Context, from, method string, req []byte) ([]byte, error) {
			return n.answer(ctx, ServerID(from), method, req)
		})
	})
	n.cfg.Port.Handle(transport.ProtoBulk, n.serveStream)
	n.cfg.Port.Handle(transport.ProtoJoin, n.serveJoin)
}

func (n *Node) answer(ctx context.Context, from ServerID, method string, req []byte) ([]byte, error) {
	n.mu.Lock()
	h := n.handlers[method]
	n.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("there is no call %q", method)
	}
	return h(ctx, from, req)
}

// Handle registers who answers a call of other nodes.
func (n *Node) Handle(method string, h func(ctx context.Context, from ServerID, req []byte) ([]byte, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handlers[method] = h
}

// HandleStream registers who serves a stream of other nodes. The handler returns when it is done; then the stream is closed.
func (n *Node) HandleStream(method string, h func(ctx context.Context, from ServerID, c net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.streams[method] = h
}

// Call asks a member.
func (n *Node) Call(ctx context.Context, to ServerID, method string, req []byte) ([]byte, error) {
	res, _, err := n.call(ctx, to, method, req)
	return res, err
}

func (n *Node) call(ctx context.Context, to ServerID, method string, req []byte) (res []byte, sent bool, err error) {
	if to == n.cfg.ID {
		res, err = n.answer(ctx, to, method, req)
		return res, true, err
	}
	c, err := n.callerOf(to)
	if err != nil {
		return nil, false, err
	}
	return c.Call(ctx, method, req)
}

func (n *Node) callerOf(to ServerID) (*transport.Caller, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.callers[to]; c != nil {
		return c, nil
	}
	if n.ctx.Err() != nil {
		return nil, errStopping
	}
	c := transport.NewCaller(n.ctx, func(ctx context.Context) (net.Conn, error) {
		addr, ok := n.addressOf(to)
		if !ok {
			return nil, fmt.Errorf("%s is no member", to)
		}
		dial, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return n.cfg.Port.Dial(dial, transport.ProtoRPC, string(to), addr)
	})
	n.callers[to] = c
	return c, nil
}

// OpenStream opens a stream of its own to a member. A first line names the method.
func (n *Node) OpenStream(ctx context.Context, to ServerID, method string) (net.Conn, error) {
	addr, ok := n.addressOf(to)
	if !ok {
		return nil, fmt.Errorf("%s is no member", to)
	}
	return openStream(ctx, n.cfg.Port, string(to), addr, method)
}

func openStream(ctx context.Context, p *transport.Port, id, addr, method string) (net.Conn, error) {
	c, err := p.Dial(ctx, transport.ProtoBulk, id, addr)
	if err != nil {
		return nil, err
	}
	err = c.SetWriteDeadline(time.Now().Add(streamTimeout))
	if err == nil {
		_, err = io.WriteString(c, method+"\n")
	}
	if err == nil {
		err = c.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open the stream %q to the node at %s: %w", method, addr, err)
	}
	return c, nil
}

// streamTimeout bounds the first line of a stream.
const streamTimeout = 10 * time.Second

func (n *Node) serveStream(c transport.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	if err := c.SetReadDeadline(time.Now().Add(streamTimeout)); err != nil {
		return
	}
	line, err := r.ReadSlice('\n') // no longer than the buffer
	if err != nil {
		return
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	method := string(line[:len(line)-1])
	n.mu.Lock()
	h := n.streams[method]
	n.mu.Unlock()
	switch {
	case method == "checkpoint":
		n.sendCheckpoint(c)
	case h != nil:
		h(n.ctx, ServerID(c.From), readAhead{c, r})
	}
}

// readAhead is a connection of which some bytes stand in a buffer already.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (r readAhead) Read(p []byte) (int, error) { return r.r.Read(p) }

// checkpointHead is how a checkpoint begins on a stream: size, index and term, so that its receiver can note what it is about to become.
const checkpointHead = 24

func (n *Node) sendCheckpoint(c net.Conn) {
	pos, size, r, err := n.cfg.Machine.Checkpoint()
	if err != nil {
		n.cfg.Logger.Error("take a checkpoint for a new node", "pkg", "cluster", "err", err)
		return
	}
	defer r.Close()
	if err := c.SetWriteDeadline(time.Now().Add(30 * time.Minute)); err != nil {
		return
	}
	h := binary.BigEndian.AppendUint64(nil, uint64(size))
	h = binary.BigEndian.AppendUint64(h, pos.Index)
	h = binary.BigEndian.AppendUint64(h, pos.Term)
	if _, err := c.Write(h); err == nil {
		_, _ = io.Copy(c, r) // the receiver counts the bytes
	}
}

// FetchCheckpoint brings the whole state of a member at address into machine, before this node takes part. The node must be new: what
// it has of a log would be dropped. A nil file system is the operating system's.
func FetchCheckpoint(ctx context.Context, p *transport.Port, address, dataDir string, machine Machine, fs vfs.FS) error {
	disk := durable.Disk{FS: fs}
	c, err := openStream(ctx, p, "", address, "checkpoint")
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var h [checkpointHead]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return fmt.Errorf("fetch the state: %w", err)
	}
	mark := installMark{Index: binary.BigEndian.Uint64(h[8:]), Term: binary.BigEndian.Uint64(h[16:]), LogEmpty: true}
	dir := filepath.Join(dataDir, "raft")
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := newInstalls(disk, dir).begin(mark); err != nil {
		return err
	}
	if err := machine.Restore(io.LimitReader(c, int64(binary.BigEndian.Uint64(h[:])))); err != nil {
		return fmt.Errorf("take in the state: %w", err)
	}
	if got := machine.Position(); !mark.is(got) {
		return fmt.Errorf("the state that was fetched is at entry %d, it was announced for %d", got.Index, mark.Index)
	}
	return nil
}
