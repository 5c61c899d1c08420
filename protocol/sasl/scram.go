package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Iterations of SCRAM-SHA-256. RFC 7677 §4 wants 4,096 at least; whoever steals the stored keys has to repeat them for each guess, and the
// user's device for each login.
const (
	MinSCRAMIterations     = 4096
	DefaultSCRAMIterations = 100_000
	MaxSCRAMIterations     = 1_000_000
)

// SCRAM is what a server keeps to let a user log in by SCRAM-SHA-256 (RFC 5802 §3, RFC 7677). It does not let whoever steals it log in, but
// lets them guess.
type SCRAM struct {
	Iterations int
	Salt       []byte
	StoredKey  [sha256.Size]byte
	ServerKey  [sha256.Size]byte
}

const scramPrefix = "SCRAM-SHA-256$"

// NewSCRAM derives the keys of a password with a new salt. It takes tens of milliseconds at the default iterations; see [Hasher.SCRAM] for
// a bounded number at once. Errors wrap ErrPassword.
func NewSCRAM(password string, iterations int) (SCRAM, error) {
	return DeriveSCRAM(password, random(saltBytes), iterations)
}

// DeriveSCRAM derives the keys of a password with a given salt. Errors wrap ErrPassword.
func DeriveSCRAM(password string, salt []byte, iterations int) (SCRAM, error) {
	prepared, err := Prepare(password)
	if err != nil {
		return SCRAM{}, err
	}
	if iterations < MinSCRAMIterations || iterations > MaxSCRAMIterations {
		return SCRAM{}, fmt.Errorf("derive SCRAM keys: %d iterations, choose %d to %d", iterations, MinSCRAMIterations, MaxSCRAMIterations)
	}
	return deriveSCRAM(prepared, salt, iterations)
}

// deriveSCRAM: RFC 5802 §3.
func deriveSCRAM(prepared string, salt []byte, iterations int) (SCRAM, error) {
	salted, err := pbkdf2.Key(sha256.New, prepared, salt, iterations, sha256.Size)
	if err != nil {
		return SCRAM{}, fmt.Errorf("derive SCRAM keys: %w", err)
	}
	s := SCRAM{Iterations: iterations, Salt: salt, StoredKey: sha256.Sum256(mac(salted, "Client Key"))}
	copy(s.ServerKey[:], mac(salted, "Server Key"))
	return s, nil
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// String is the stored form.
func (s SCRAM) String() string {
	enc := base64.StdEncoding.EncodeToString
	return scramPrefix + strconv.Itoa(s.Iterations) + ":" + enc(s.Salt) + "$" + enc(s.StoredKey[:]) + ":" + enc(s.ServerKey[:])
}

// ParseSCRAM reads the stored form. Errors wrap ErrStored.
func ParseSCRAM(stored string) (SCRAM, error) {
	bad := func(what string) (SCRAM, error) { return SCRAM{}, fmt.Errorf("%w: scram: %s", ErrStored, what) }
	rest, ok := strings.CutPrefix(stored, scramPrefix)
	info, keys, ok2 := strings.Cut(rest, "$")
	count, salt, ok3 := strings.Cut(info, ":")
	storedKey, serverKey, ok4 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 || !ok4 || len(stored) > 512 {
		return bad("not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
	}
	var s SCRAM
	var err error
	if s.Iterations, err = strconv.Atoi(count); err != nil || s.Iterations < MinSCRAMIterations || s.Iterations > MaxSCRAMIterations {
		return bad("unreadable iterations, or out of range")
	}
	if s.Salt, err = base64.StdEncoding.Strict().DecodeString(salt); err != nil || len(s.Salt) < 8 {
		return bad("unreadable or short salt")
	}
	if !decodeKey(&s.StoredKey, storedKey) || !decodeKey(&s.ServerKey, serverKey) {
		return bad("unreadable keys")
	}
	return s, nil
}

func decodeKey(key *[sha256.Size]byte, text string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && copy(key[:], raw) == len(key) && len(raw) == len(key)
}

// SCRAM is NewSCRAM, taking its turn with the other hashes. Errors wrap ErrPassword, ErrBusy, or what ended ctx.
func (h *Hasher) SCRAM(ctx context.Context, password string, iterations int) (SCRAM, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return SCRAM{}, err
	}
	defer leave()
	return NewSCRAM(password, iterations)
}

// DeriveSCRAM is DeriveSCRAM, taking its turn with the other hashes. Errors wrap ErrPassword, ErrBusy, or what ended ctx.
func (h *Hasher) DeriveSCRAM(ctx context.Context, password string, salt []byte, iterations int) (SCRAM, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return SCRAM{}, err
	}
	defer leave()
	return DeriveSCRAM(password, salt, iterations)
}

// FakeSalt is the salt of a user that there is not: always the same, as that of one that there is (RFC 5802 §9). The key is the site's secret.
func FakeSalt(key []byte, user string) []byte { return mac(key, "scram salt "+user)[:saltBytes] }

// verifySCRAM compares both keys: whoever could change one of them alone in the store would gain nothing.
func (h *Hasher) verifySCRAM(ctx context.Context, want SCRAM, prepared string) (bool, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	h.count()
	got, err := deriveSCRAM(prepared, want.Salt, want.Iterations)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got.StoredKey[:], want.StoredKey[:])&subtle.ConstantTimeCompare(got.ServerKey[:], want.ServerKey[:]) == 1, nil
}
