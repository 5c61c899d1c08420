package routetest

import (
	"context"
	"sync"

	"github.com/quorumail/quorumail/queue/route"
)

// Policies is a route.PolicyStore in memory. The zero value is empty and ready.
type Policies struct {
	mu   sync.Mutex
	kept map[string]route.KeptPolicy // guarded by mu
	err  error                       // guarded by mu
}

// Fail makes everything fail with err; with nil, work again.
func (p *Policies) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// Load implements route.PolicyStore.
func (p *Policies) Load(_ context.Context, domain string) (route.KeptPolicy, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, ok := p.kept[domain]
	return kept, ok, p.err
}

// Save implements route.PolicyStore.
func (p *Policies) Save(_ context.Context, domain string, policy route.KeptPolicy) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	if p.kept == nil {
		p.kept = map[string]route.KeptPolicy{}
	}
	p.kept[domain] = policy
	return nil
}
