package directory

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Kinds of credentials, and the id of the account's own password.
const (
	kindPassword = "password"
	kindApp      = "app"
	passwordID   = "password"
)

// secrets is everything about passwords: hashing, what was right lately, and who guessed too often.
type secrets struct {
	hasher   *sasl.Hasher
	verified *sasl.VerifiedCache
	throttle *sasl.Throttle
	tuning   atomic.Pointer[tuning]
	metrics  *Metrics
	log      *slog.Logger
}

// tuning is what the cluster's settings say of logins, as they were read last.
type tuning struct {
	read          time.Time
	argon2        sasl.Argon2
	scramRounds   int
	minPassword   int
	remember      time.Duration
	freeFailures  int
	longestDelay  time.Duration
	plusSeparator string
}

// tuningAge is how long settings are used before they are read again: with the time that a change takes to get here, under a second.
const tuningAge = 500 * time.Millisecond

// lookup makes the settings in a view readable for package config.
func lookup(v *state.View) config.Lookup {
	return func(name string) (string, bool) {
		value, err := v.Setting(name)
		return value, err == nil // what cannot be read takes its default
	}
}

func readTuning(get config.Lookup, now time.Time) *tuning {
	return &tuning{
		read: now,
		argon2: sasl.Argon2{MemoryKiB: uint32(config.AuthArgon2Memory.From(get) >> 10), Passes: uint32(config.AuthArgon2Passes.From(get)),
			Lanes: sasl.DefaultArgon2.Lanes},
		scramRounds:   config.AuthSCRAMIterations.From(get),
		minPassword:   config.AuthMinPasswordLength.From(get),
		remember:      config.AuthRememberLogins.From(get),
		freeFailures:  config.AuthFreeFailures.From(get),
		longestDelay:  config.AuthMaxDelay.From(get),
		plusSeparator: config.DeliveryPlusSeparator.From(get),
	}
}

func newSecrets(cfg Config) (*secrets, error) {
	s := &secrets{metrics: cfg.Metrics, log: cfg.Logger.With("pkg", "directory")}
	s.tuning.Store(readTuning(func(string) (string, bool) { return "", false }, time.Time{}))
	var err error
	if s.hasher, err = sasl.NewHasher(sasl.HasherConfig{Concurrent: cfg.ConcurrentHashes, Costs: func() sasl.Argon2 { return s.tuning.Load().argon2 }}); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	s.verified, err = sasl.NewVerifiedCache(sasl.CacheConfig{Now: cfg.Now, TTL: func() time.Duration { return s.tuning.Load().remember }})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	s.throttle, err = sasl.NewThrottle(sasl.ThrottleConfig{Now: cfg.Now, Free: func() int { return s.tuning.Load().freeFailures },
		MaxDelay: func() time.Duration { return s.tuning.Load().longestDelay }})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return s, nil
}

// tune takes the settings over from a view, now and then.
func (s *secrets) tune(v *state.View) *tuning {
	now := time.Now()
	if t := s.tuning.Load(); now.Sub(t.read) < tuningAge {
		return t
	}
	t := readTuning(lookup(v), now)
	s.tuning.Store(t)
	return t
}

// credential makes what is stored of a user's own password, beside the credentials that the account keeps.
func (s *secrets) credential(ctx context.Context, password string, now time.Time, kept []*storepb.Credential) (*storepb.Credential, error) {
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		return nil, fmt.Errorf("hash the password: %w", unavailable(err))
	}
	keys, err := s.scramFor(ctx, password, kept)
	if err != nil {
		return nil, fmt.Errorf("make the SCRAM keys: %w", unavailable(err))
	}
	return &storepb.Credential{Id: passwordID, Kind: kindPassword, Argon2: hash, Scram: keys.String(), CreatedUnixMs: now.UnixMilli()}, nil
}

// nobody takes as long as a wrong password.
func (s *secrets) nobody(ctx context.Context, password string) error {
	s.metrics.Hashes.Inc()
	return s.hasher.VerifyNobody(ctx, password)
}

// verify finds the credential that the password is of; nil: none. The app passwords come first: trying them costs nearly nothing.
func (s *secrets) verify(ctx context.Context, l *login, password string) (*storepb.Credential, error) {
	account, generation := l.account.GetId(), l.account.GetCredentialGeneration()
	if id, ok := s.verified.Lookup(account, generation, password); ok {
		s.metrics.Remembered.Inc()
		return l.credential(id), nil
	}
	var own *storepb.Credential
	for _, c := range l.credentials {
		if c.GetKind() == kindPassword {
			own = c
			continue
		}
		if s.matches(ctx, c, password) {
			s.verified.Remember(account, generation, password, c.GetId())
			return c, nil
		}
	}
	if own == nil {
		return nil, s.nobody(ctx, password)
	}
	s.metrics.Hashes.Inc()
	ok, err := s.hasher.Verify(ctx, own.GetArgon2(), password)
	if err != nil || !ok {
		return nil, err
	}
	s.verified.Remember(account, generation, password, own.GetId())
	return own, nil
}

// matches tries an app password. One that cannot be read is nobody's, and does not keep the others from being tried.
func (s *secrets) matches(ctx context.Context, c *storepb.Credential, password string) bool {
	ok, err := s.hasher.Verify(ctx, c.GetArgon2(), password)
	if err != nil && ctx.Err() == nil {
		s.log.Error("an app password cannot be checked", "credential", c.GetId(), "err", err)
	}
	return err == nil && ok
}

// forget drops what is remembered about an account.
func (s *secrets) forget(id store.AccountID) { s.verified.Drop(uint64(id)) }
