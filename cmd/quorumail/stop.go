package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quorumail/quorumail/store"
)

// errLeaving and errStarting are why a node is no target for clients although its replica could serve.
var (
	errLeaving  = fmt.Errorf("this node is stopping: %w", store.ErrUnavailable)
	errStarting = fmt.Errorf("this node does not listen for clients yet: %w", store.ErrUnavailable)
)

// The stages of a node's life for its clients.
const (
	stageStarting int32 = iota
	stageServing
	stageLeaving
)

// ready tells whether clients should come to this node, and why not. Sessions that are there go by the replica's own answer.
func (n *node) ready() error {
	switch n.stage.Load() {
	case stageStarting:
		if err := n.replica.Ready(); err != nil {
			return err
		}
		return errStarting
	case stageLeaving:
		return errLeaving
	}
	return n.replica.Ready()
}

// waitReady returns when the node can serve: a client that came earlier would be sent away. A full disk is no reason to wait, for
// those who read.
func (n *node) waitReady(ctx context.Context) error {
	for {
		err := n.replica.Ready()
		if err == nil || errors.Is(err, store.ErrNoSpace) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// handOverTimeout bounds the search for another leader at the end. Without a majority there is none.
const handOverTimeout = 5 * time.Second

// leave makes others take this node's place while its sessions still run: no client comes any more, and if the node leads, it hands over.
// What its sessions have under way goes on through the next leader.
func (n *node) leave(ctx context.Context, servers map[string]server) {
	n.stage.Store(stageLeaving)
	n.log.Info("this node is stopping", "pkg", "main", "leads", n.cluster.IsLeader())
	for _, s := range servers {
		s.listener.refuse()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOverTimeout)
	defer cancel()
	begin := time.Now()
	if err := n.cluster.HandOver(ctx); err != nil {
		n.log.Warn("hand over the lead", "pkg", "main", "err", err)
	}
	n.leaveQueue(ctx)
	n.log.Info("the sessions end", "pkg", "main", "after", time.Since(begin))
}

// clientListener can stop to listen before the sessions that came in by it are to end: a server takes the end of its listener for its own.
type clientListener struct {
	net.Listener
	once  sync.Once
	ended chan struct{} // closed by Close
}

func newClientListener(l net.Listener) *clientListener {
	return &clientListener{Listener: l, ended: make(chan struct{})}
}

// refuse stops to listen. Accept waits for Close then.
func (l *clientListener) refuse() { _ = l.Listener.Close() } // closed already is as well

// Accept waits for a connection, or for Close.
func (l *clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		<-l.ended
	}
	return c, err
}

// Close ends what serves this listener.
func (l *clientListener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.Listener.Close()
}
