package raftlog

import "sync"

// turns lets one writer at a time. Like gate, it is no mutex for the sake of bubbles.
type turns chan struct{}

func newTurns() turns { return make(turns, 1) }

// take waits for a turn; the function that it returns gives it back.
func (t turns) take() (give func()) {
	t <- struct{}{}
	return func() { <-t }
}

// gate lets truncation be alone with the store: raft-wal counts the readers of a file too late, and closes one that it removes under a
// reader's hands. A condition rather than a sync.RWMutex, so that time passes in a synctest bubble while a broken disk keeps somebody inside.
type gate struct {
	mu     sync.Mutex
	cond   *sync.Cond
	inside int  // guarded by mu
	alone  bool // guarded by mu
}

func newGate() *gate {
	g := &gate{}
	g.cond = sync.NewCond(&g.mu)
	return g
}

// enter waits for whoever is alone inside; the function that it returns leaves.
func (g *gate) enter() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.alone {
		g.cond.Wait()
	}
	g.inside++
	return g.leave
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		g.cond.Broadcast()
	}
}

// enterAlone waits until nobody is inside, and keeps everybody out.
func (g *gate) enterAlone() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.alone {
		g.cond.Wait()
	}
	g.alone = true
	for g.inside > 0 {
		g.cond.Wait()
	}
	return g.leaveAlone
}

func (g *gate) leaveAlone() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alone = false
	g.cond.Broadcast()
}
