package remote

import (
	"context"
	"slices"
	"sync"
	"time"
)

// poolKey is what must agree for a connection to serve another message.
type poolKey struct {
	route, host        string
	policy             TLSPolicy
	pinned             bool // VerifyPeer was there when the peer was judged
	username, password string
}

// pool keeps sessions that wait for another message. Each leaves when it is taken or when its time is over.
type pool struct {
	limits  *Limits
	metrics *Metrics
	wg      sync.WaitGroup // the sessions in idle, and those being parted from

	mu     sync.Mutex
	idle   map[poolKey][]idleSession // the latest last
	count  int
	closed bool
}

type idleSession struct {
	s     *session
	timer *time.Timer
}

func newPool(limits *Limits, metrics *Metrics) *pool {
	return &pool{limits: limits, metrics: metrics, idle: map[poolKey][]idleSession{}}
}

// put keeps a session for others, or parts from it.
func (p *pool) put(s *session) {
	watched := s.unwatch()
	if !watched || s.quiet() != nil || s.spent() || s.settled() || !p.add(s) {
		s.quit()
	}
}

func (p *pool) add(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= p.limits.IdleConnections {
		return false
	}
	s.reused, s.needRset = true, true
	p.wg.Add(1)
	timer := time.AfterFunc(p.limits.IdleTime, func() { p.expire(s) })
	p.idle[s.to.key] = append(p.idle[s.to.key], idleSession{s, timer})
	p.count++
	p.metrics.Idle.Inc()
	return true
}

// expire runs in a goroutine of its own.
func (p *pool) expire(s *session) {
	if p.remove(s) {
		defer p.wg.Done()
		s.quit()
	}
}

func (p *pool) remove(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.idle[s.to.key], func(one idleSession) bool { return one.s == s })
	if i >= 0 {
		p.drop(s.to.key, i)
	}
	return i >= 0
}

// drop takes the i-th session of a key out. The lock is held.
func (p *pool) drop(key poolKey, i int) idleSession {
	one := p.idle[key][i]
	if p.idle[key] = slices.Delete(p.idle[key], i, i+1); len(p.idle[key]) == 0 {
		delete(p.idle, key)
	}
	p.count--
	p.metrics.Idle.Dec()
	return one
}

// take gives the latest session of a key that fits.
func (p *pool) take(ctx context.Context, key poolKey, fits func(*session) bool) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, one := range slices.Backward(p.idle[key]) {
		if !fits(one.s) {
			continue
		}
		p.drop(key, i).timer.Stop() // a timer that has run meanwhile finds nothing
		p.wg.Done()
		one.s.unwatch = one.s.watch(ctx)
		return one.s
	}
	return nil
}

// close parts from all, and waits for those that were being parted from.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*session
	for key := range p.idle {
		for len(p.idle[key]) > 0 {
			one := p.drop(key, 0)
			one.timer.Stop()
			all = append(all, one.s)
		}
	}
	p.mu.Unlock()
	for _, s := range all {
		go func() {
			defer p.wg.Done()
			s.quit()
		}()
	}
	p.wg.Wait()
}
