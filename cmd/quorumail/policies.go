package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/queue"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// policiesEvery is how often the leader looks after the kept MTA-STS policies.
const policiesEvery = 30 * time.Minute

// protection is what the domains' own word of TLS is worth.
func (n *node) protection(resolver dns.Resolver) *queue.Protection {
	return &queue.Protection{Resolver: resolver, Policy: n.flow.sts.Policy, STS: n.mtaSTS, DANE: func() bool { return config.DeliveryDANE.From(n.directory.Lookup) }}
}

func (n *node) mtaSTS() bool { return config.DeliveryMTASTS.From(n.directory.Lookup) }

// tendPolicies has the kept policies renewed and forgotten, as long as this node leads.
func (n *node) tendPolicies(ctx context.Context) error {
	tick := time.NewTicker(policiesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !n.cluster.IsLeader() {
			continue
		}
		if err := n.flow.sts.Tend(ctx, n.mtaSTS()); err != nil && ctx.Err() == nil {
			n.log.Warn("look after the MTA-STS policies", "pkg", "main", "err", err)
		}
	}
}

// policyStore keeps MTA-STS policies where all nodes find them: an attacker who hides a policy must not win by another node's ignorance. They lie
// among the secrets, in clear: that they are no secrets costs less than a table and commands of their own.
type policyStore struct{ store policyReplica }

// policyReplica is the node's copy of the state; *replica.Replica is one.
type policyReplica interface {
	Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error)
	View() *state.View
}

const policyPrefix = "mta-sts/"

// Load implements tlspolicy.Store.
func (s policyStore) Load(_ context.Context, domain string) (tlspolicy.Kept, bool, error) {
	v := s.store.View()
	defer v.Close()
	return loadPolicy(v, policyPrefix+domain)
}

// loadPolicy: what cannot be read is as good as none.
func loadPolicy(v *state.View, name string) (p tlspolicy.Kept, found bool, err error) {
	raw, err := v.Secret(name)
	if errors.Is(err, store.ErrNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read %s: %w", name, err)
	}
	if json.Unmarshal(raw, &p) != nil {
		return tlspolicy.Kept{}, false, nil
	}
	return p, true, nil
}

// Save implements tlspolicy.Store.
func (s policyStore) Save(ctx context.Context, domain string, p tlspolicy.Kept) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write the policy of %s: %w", domain, err)
	}
	return s.propose(ctx, &storepb.Command{Op: &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: policyPrefix + domain, Value: raw}}})
}

// List implements tlspolicy.Store.
func (s policyStore) List(context.Context) (map[string]tlspolicy.Kept, error) {
	v := s.store.View()
	defer v.Close()
	names, err := v.SecretNames(policyPrefix)
	if err != nil {
		return nil, fmt.Errorf("list the policies: %w", err)
	}
	list := make(map[string]tlspolicy.Kept, len(names))
	for _, name := range names {
		p, _, err := loadPolicy(v, name)
		if err != nil {
			return nil, err
		}
		list[name[len(policyPrefix):]] = p
	}
	return list, nil
}

// Remove implements tlspolicy.Store.
func (s policyStore) Remove(ctx context.Context, domain string) error {
	return s.propose(ctx, &storepb.Command{Op: &storepb.Command_RemoveSecret{RemoveSecret: &storepb.RemoveSecret{Name: policyPrefix + domain}}})
}

// policyTimeout bounds a change of what is kept: mail waits for it.
const policyTimeout = 10 * time.Second

func (s policyStore) propose(ctx context.Context, c *storepb.Command) error {
	ctx, cancel := context.WithTimeout(ctx, policyTimeout)
	defer cancel()
	_, err := s.store.Propose(ctx, func(to *storepb.Command) { to.Op = c.Op })
	return err
}
