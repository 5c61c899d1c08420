package tlspolicy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

const (
	// writtenTo: policies of domains that were written to within this time are renewed; others are left to expire.
	writtenTo = 30 * 24 * time.Hour
	// usedAgainAfter is how exactly it is known when a policy was used: noting that is a command in the log.
	usedAgainAfter = 24 * time.Hour
	// renewals is how many policies are fetched at once.
	renewals = 8
	// maxKeptBytes bounds the patterns of a kept policy. Larger ones are asked for each time; nobody has them but to fill our disks.
	maxKeptBytes = 4 << 10
	// countAfter: so many policies of new domains at one node, and what is kept is counted. So MaxKept is exceeded by at most that, at each node.
	countAfter = 100
)

// renewAfter: RFC 8461 §3.3, a policy should be renewed before it expires, once a day, so that an attacker cannot wait for that.
func renewAfter(p STSPolicy) time.Duration { return min(24*time.Hour, p.MaxAge/2) }

// lateAfter is when mail itself has a policy renewed, and waits for it: who renews them in the background does not, or cannot.
func lateAfter(p STSPolicy) time.Duration { return min(48*time.Hour, p.MaxAge*3/4) }

func (k Kept) expired(now time.Time) bool { return !now.Before(k.Fetched.Add(k.Policy.MaxAge)) }

func (k Kept) lastUse() time.Time {
	if k.Used.IsZero() {
		return k.Fetched
	}
	return k.Used
}

// save: a policy that cannot be kept is good for this once.
func (s *STS) save(ctx context.Context, domain string, p Kept, isNew bool) {
	size := 0
	for _, pattern := range p.Policy.MX {
		size += len(pattern)
	}
	err := errors.New("it is too large")
	if size <= maxKeptBytes {
		err = s.cfg.Store.Save(ctx, domain, p)
	}
	if err != nil {
		s.cfg.Logger.Warn("an MTA-STS policy cannot be kept", "pkg", "tlspolicy", "domain", domain, "err", err)
	}
	s.mu.Lock()
	delete(s.failed, domain)
	if isNew && err == nil {
		s.added++
	}
	count := s.added >= countAfter
	if count {
		s.added = 0
	}
	s.mu.Unlock()
	if count {
		if _, err := s.forget(ctx); err != nil {
			s.cfg.Logger.Warn("MTA-STS policies cannot be counted", "pkg", "tlspolicy", "err", err)
		}
	}
}

// Tend looks after what is kept, all of it: what has expired, and what is too much, is forgotten; with renew, policies of domains that are
// still written to are fetched again before they expire. One node should call it, several times a day.
func (s *STS) Tend(ctx context.Context, renew bool) error {
	kept, err := s.forget(ctx)
	if err != nil || !renew {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	places := make(chan struct{}, renewals)
	for domain, k := range kept {
		now := s.cfg.Now()
		if now.Sub(k.lastUse()) > writtenTo || now.Before(k.Fetched.Add(renewAfter(k.Policy))) {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case places <- struct{}{}:
		}
		all.Go(func() { s.again(ctx, domain); <-places })
	}
	return nil
}

// again renews a policy if that is due still. It has no flight: mail that comes meanwhile has the kept policy and need not wait.
func (s *STS) again(ctx context.Context, domain string) {
	kept, err := s.kept(ctx, domain)
	if err != nil {
		s.cfg.Logger.Warn("an MTA-STS policy cannot be renewed", "pkg", "tlspolicy", "domain", domain, "err", err)
		return
	}
	s.renew(ctx, domain, kept, renewAfter(kept.Policy), kept.lastUse())
}

// forget removes what has expired or is too much, and returns the rest.
func (s *STS) forget(ctx context.Context) (map[string]Kept, error) {
	list, err := s.cfg.Store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the MTA-STS policies: %w", err)
	}
	now := s.cfg.Now()
	gone := surplus(list, now, s.cfg.MaxKept)
	for domain, k := range list {
		if k.expired(now) {
			gone = append(gone, domain)
		}
	}
	for _, domain := range gone {
		if err := s.cfg.Store.Remove(ctx, domain); err != nil {
			return nil, fmt.Errorf("forget the MTA-STS policy of %s: %w", domain, err)
		}
		delete(list, domain)
	}
	return list, nil
}

// surplus lists what has to go when there is more than limit, and room for some that will come. Whoever has one domain may have a million
// below it, each with a policy, and must not push out those of others by them: the owner with the most loses those that were not used for
// longest. Of owners with as many, the one whose last was not used for longest goes first.
func surplus(list map[string]Kept, now time.Time, limit int) []string {
	type place struct {
		domain string
		rank   int // among its owner's, the latest used first
		used   time.Time
	}
	owned := map[string][]place{}
	count := 0
	for domain, k := range list {
		if !k.expired(now) {
			count++
			owner := ownerOf(domain)
			owned[owner] = append(owned[owner], place{domain: domain, used: k.lastUse()})
		}
	}
	if count <= limit {
		return nil
	}
	var all []place
	for _, places := range owned {
		slices.SortFunc(places, func(a, b place) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.domain, b.domain)) })
		for i := range places {
			places[i].rank = i
		}
		all = append(all, places...)
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), a.used.Compare(b.used), cmp.Compare(a.domain, b.domain))
	})
	var gone []string
	for _, p := range all[:count-limit+limit/10] {
		gone = append(gone, p.domain)
	}
	return gone
}

// ownerOf is the domain that somebody registered.
func ownerOf(domain string) string {
	owner, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return owner
}
