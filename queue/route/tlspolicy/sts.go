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

	mu sync.Mutex
	// Guarded by mu.
	failed map[string]failedFetch // by domain. Invariant: at most maxFailedFetches.
	added  int                    // domains whose policies were kept since somebody last counted them
}

// STSConfig is what an [STS] needs.
type STSConfig struct {
	Resolver dns.Resolver // required
	Store    Store        // required
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now

	RootCAs *x509.CertPool // who vouches for the hosts of policies; default: the machine's
	Port    uint16         // of those hosts; default 443
	MaxKept int            // policies that are kept, about; default 10,000
}

// Store keeps policies. What it keeps protects domains whose policy an attacker hides, so it should outlast this process and be the same on
// all nodes. Names of domains are A-labels.
type Store interface {
	// Load finds the policy of a domain; false if there is none.
	Load(ctx context.Context, domain string) (Kept, bool, error)
	// Save puts it in place of any other.
	Save(ctx context.Context, domain string, p Kept) error
	// List tells what is kept. What cannot be read is the zero value.
	List(ctx context.Context) (map[string]Kept, error)
	// Remove forgets a domain's policy, if there is one.
	Remove(ctx context.Context, domain string) error
}

// Kept is a policy and where it came from.
type Kept struct {
	ID      string // as the TXT record had it
	Policy  STSPolicy
	Fetched time.Time
	Used    time.Time // when it was last asked for, to the day; zero: when it was fetched
}

type failedFetch struct {
	id string
	at time.Time
}

const (
	// fetchAgainAfter: RFC 8461 §3.3, five minutes at least between attempts to fetch what cannot be fetched.
	fetchAgainAfter = 5 * time.Minute
	// maxFailedFetches bounds what is remembered of those. At more, all is forgotten: some attempts are made too early.
	maxFailedFetches = 4096
	// defaultMaxKept policies, with names, are some megabytes.
	defaultMaxKept = 10_000
)

// NewSTS makes an STS.
func NewSTS(cfg STSConfig) (*STS, error) {
	if cfg.Resolver == nil || cfg.Store == nil {
		return nil, errors.New("tlspolicy: MTA-STS needs a Resolver and a Store")
	}
	cfg.Logger, cfg.Port = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), cmp.Or(cfg.Port, 443)
	cfg.MaxKept = cmp.Or(cfg.MaxKept, defaultMaxKept)
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
	now := s.cfg.Now()
	if p, ok := s.renew(ctx, domain, kept, lateAfter(kept.Policy), now); ok {
		return p, nil
	}
	if err := ctx.Err(); err != nil {
		return STSPolicy{}, fmt.Errorf("find the MTA-STS policy of %s: %w", domain, err)
	}
	if !kept.Fetched.IsZero() && now.Sub(kept.lastUse()) >= usedAgainAfter {
		kept.Used = now
		s.save(ctx, domain, kept, false)
	}
	return kept.Policy, nil
}

// renew fetches a policy that is new, or that was fetched so long ago as age says.
func (s *STS) renew(ctx context.Context, domain string, kept Kept, age time.Duration, used time.Time) (STSPolicy, bool) {
	id, ok := s.id(ctx, domain)
	if !ok || kept.ID == id && s.cfg.Now().Before(kept.Fetched.Add(age)) || !s.mayFetch(domain, id) {
		return STSPolicy{}, false
	}
	p, err := s.fetch(ctx, domain)
	if err != nil {
		s.fetchFailed(ctx, domain, id, kept.Policy.Mode, err)
		return STSPolicy{}, false
	}
	s.save(ctx, domain, Kept{ID: id, Policy: p, Fetched: s.cfg.Now(), Used: used}, kept.Fetched.IsZero())
	return p, true
}

// kept finds a policy that still holds, or one that says nothing.
func (s *STS) kept(ctx context.Context, domain string) (Kept, error) {
	kept, ok, err := s.cfg.Store.Load(ctx, domain)
	if err != nil {
		return Kept{}, fmt.Errorf("load the MTA-STS policy of %s: %w", domain, err)
	}
	if !ok || kept.expired(s.cfg.Now()) {
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

// mayFetch: not when that failed a short while ago.
func (s *STS) mayFetch(domain, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.failed[domain]
	return !ok || f.id != id || !s.cfg.Now().Before(f.at.Add(fetchAgainAfter))
}

// fetchFailed remembers it, unless it was the caller who went away. RFC 8461 §3.3: of a policy that is in force, administrators should know.
func (s *STS) fetchFailed(ctx context.Context, domain, id string, mode STSMode, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	level := slog.LevelWarn
	if mode == STSNone {
		level = slog.LevelInfo
	}
	s.cfg.Logger.Log(ctx, level, "an MTA-STS policy cannot be fetched", "pkg", "tlspolicy", "domain", domain, "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) >= maxFailedFetches {
		clear(s.failed)
	}
	s.failed[domain] = failedFetch{id: id, at: s.cfg.Now()}
}
