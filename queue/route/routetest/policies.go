package routetest

import (
	"context"
	"maps"
	"sync"

	"github.com/quorumail/quorumail/queue/route/tlspolicy"
)

// Policies is a tlspolicy.Store in memory. The zero value is empty and ready.
type Policies struct {
	mu   sync.Mutex
	kept map[string]tlspolicy.Kept // guarded by mu
	err  error                     // guarded by mu
}

// Fail makes everything fail with err; with nil, work again.
func (p *Policies) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// Load implements tlspolicy.Store.
func (p *Policies) Load(_ context.Context, domain string) (tlspolicy.Kept, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, ok := p.kept[domain]
	return kept, ok, p.err
}

// List implements tlspolicy.Store.
func (p *Policies) List(context.Context) (map[string]tlspolicy.Kept, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.kept), p.err
}

// Remove implements tlspolicy.Store.
func (p *Policies) Remove(_ context.Context, domain string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		delete(p.kept, domain)
	}
	return p.err
}

// Save implements tlspolicy.Store.
func (p *Policies) Save(_ context.Context, domain string, policy tlspolicy.Kept) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	if p.kept == nil {
		p.kept = map[string]tlspolicy.Kept{}
	}
	p.kept[domain] = policy
	return nil
}
