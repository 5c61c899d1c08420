package clustertest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// load proposes all the time through all nodes, and reads: what was acknowledged must be there after a barrier at any node.
type load struct {
	c     *Cluster
	quit  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	acked int   // guarded by mu
	err   error // a stale read; guarded by mu
}

// StartLoad starts clients that propose through all nodes, until StopLoad.
func (c *Cluster) StartLoad(clients int) {
	l := &load{c: c, quit: make(chan struct{})}
	c.load = l
	for i := range clients {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), uint64(i)))
		l.wg.Add(1)
		go func() { defer l.wg.Done(); l.run(i, rng) }()
	}
}

// StopLoad tells how many commands were acknowledged, and what a read did not find.
func (c *Cluster) StopLoad() (acked int, err error) {
	l := c.load
	c.load = nil
	l.stop()
	return l.acked, l.err
}

func (l *load) stop() {
	close(l.quit)
	l.wg.Wait()
}

func (l *load) run(client int, rng *rand.Rand) {
	for n := 0; ; n++ {
		select {
		case <-l.quit:
			return
		case <-time.After(time.Duration(rng.IntN(200)) * time.Millisecond):
		}
		up := l.c.up()
		if len(up) == 0 {
			continue
		}
		id, err := l.c.Propose(up[rng.IntN(len(up))].name, fmt.Sprintf("load-%d-%d", client, n), 1, 3*time.Second)
		if err == nil {
			l.acknowledged(id, up[rng.IntN(len(up))].name)
		}
	}
}

func (l *load) acknowledged(id, reader string) {
	l.c.mu.Lock()
	told := l.c.acked[id] != "" // else the node died before anybody was told
	l.c.mu.Unlock()
	if !told || l.c.member(reader) == nil {
		return
	}
	l.mu.Lock()
	l.acked++
	l.mu.Unlock()
	if m, err := l.c.Barrier(reader, 3*time.Second); err == nil && !m.has(id) {
		l.mu.Lock()
		l.err = fmt.Errorf("%s does not show %s after a barrier", reader, id)
		l.mu.Unlock()
	}
}
