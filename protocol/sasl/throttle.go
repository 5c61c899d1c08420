package sasl

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/quorumail/quorumail/protocol/tally"
)

// How failures turn into delays.
const (
	firstDelay   = time.Second // doubled with each further failure
	halfLife     = time.Hour   // of a failure's weight
	maxScore     = 1000        // so that what was heaped up decays within hours
	repeatWeight = 0.1         // of a password that failed here just before: a forgotten device, not a guess
	prefixFactor = 10          // an address may fail this many times more often over all accounts than for one
	maxInFlight  = 100         // tries of one address for one account at once
	fewInFlight  = 8           // the same, once one has failed
	remembered   = 3           // wrong passwords whose repetition is recognised
	evictSample  = 16
)

// ThrottleConfig says how failed logins are slowed.
type ThrottleConfig struct {
	// Free is how many failures for one account from one address prefix pass without a delay; asked for at each try. Nil: 10.
	Free func() int
	// MaxDelay bounds the delay; asked for at each try. Nil: 15 minutes.
	MaxDelay func() time.Duration
	// Entries is the most counters that are kept, 0: 131,072 (some 20 MiB). Over it, the lightest of a sample goes.
	Entries int
	// Now is the clock. Required.
	Now func() time.Time
}

// Throttle slows the guessing of passwords. It counts failures for each pair of address prefix (IPv4 /32, IPv6 /64) and account, and for
// each prefix over all accounts; a count beyond what is free delays the next try, twice as long each time, and fades with a half-life of an
// hour. The account alone is never counted: else a stranger could lock its owner out.
type Throttle struct {
	free     func() int
	maxDelay func() time.Duration
	limit    int
	now      func() time.Time
	key      []byte // of the digests of wrong passwords

	mu       sync.Mutex
	entries  map[throttleKey]*counter
	dirty    map[throttleKey]struct{} // what Export has to tell
	exchange *tally.Exchange
}

type throttleKey [16]byte

// counter is guarded by Throttle.mu.
type counter struct {
	score    float64   // failures, as of at
	at       time.Time // when score was right
	last     time.Time // the last failure
	inFlight int
	wrong    [remembered]uint64 // digests of passwords that failed, newest first
	unsent   uint16             // tenths of failures here that the other nodes do not know; resetMark for a success
}

// NewThrottle makes one without any counts.
func NewThrottle(cfg ThrottleConfig) (*Throttle, error) {
	if cfg.Now == nil {
		return nil, errors.New("sasl: a Throttle needs a clock")
	}
	if cfg.Free == nil {
		cfg.Free = func() int { return 10 }
	}
	if cfg.MaxDelay == nil {
		cfg.MaxDelay = func() time.Duration { return 15 * time.Minute }
	}
	if cfg.Entries <= 0 {
		cfg.Entries = 1 << 17
	}
	t := &Throttle{free: cfg.Free, maxDelay: cfg.MaxDelay, limit: cfg.Entries, now: cfg.Now, key: random(sha256.Size),
		entries: map[throttleKey]*counter{}, dirty: map[throttleKey]struct{}{}, exchange: tally.NewExchange(BatchKind, batchEntryBytes)}
	return t, nil
}

// Attempt is a try that was let through. Exactly one of its methods must be called when it is over.
type Attempt struct {
	t        *Throttle
	pair     throttleKey
	prefix   throttleKey
	noPrefix bool
	over     bool // guarded by t.mu
}

// Try asks whether this address may try a password for this account now. The account is named by what the client sent, in canonical form,
// whether there is such an account or not. If wait is not 0, the password must not be checked, and the client has to come back after that
// time at the earliest; there is no attempt then.
func (t *Throttle) Try(remote netip.Addr, account string) (attempt *Attempt, wait time.Duration) {
	a := &Attempt{t: t, noPrefix: remote.Unmap().IsLoopback()}
	p := prefixOf(remote)
	a.pair, a.prefix = keyOf('p', p, account), keyOf('a', p, "")
	free := t.free()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	pair := t.entries[a.pair]
	wait = t.wait(pair, now, free)
	if !a.noPrefix {
		wait = max(wait, t.wait(t.entries[a.prefix], now, free*prefixFactor))
	}
	if wait > 0 {
		return nil, wait
	}
	if pair != nil && (pair.inFlight >= maxInFlight || pair.inFlight >= fewInFlight && pair.now(now) >= 0.5) {
		return nil, firstDelay
	}
	t.entry(a.pair, now).inFlight++
	return a, 0
}

// wait needs t.mu.
func (t *Throttle) wait(c *counter, now time.Time, free int) time.Duration {
	if c == nil {
		return 0
	}
	excess := int(math.Round(c.now(now))) - free
	if excess < 0 {
		return 0
	}
	delay := t.maxDelay()
	if excess < 30 {
		delay = min(delay, firstDelay<<excess)
	}
	return max(0, c.last.Add(delay).Sub(now))
}

// now is the score at a time.
func (c *counter) now(now time.Time) float64 {
	age := now.Sub(c.at)
	if age <= 0 {
		return c.score
	}
	return c.score * math.Exp2(-age.Hours()/halfLife.Hours())
}

func (c *counter) add(weight float64, now time.Time) {
	c.score, c.at = min(c.now(now)+weight, maxScore), now
	c.last = now
}

// Failed ends the attempt: the password was wrong. A password that failed lately for the same pair weighs little, so that a device with an
// old password does not lock out its owner's others.
func (a *Attempt) Failed(password string) {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.over {
		return
	}
	now := t.now()
	c := t.finish(a, now)
	weight := 1.0
	if c.repeats(t.digest(password)) {
		weight = repeatWeight
	}
	c.add(weight, now)
	t.tell(a.pair, c, weight)
	if !a.noPrefix {
		p := t.entry(a.prefix, now)
		p.add(weight, now)
		t.tell(a.prefix, p, weight)
	}
}

// Succeeded ends the attempt: the password was right. The pair's failures are forgotten; the prefix's stay, or a guesser could clear them
// with an account of his own.
func (a *Attempt) Succeeded() {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.over {
		return
	}
	c := t.finish(a, t.now())
	known := c.score > 0
	c.score, c.wrong = 0, [remembered]uint64{}
	if known {
		c.unsent = resetMark
		t.dirty[a.pair] = struct{}{}
		return
	}
	t.forgetIdle(a.pair, c)
}

// Cancelled ends the attempt: the password was not checked.
func (a *Attempt) Cancelled() {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.over {
		return
	}
	t.forgetIdle(a.pair, t.finish(a, t.now()))
}

// finish needs t.mu.
func (t *Throttle) finish(a *Attempt, now time.Time) *counter {
	a.over = true
	c := t.entry(a.pair, now)
	c.inFlight = max(0, c.inFlight-1) // it was 0 only if a flood of others pushed the counter out
	return c
}

// forgetIdle needs t.mu. It keeps successful logins from filling the table.
func (t *Throttle) forgetIdle(k throttleKey, c *counter) {
	if c.inFlight == 0 && c.score == 0 && c.unsent == 0 {
		delete(t.entries, k)
	}
}

// entry finds or makes a counter; it needs t.mu.
func (t *Throttle) entry(k throttleKey, now time.Time) *counter {
	c := t.entries[k]
	if c == nil {
		if len(t.entries) >= t.limit {
			t.evict(now)
		}
		c = &counter{at: now}
		t.entries[k] = c
	}
	return c
}

// evict drops the lightest of a few counters, in the random order of a map: a flood from many addresses pushes out mostly itself.
func (t *Throttle) evict(now time.Time) {
	var victim throttleKey
	least, n := math.Inf(1), 0
	for k, c := range t.entries {
		if s := c.now(now) + float64(c.inFlight); s < least {
			victim, least = k, s
		}
		if n++; n == evictSample {
			break
		}
	}
	delete(t.entries, victim)
	delete(t.dirty, victim)
}

// repeats tells whether the password failed before, and notes it.
func (c *counter) repeats(d uint64) bool {
	for i, w := range c.wrong {
		if w == d {
			return true
		}
		if i == remembered-1 {
			copy(c.wrong[1:], c.wrong[:])
			c.wrong[0] = d
		}
	}
	return false
}

func (t *Throttle) digest(password string) uint64 {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(password))
	return binary.BigEndian.Uint64(m.Sum(nil)) | 1 // never 0, which is none
}

// Len is how many counters there are.
func (t *Throttle) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// prefixOf is what one subscriber has: an IPv4 address, or an IPv6 /64.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: what is not from the network shares one counter
	}
	return p
}

// keyOf has a fixed size whatever the client sent, and is the same on every node.
func keyOf(kind byte, p netip.Prefix, account string) (k throttleKey) {
	sum := sha256.Sum256([]byte(string(kind) + p.String() + "\x00" + account))
	copy(k[:], sum[:])
	return k
}
