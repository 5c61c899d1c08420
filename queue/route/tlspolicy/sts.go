package tlspolicy

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/flight"
)

// STS knows the MTA-STS policies of domains (RFC 8461). It may be used by many goroutines.
type STS struct {
	cfg     STSConfig
	flights flight.Group[string, STSPolicy]

	mu     sync.Mutex
	failed map[string]failedFetch // by domain; guarded by mu. Invariant: at most maxFailedFetches.
}

// STSConfig is what an [STS] needs.
type STSConfig struct {
	Resolver dns.Resolver // required
	Store    Store        // required
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now

	RootCAs *x509.CertPool // who vouches for the hosts of policies; default: the machine's
	Port    uint16         // of those hosts; default 443
}

// Store keeps policies, for as long as they hold or longer. What it keeps protects domains whose policy an attacker hides, so it should
// outlast this process and be the same on all nodes.
type Store interface {
	// Load finds the policy of a domain (A-labels); false if there is none.
	Load(ctx context.Context, domain string) (Kept, bool, error)
	// Save puts it in place of any other.
	Save(ctx context.Context, domain string, p Kept) error
}

// Kept is a policy and where it came from.
type Kept struct {
	ID      string // as the TXT record had it
	Policy  STSPolicy
	Fetched time.Time
}

type failedFetch struct {
	id string
	at time.Time
}

const (
	// refreshAfter: RFC 8461 §3.3, a policy should be renewed before it expires, once a day, so that an attacker cannot wait for that.
	refreshAfter = 24 * time.Hour
	// fetchAgainAfter: RFC 8461 §3.3, five minutes at least between attempts to fetch what cannot be fetched.
	fetchAgainAfter = 5 * time.Minute
	// maxFailedFetches bounds what is remembered of those. At more, all is forgotten: some attempts are made too early.
	maxFailedFetches = 4096
)

// NewSTS makes an STS.
func NewSTS(cfg STSConfig) (*STS, error) {
	if cfg.Resolver == nil || cfg.Store == nil {
		return nil, errors.New("tlspolicy: MTA-STS needs a Resolver and a Store")
	}
	cfg.Logger, cfg.Port = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), cmp.Or(cfg.Port, 443)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &STS{cfg: cfg, failed: map[string]failedFetch{}}, nil
}

// Policy finds the policy that holds for a domain now; its mode is [STSNone] if there is none. It fetches what is new, which may take a
// minute, and ctx should last longer than that. An error means that this is not known: the store failed, or ctx ended.
func (s *STS) Policy(ctx context.Context, domain string) (STSPolicy, error) {
	domain, err := asciiDomain(domain)
	if err != nil || isLiteral(domain) {
		return STSPolicy{Mode: STSNone}, nil
	}
	return s.flights.Do(ctx, domain, func() (STSPolicy, error) { return s.policy(ctx, domain) })
}

// policy: RFC 8461 §5.1. Neither a record nor a file that cannot be had makes a kept policy void before its time.
func (s *STS) policy(ctx context.Context, domain string) (STSPolicy, error) {
	kept, err := s.kept(ctx, domain)
	if err != nil {
		return STSPolicy{}, err
	}
	id, ok := s.id(ctx, domain)
	if ok && s.due(domain, id, kept) {
		p, err := s.fetch(ctx, domain)
		if err == nil {
			s.save(ctx, domain, Kept{ID: id, Policy: p, Fetched: s.cfg.Now()})
			return p, nil
		}
		s.cfg.Logger.Info("an MTA-STS policy cannot be fetched", "pkg", "tlspolicy", "domain", domain, "err", err)
		s.fetchFailed(ctx, domain, id)
	}
	if err := ctx.Err(); err != nil {
		return STSPolicy{}, fmt.Errorf("find the MTA-STS policy of %s: %w", domain, err)
	}
	return kept.Policy, nil
}

// kept finds a policy that still holds, or one that says nothing.
func (s *STS) kept(ctx context.Context, domain string) (Kept, error) {
	kept, ok, err := s.cfg.Store.Load(ctx, domain)
	if err != nil {
		return Kept{}, fmt.Errorf("load the MTA-STS policy of %s: %w", domain, err)
	}
	if !ok || !s.cfg.Now().Before(kept.Fetched.Add(kept.Policy.MaxAge)) {
		return Kept{Policy: STSPolicy{Mode: STSNone}}, nil
	}
	return kept, nil
}

func (s *STS) id(ctx context.Context, domain string) (string, bool) {
	texts, err := s.cfg.Resolver.LookupTXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return "", false
	}
	return STSRecord(texts.Records)
}

// due says whether to fetch: a policy that is new or old, unless that failed a short while ago.
func (s *STS) due(domain, id string, kept Kept) bool {
	now := s.cfg.Now()
	if kept.ID == id && now.Before(kept.Fetched.Add(refreshAfter)) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.failed[domain]
	return !ok || f.id != id || !now.Before(f.at.Add(fetchAgainAfter))
}

// fetchFailed remembers it, unless it was the caller who went away.
func (s *STS) fetchFailed(ctx context.Context, domain, id string) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) >= maxFailedFetches {
		clear(s.failed)
	}
	s.failed[domain] = failedFetch{id: id, at: s.cfg.Now()}
}

// save: a policy that cannot be kept is good for this once.
func (s *STS) save(ctx context.Context, domain string, p Kept) {
	s.mu.Lock()
	delete(s.failed, domain)
	s.mu.Unlock()
	if err := s.cfg.Store.Save(ctx, domain, p); err != nil {
		s.cfg.Logger.Warn("an MTA-STS policy cannot be kept", "pkg", "tlspolicy", "domain", domain, "err", err)
	}
}
