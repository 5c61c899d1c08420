package sasl

import (
	"context"
	"testing"
	"time"
)

// BenchmarkLogin compares a password that was verified lately with one that was not: the cache is what lets clients log in often.
func BenchmarkLogin(b *testing.B) {
	h, err := NewHasher(HasherConfig{})
	if err != nil {
		b.Fatal(err)
	}
	stored, err := h.Hash(context.Background(), "right")
	if err != nil {
		b.Fatal(err)
	}
	cache, err := NewVerifiedCache(CacheConfig{Now: time.Now, TTL: func() time.Duration { return time.Hour }})
	if err != nil {
		b.Fatal(err)
	}
	throttle, err := NewThrottle(ThrottleConfig{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("remembered", func(b *testing.B) {
		cache.Remember(1, 1, "right", "main")
		for b.Loop() {
			a, wait := throttle.Try(home, "an@example.test")
			if wait > 0 {
				b.Fatal(wait)
			}
			if _, ok := cache.Lookup(1, 1, "right"); !ok {
				b.Fatal("forgotten")
			}
			a.Succeeded()
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
	})
	b.Run("hashed", func(b *testing.B) {
		for b.Loop() {
			if ok, err := h.Verify(context.Background(), stored, "right"); err != nil || !ok {
				b.Fatal(ok, err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
	})
}
