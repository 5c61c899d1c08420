package sasl

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Argon2 says what one hash costs (RFC 9106 §3.1).
type Argon2 struct {
	MemoryKiB uint32 // at least 8 per lane
	Passes    uint32
	Lanes     uint8
}

// DefaultArgon2 costs 19 MiB and about 20 ms. A server hashes for many users at once, so that memory is what has to be kept low; the
// strength for the same memory is in the passes.
var DefaultArgon2 = Argon2{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}

// Bounds of what a stored hash may ask for: one that is damaged, or was brought in from elsewhere, must not take the node's memory.
const (
	maxMemoryKiB = 256 << 10
	maxPasses    = 64
	maxLanes     = 16
	saltBytes    = 16
	hashBytes    = 32
	maxHashBytes = 64
)

func (p Argon2) validate() error {
	if p.Lanes < 1 || p.Lanes > maxLanes || p.Passes < 1 || p.Passes > maxPasses || p.MemoryKiB < 8*uint32(p.Lanes) || p.MemoryKiB > maxMemoryKiB {
		return fmt.Errorf("argon2id with m=%d, t=%d, p=%d: the most are m=%d, t=%d, p=%d, and m is at least 8 for each p", p.MemoryKiB, p.Passes, p.Lanes,
			maxMemoryKiB, maxPasses, maxLanes)
	}
	return nil
}

// argon2Hash is a stored hash.
type argon2Hash struct {
	Argon2
	salt, hash []byte
}

const argon2Prefix = "$argon2id$"

func (h argon2Hash) String() string {
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argon2Prefix, argon2.Version, h.MemoryKiB, h.Passes, h.Lanes, enc(h.salt), enc(h.hash))
}

// parseArgon2 reads the PHC string format. Errors wrap ErrStored.
func parseArgon2(s string) (argon2Hash, error) {
	bad := func(what string) (argon2Hash, error) {
		return argon2Hash{}, fmt.Errorf("%w: argon2id: %s", ErrStored, what)
	}
	rest, ok := strings.CutPrefix(s, argon2Prefix)
	parts := strings.Split(rest, "$")
	if !ok || len(parts) != 4 || len(s) > 512 {
		return bad("not of the form $argon2id$v=19$m=,t=,p=$salt$hash")
	}
	if parts[0] != "v="+strconv.Itoa(argon2.Version) {
		return bad("a version other than 19")
	}
	var h argon2Hash
	if !h.parseCosts(parts[1]) {
		return bad("costs not of the form m=,t=,p=")
	}
	if err := h.validate(); err != nil {
		return bad(err.Error())
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[2]); err != nil || len(h.salt) < 8 {
		return bad("unreadable or short salt")
	}
	if h.hash, err = base64.RawStdEncoding.Strict().DecodeString(parts[3]); err != nil || len(h.hash) < 16 || len(h.hash) > maxHashBytes {
		return bad("unreadable hash, or one of less than 16 or more than 64 bytes")
	}
	return h, nil
}

func (p *Argon2) parseCosts(s string) bool {
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return false
	}
	var n [3]uint64
	for i, prefix := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(parts[i], prefix)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			return false
		}
		n[i] = v
	}
	if n[2] > maxLanes {
		return false
	}
	p.MemoryKiB, p.Passes, p.Lanes = uint32(n[0]), uint32(n[1]), uint8(n[2])
	return true
}

// HasherConfig says how a Hasher works.
type HasherConfig struct {
	// Costs of new hashes, asked for at each one so that they can follow a setting. Nil: DefaultArgon2.
	Costs func() Argon2
	// Concurrent hashes at once; 0: 4. The memory in use is at most this times the costs' memory.
	Concurrent int
	// Waiting callers beyond those; 0: 256. Over it: ErrBusy at once.
	Waiting int
}

// Hasher makes and verifies slow hashes, a bounded number at once.
type Hasher struct {
	costs   func() Argon2
	running chan struct{} // holds one for each hash that is being computed
	inside  chan struct{} // holds one for each caller, computing or waiting
	count   func()        // tests count hashes here
}

// NewHasher makes a Hasher.
func NewHasher(cfg HasherConfig) (*Hasher, error) {
	if cfg.Costs == nil {
		cfg.Costs = func() Argon2 { return DefaultArgon2 }
	}
	if cfg.Concurrent == 0 {
		cfg.Concurrent = 4
	}
	if cfg.Waiting == 0 {
		cfg.Waiting = 256
	}
	if cfg.Concurrent < 0 || cfg.Waiting < 0 {
		return nil, fmt.Errorf("sasl: a Hasher for %d at once and %d waiting", cfg.Concurrent, cfg.Waiting)
	}
	if err := cfg.Costs().validate(); err != nil {
		return nil, fmt.Errorf("sasl: %w", err)
	}
	return &Hasher{costs: cfg.Costs, running: make(chan struct{}, cfg.Concurrent), inside: make(chan struct{}, cfg.Concurrent+cfg.Waiting), count: func() {}}, nil
}

// Hash makes the stored form of a password. It waits for its turn until ctx ends. Errors wrap ErrPassword, ErrBusy, or what ended ctx.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	prepared, err := Prepare(password)
	if err != nil {
		return "", err
	}
	stored := argon2Hash{Argon2: h.costs(), salt: random(saltBytes)}
	if err := stored.validate(); err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	if stored.hash, err = h.compute(ctx, stored, prepared, hashBytes); err != nil {
		return "", err
	}
	return stored.String(), nil
}

// Verify tells whether password is the one behind a stored form of any kind. It takes as long for a wrong password as for the right one.
// Errors wrap ErrStored, ErrBusy, or what ended ctx, and say nothing about the password: one that Prepare refuses is merely wrong.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (bool, error) {
	prepared, err := Prepare(password)
	if err != nil {
		return false, nil // it cannot have been set
	}
	switch {
	case strings.HasPrefix(stored, randomPrefix):
		return verifyRandom(stored, password)
	case strings.HasPrefix(stored, scramPrefix):
		keys, err := ParseSCRAM(stored)
		if err != nil {
			return false, err
		}
		return h.verifySCRAM(ctx, keys, prepared)
	}
	want, err := parseArgon2(stored)
	if err != nil {
		return false, err
	}
	got, err := h.compute(ctx, want, prepared, uint32(len(want.hash)))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want.hash) == 1, nil
}

// VerifyNobody takes the time of Verify with today's costs, for an account that does not exist, so that the time does not tell who does.
func (h *Hasher) VerifyNobody(ctx context.Context, password string) error {
	prepared, err := Prepare(password)
	if err != nil {
		return nil // Verify is quick here too
	}
	_, err = h.compute(ctx, argon2Hash{Argon2: h.costs(), salt: make([]byte, saltBytes)}, prepared, hashBytes)
	return err
}

// NeedsRehash tells whether a stored form was made with other costs than new ones are, so that it should be replaced while the password is at
// hand.
func (h *Hasher) NeedsRehash(stored string) bool {
	if strings.HasPrefix(stored, randomPrefix) {
		return false
	}
	have, err := parseArgon2(stored)
	return err != nil || have.Argon2 != h.costs()
}

func (h *Hasher) compute(ctx context.Context, p argon2Hash, prepared string, size uint32) ([]byte, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	h.count()
	return argon2.IDKey([]byte(prepared), p.salt, p.Passes, p.MemoryKiB, p.Lanes, size), nil
}

// enter waits for a turn.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.inside <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	select {
	case h.running <- struct{}{}:
		return func() { <-h.running; <-h.inside }, nil
	case <-ctx.Done():
		<-h.inside
		return nil, fmt.Errorf("wait to check a password: %w", context.Cause(ctx))
	}
}

// random never fails: crypto/rand ends the program rather than return an error.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
