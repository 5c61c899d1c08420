package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// secrets is everything about passwords: hashing, what was right lately, and who guessed too often.
type secrets struct {
	hasher   *sasl.Hasher
	verified *sasl.VerifiedCache
	throttle *sasl.Throttle
	metrics  *Metrics
}

func newSecrets(cfg Config) (*secrets, error) {
	hasher, err := sasl.NewHasher(sasl.HasherConfig{Concurrent: cfg.ConcurrentHashes})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	verified, err := sasl.NewVerifiedCache(sasl.CacheConfig{TTL: func() time.Duration { return cfg.VerifiedFor }, Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	throttle, err := sasl.NewThrottle(sasl.ThrottleConfig{Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return &secrets{hasher, verified, throttle, cfg.Metrics}, nil
}

// credential makes what is stored of a password.
func (s *secrets) credential(ctx context.Context, id, kind, label, password string, now time.Time) (*storepb.Credential, error) {
	hash, err := s.hasher.Hash(ctx, password)
	if errors.Is(err, sasl.ErrPassword) {
		return nil, fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("hash the password: %w", unavailable(err))
	}
	scram, err := s.hasher.SCRAM(ctx, password, sasl.DefaultSCRAMIterations)
	if err != nil {
		return nil, fmt.Errorf("make the SCRAM keys: %w", unavailable(err))
	}
	return &storepb.Credential{Id: id, Kind: kind, Argon2: hash, Scram: scram.String(), Label: label, CreatedUnixMs: now.UnixMilli()}, nil
}

// dummy takes as long as a wrong password.
func (s *secrets) dummy(ctx context.Context, password string) error {
	s.metrics.Hashes.Inc()
	return s.hasher.VerifyNobody(ctx, password[:min(len(password), MaxPasswordBytes)])
}

// verify finds the credential that the password is of. The generation is of the account as it was read behind a barrier: what was
// verified under an older one is not found.
func (s *secrets) verify(ctx context.Context, l *login, password string) (*storepb.Credential, bool, error) {
	account, generation := l.account.GetId(), l.account.GetCredentialGeneration()
	if id, ok := s.verified.Lookup(account, generation, password); ok {
		for _, c := range l.credentials {
			if c.GetId() == id {
				s.metrics.Remembered.Inc()
				return c, true, nil
			}
		}
	}
	for _, c := range candidates(l.credentials, password) {
		s.metrics.Hashes.Inc()
		switch ok, err := s.hasher.Verify(ctx, c.cred.GetArgon2(), c.password); {
		case err != nil:
			return nil, false, err
		case ok:
			s.verified.Remember(account, generation, password, c.cred.GetId())
			return c.cred, true, nil
		}
	}
	return nil, false, nil
}

// forget drops what was verified for an account whose credentials changed.
func (s *secrets) forget(id store.AccountID) { s.verified.Drop(uint64(id)) }

// candidate is a credential that the password could be of, and the password in the form it was hashed in.
type candidate struct {
	cred     *storepb.Credential
	password string
}

// candidates are two at most: the app password that the password names, and the account's own.
func candidates(creds []*storepb.Credential, password string) []candidate {
	var list []candidate
	if id, normal := appID(password); id != "" {
		for _, c := range creds {
			if c.GetKind() == kindApp && c.GetId() == id {
				list = append(list, candidate{c, normal})
			}
		}
	}
	for _, c := range creds {
		if c.GetKind() == kindPassword && c.GetId() == passwordID {
			list = append(list, candidate{c, password})
		}
	}
	return list
}
