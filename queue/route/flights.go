package route

import (
	"context"
	"sync"
)

// flights lets the first who wants something get it, and those who want the same meanwhile wait for that. It starts no goroutine: the first
// works in its own, with its own context, and when that ends early, one of the others begins again.
type flights[K comparable, V any] struct {
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

func (s *flights[K, V]) do(ctx context.Context, key K, work func() (V, error)) (V, error) {
	for {
		f, mine := s.join(key)
		if mine {
			defer s.end(key, f)
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

func (s *flights[K, V]) join(key K) (f *flight[V], mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.under[key]; f != nil {
		return f, false
	}
	if s.under == nil {
		s.under = map[K]*flight[V]{}
	}
	f = &flight[V]{done: make(chan struct{})}
	s.under[key] = f
	return f, true
}

func (s *flights[K, V]) end(key K, f *flight[V]) {
	s.mu.Lock()
	delete(s.under, key)
	s.mu.Unlock()
	close(f.done)
}
