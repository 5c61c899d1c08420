package sasl

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// cheap costs little: the tests are about what is around the hash.
var cheap = Argon2{MemoryKiB: 64, Passes: 1, Lanes: 1}

func cheapHasher(t *testing.T, cfg HasherConfig) *Hasher {
	t.Helper()
	if cfg.Costs == nil {
		cfg.Costs = func() Argon2 { return cheap }
	}
	h, err := NewHasher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func verify(t *testing.T, h *Hasher, stored, password string) bool {
	t.Helper()
	ok, err := h.Verify(context.Background(), stored, password)
	if err != nil {
		t.Fatalf("verify against %q: %v", stored, err)
	}
	return ok
}

func TestHashVerifies(t *testing.T) {
	h := cheapHasher(t, HasherConfig{})
	ctx := context.Background()
	argon, err := h.Hash(ctx, "mật khẩu dài")
	if err != nil {
		t.Fatal(err)
	}
	scram, err := h.SCRAM(ctx, "mật khẩu dài", MinSCRAMIterations)
	if err != nil {
		t.Fatal(err)
	}
	for _, stored := range []string{argon, scram.String()} {
		for password, want := range map[string]bool{
			"mật khẩu dài":                          true,
			"mậ\u0074 khẩu\u00a0dài":                true, // RFC 8265 §4.2: other spaces are the ASCII one
			"ma\u0323\u0302t kha\u0302\u0309u dài":  true, // decomposed
			"Mật khẩu dài":                          false,
			"mật khẩu dài ":                         false,
			"":                                      false,
			"mật\x00khẩu":                           false,
			strings.Repeat("x", MaxPasswordBytes+1): false,
		} {
			if got := verify(t, h, stored, password); got != want {
				t.Errorf("%.10s: %q: got %v", stored, password, got)
			}
		}
	}
	again, err := h.Hash(ctx, "mật khẩu dài")
	if err != nil || again == argon {
		t.Errorf("the salt is no salt: %q, %v", again, err)
	}
}

// The reference implementation's own test vector (argon2id, version 19).
func TestVerifyForeignArgon2(t *testing.T) {
	const stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := cheapHasher(t, HasherConfig{})
	if !verify(t, h, stored, "password") || verify(t, h, stored, "Password") {
		t.Error("wrong answer for the reference vector")
	}
	if !h.NeedsRehash(stored) {
		t.Error("other costs, and not to be replaced")
	}
}

// RFC 7677 §3: the example exchange of user "user" with password "pencil".
func TestSCRAMMatchesRFC7677(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	s, err := DeriveSCRAM("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	const auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	if got := base64.StdEncoding.EncodeToString(mac(s.ServerKey[:], auth)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature %s", got)
	}
	again, err := ParseSCRAM(s.String())
	if err != nil || again.String() != s.String() || !bytes.Equal(again.Salt, salt) {
		t.Errorf("%q read again: %+v, %v", s, again, err)
	}
}

func TestStoredFormsAreBounded(t *testing.T) {
	h := cheapHasher(t, HasherConfig{})
	h.count = func() { t.Error("hashed") }
	for _, stored := range []string{
		"", "x", "$argon2id$", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=4000000000,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=257$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=65536,t=2,p=1$$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc$x",
		"SCRAM-SHA-256$4095:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"SCRAM-SHA-256$999999999:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=", "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:AAAA",
		"$sha256$", "$sha256$AAAA$AAAA", "$sha256$c29tZXNhbHQ$AAAA",
	} {
		if ok, err := h.Verify(context.Background(), stored, "password"); ok || !errors.Is(err, ErrStored) {
			t.Errorf("%s: got %v, %v", stored, ok, err)
		}
	}
}

func TestHashRefusesUnusablePasswords(t *testing.T) {
	h := cheapHasher(t, HasherConfig{})
	for _, password := range []string{"", "a\x00b", "a\nb", "a\x7fb", "\xff\xfe", strings.Repeat("x", MaxPasswordBytes+1)} {
		if _, err := h.Hash(context.Background(), password); !errors.Is(err, ErrPassword) {
			t.Errorf("%.20q: got %v", password, err)
		} else if len(password) > 2 && strings.Contains(err.Error(), password) {
			t.Errorf("%.20q stands in the error: %v", password, err)
		}
		if _, err := NewSCRAM(password, MinSCRAMIterations); !errors.Is(err, ErrPassword) {
			t.Errorf("SCRAM of %.20q: got %v", password, err)
		}
	}
}

func TestNeedsRehash(t *testing.T) {
	costs := cheap
	h := cheapHasher(t, HasherConfig{Costs: func() Argon2 { return costs }})
	stored, err := h.Hash(context.Background(), "password")
	if err != nil {
		t.Fatal(err)
	}
	if h.NeedsRehash(stored) {
		t.Error("a new hash is to be replaced")
	}
	costs.Passes++
	if !h.NeedsRehash(stored) {
		t.Error("the costs changed, and the hash is to stay")
	}
	if h.NeedsRehash(HashRandom(NewAppPassword())) {
		t.Error("an app password is to be replaced")
	}
}

// A Hasher computes at most N at once, lets some wait, and turns away the rest.
func TestHasherIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := cheapHasher(t, HasherConfig{Concurrent: 2, Waiting: 3})
		var now, most atomic.Int32
		release := make(chan struct{})
		h.count = func() {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			now.Add(-1)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var wg sync.WaitGroup
		hash := func(ctx context.Context) chan error {
			result := make(chan error, 1)
			wg.Go(func() { _, err := h.Hash(ctx, "password"); result <- err })
			synctest.Wait()
			return result
		}
		first, second := hash(context.Background()), hash(context.Background())
		third, fourth := hash(ctx), hash(context.Background())
		late, expire := context.WithTimeout(context.Background(), time.Second)
		defer expire()
		fifth := hash(late)
		if err := <-hash(context.Background()); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: got %v", err)
		}
		if _, err := h.Verify(context.Background(), "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many to verify: got %v", err)
		}
		cancel()
		if err := <-third; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while waiting: got %v", err)
		}
		if err := <-fifth; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("too late while waiting: got %v", err)
		}
		close(release)
		for _, r := range []chan error{first, second, fourth} {
			if err := <-r; err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		if most.Load() != 2 {
			t.Errorf("%d at once", most.Load())
		}
		if len(h.running) != 0 || len(h.inside) != 0 {
			t.Errorf("%d running, %d inside at the end", len(h.running), len(h.inside))
		}
	})
}

func TestVerifyNobodyCostsAHash(t *testing.T) {
	h := cheapHasher(t, HasherConfig{})
	n := 0
	h.count = func() { n++ }
	if err := h.VerifyNobody(context.Background(), "password"); err != nil || n != 1 {
		t.Errorf("%d hashes, %v", n, err)
	}
}

func TestNewHasherValidates(t *testing.T) {
	for _, cfg := range []HasherConfig{{Concurrent: -1}, {Waiting: -1}, {Costs: func() Argon2 { return Argon2{} }}, {Costs: func() Argon2 { return Argon2{MemoryKiB: 1 << 30, Passes: 1, Lanes: 1} }}} {
		if _, err := NewHasher(cfg); err == nil {
			t.Errorf("%+v taken", cfg)
		}
	}
}

func FuzzStoredForms(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseArgon2(s); err == nil {
			again, err := parseArgon2(h.String())
			if err != nil || again.String() != h.String() {
				t.Errorf("%q: %q, %v", s, h, err)
			}
		}
		if k, err := ParseSCRAM(s); err == nil {
			again, err := ParseSCRAM(k.String())
			if err != nil || again.String() != k.String() {
				t.Errorf("%q: %q, %v", s, k, err)
			}
		}
	})
}
