// Package flight lets many who want the same thing at the same time get it once.
package flight

import (
	"context"
	"sync"
)

// Group lets the first who wants something get it, and those who want the same meanwhile wait for that. It starts no goroutine: the first
// works in its own, with its own context, and when that ends early, one of the others begins again.
type Group[K comparable, V any] struct {
	mu sync.Mutex
	// Guarded by mu. Invariant: done of each is open.
	under map[K]*flight[V]
}

// flight is one piece of work. All but done is written before done is closed, and read after.
type flight[V any] struct {
	done      chan struct{}
	value     V
	err       error
	abandoned bool // the one who worked had to stop: the error is of its own making
}

// Do returns what work returns, or what another's work under the same key returned that was under way. Its error is the end of ctx, or work's.
func (g *Group[K, V]) Do(ctx context.Context, key K, work func() (V, error)) (V, error) {
	for {
		f, mine := g.join(key)
		if mine {
			defer g.end(key, f)
			f.abandoned = true // stays so if work panics
			f.value, f.err = work()
			f.abandoned = f.err != nil && ctx.Err() != nil
			return f.value, f.err
		}
		select {
		case <-ctx.Done():
			var none V
			return none, context.Cause(ctx)
		case <-f.done:
			if !f.abandoned {
				return f.value, f.err
			}
		}
	}
}

func (g *Group[K, V]) join(key K) (f *flight[V], mine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.under[key]; f != nil {
		return f, false
	}
	if g.under == nil {
		g.under = map[K]*flight[V]{}
	}
	f = &flight[V]{done: make(chan struct{})}
	g.under[key] = f
	return f, true
}

func (g *Group[K, V]) end(key K, f *flight[V]) {
	g.mu.Lock()
	delete(g.under, key)
	g.mu.Unlock()
	close(f.done)
}
