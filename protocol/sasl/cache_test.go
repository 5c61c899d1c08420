package sasl

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newCache(t *testing.T, c *clock, size int) *VerifiedCache {
	t.Helper()
	cache, err := NewVerifiedCache(CacheConfig{Now: c.now, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// login is what a server does: the cache, and the slow hash if it does not know.
func login(t *testing.T, h *Hasher, c *VerifiedCache, stored, password string) bool {
	t.Helper()
	if _, ok := c.Lookup(1, 1, password); ok {
		return true
	}
	if !verify(t, h, stored, password) {
		return false
	}
	c.Remember(1, 1, password, "main")
	return true
}

// A thousand logins with the right password cost one slow hash; wrong ones cost one each and do not profit.
func TestRepeatedLoginsCostOneHash(t *testing.T) {
	h, clk := cheapHasher(t, HasherConfig{}), newClock()
	cache := newCache(t, clk, 0)
	stored, err := h.Hash(context.Background(), "right")
	if err != nil {
		t.Fatal(err)
	}
	hashes := 0
	h.count = func() { hashes++ }
	for range 1000 {
		if !login(t, h, cache, stored, "right") {
			t.Fatal("refused")
		}
	}
	if hashes != 1 {
		t.Errorf("%d slow hashes for 1,000 logins", hashes)
	}
	for range 3 {
		if login(t, h, cache, stored, "wrong") {
			t.Fatal("accepted")
		}
	}
	if hashes != 4 {
		t.Errorf("%d slow hashes after 3 wrong passwords", hashes)
	}
	clk.pass(5 * time.Minute)
	login(t, h, cache, stored, "right")
	if hashes != 5 {
		t.Errorf("%d slow hashes: a memory outlived its time", hashes)
	}
}

func TestCacheKeepsApart(t *testing.T) {
	cache := newCache(t, newClock(), 0)
	cache.Remember(1, 7, "right", "main")
	cache.Remember(1, 7, "other", "phone")
	for _, tc := range []struct {
		account, generation uint64
		password, want      string
	}{{1, 7, "right", "main"}, {1, 7, "other", "phone"}, {1, 7, "wrong", ""}, {2, 7, "right", ""}, {1, 8, "right", ""}, {1, 6, "right", ""}} {
		if got, ok := cache.Lookup(tc.account, tc.generation, tc.password); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%+v: got %q, %v", tc, got, ok)
		}
	}
}

func TestCacheDrop(t *testing.T) {
	cache := newCache(t, newClock(), 0)
	for account := range uint64(3) {
		cache.Remember(account, 1, "a", "main")
		cache.Remember(account, 1, "b", "phone")
	}
	cache.Drop(1)
	cache.Drop(9)
	for account := range uint64(3) {
		for _, password := range []string{"a", "b"} {
			if _, ok := cache.Lookup(account, 1, password); ok != (account != 1) {
				t.Errorf("account %d, %s: %v", account, password, ok)
			}
		}
	}
	if cache.Len() != 4 || len(cache.byAccount) != 2 {
		t.Errorf("%d entries of %d accounts", cache.Len(), len(cache.byAccount))
	}
}

func TestCacheIsBounded(t *testing.T) {
	cache := newCache(t, newClock(), 10)
	cache.Remember(1, 1, "used", "main")
	for i := range 100 {
		cache.Remember(2, 1, strconv.Itoa(i), "main")
		if _, ok := cache.Lookup(1, 1, "used"); !ok {
			t.Fatal("what is used went first")
		}
	}
	if cache.Len() != 10 || len(cache.byAccount[2]) != 9 {
		t.Errorf("%d entries", cache.Len())
	}
}

func TestCacheTimeStartsAtVerification(t *testing.T) {
	clk := newClock()
	cache := newCache(t, clk, 0)
	cache.Remember(1, 1, "a", "main")
	for range 4 {
		clk.pass(time.Minute)
		if _, ok := cache.Lookup(1, 1, "a"); !ok {
			t.Fatal("forgotten too early")
		}
	}
	clk.pass(time.Minute)
	if _, ok := cache.Lookup(1, 1, "a"); ok || cache.Len() != 0 {
		t.Error("use prolonged it")
	}
	cache.ttl = func() time.Duration { return 0 }
	cache.Remember(1, 1, "a", "main")
	if cache.Len() != 0 {
		t.Error("switched off, and remembers")
	}
}

func TestCacheKeysDiffer(t *testing.T) {
	a, b := newCache(t, newClock(), 0), newCache(t, newClock(), 0)
	if a.digest(1, 1, "x") == b.digest(1, 1, "x") {
		t.Error("two processes make the same digest")
	}
}

func TestCacheConcurrently(t *testing.T) {
	cache := newCache(t, newClock(), 50)
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			for i := range 500 {
				p := fmt.Sprint(i % 20)
				cache.Remember(g%3, 1, p, "main")
				cache.Lookup(g%3, 1, p)
				if i%50 == 0 {
					cache.Drop(g % 3)
				}
			}
		})
	}
	wg.Wait()
	cache.mu.Lock()
	defer cache.mu.Unlock()
	n := 0
	for _, of := range cache.byAccount {
		n += len(of)
	}
	if n != len(cache.entries) || n != cache.recent.Len() || n > 50 {
		t.Errorf("%d by account, %d entries, %d in order", n, len(cache.entries), cache.recent.Len())
	}
}

func TestShorterMemoryHoldsAtOnce(t *testing.T) {
	ttl, now := time.Hour, time.Unix(1000, 0)
	c, err := NewVerifiedCache(CacheConfig{TTL: func() time.Duration { return ttl }, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c.Remember(1, 1, "secret", "password")
	now = now.Add(time.Minute)
	if _, ok := c.Lookup(1, 1, "secret"); !ok {
		t.Error("forgotten within its time")
	}
	ttl = 0
	if _, ok := c.Lookup(1, 1, "secret"); ok {
		t.Error("remembered though the memory was switched off")
	}
}
