package sasl

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// CacheConfig says how much a VerifiedCache remembers.
type CacheConfig struct {
	// TTL is how long, from the verification on and not from the last use; asked for at each verification and at each use, so that it can
	// follow a setting: a shorter one holds at once for what is remembered already. 0 or less remembers nothing. Nil: 5 minutes.
	TTL func() time.Duration
	// Size is the most that is remembered, 0: 65,536 (some 12 MiB). Over it, the least recently used goes.
	Size int
	// Now is the clock. Required.
	Now func() time.Time
}

// VerifiedCache remembers which passwords were right, so that a client that logs in often does not cost a slow hash each time. It keeps no
// password: only a digest keyed with bytes that this process alone knows and never writes.
type VerifiedCache struct {
	ttl  func() time.Duration
	size int
	now  func() time.Time
	key  []byte

	mu        sync.Mutex
	entries   map[digest]*list.Element            // of *verified
	byAccount map[uint64]map[digest]*list.Element // no empty inner maps
	recent    *list.List                          // most recently used first
}

type digest [sha256.Size]byte

type verified struct {
	digest     digest
	account    uint64
	credential string
	at         time.Time // of the verification
}

// NewVerifiedCache makes an empty cache with a key of its own.
func NewVerifiedCache(cfg CacheConfig) (*VerifiedCache, error) {
	if cfg.Now == nil {
		return nil, errors.New("sasl: a VerifiedCache needs a clock")
	}
	if cfg.TTL == nil {
		cfg.TTL = func() time.Duration { return 5 * time.Minute }
	}
	if cfg.Size <= 0 {
		cfg.Size = 1 << 16
	}
	return &VerifiedCache{ttl: cfg.TTL, size: cfg.Size, now: cfg.Now, key: random(sha256.Size), entries: map[digest]*list.Element{},
		byAccount: map[uint64]map[digest]*list.Element{}, recent: list.New()}, nil
}

// Lookup tells whether this password was verified for this account lately, and which of its credentials it was. The generation is the
// account's number that grows with each change of its credentials: what was remembered under another one does not count, so that a change
// which this node has applied is in force even before Drop is called.
func (c *VerifiedCache) Lookup(account, generation uint64, password string) (credential string, ok bool) {
	d := c.digest(account, generation, password)
	ttl := c.ttl()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[d]
	if e == nil {
		return "", false
	}
	v := e.Value.(*verified)
	if c.now().Sub(v.at) >= ttl {
		c.remove(e)
		return "", false
	}
	c.recent.MoveToFront(e)
	return v.credential, true
}

// Remember notes that this password was right. The generation must be the one that was read together with the stored form that the password
// was verified against.
func (c *VerifiedCache) Remember(account, generation uint64, password, credential string) {
	ttl := c.ttl()
	if ttl <= 0 || len(password) > MaxPasswordBytes {
		return
	}
	d := c.digest(account, generation, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[d]; e != nil {
		c.remove(e)
	}
	for len(c.entries) >= c.size {
		c.remove(c.recent.Back())
	}
	e := c.recent.PushFront(&verified{digest: d, account: account, credential: credential, at: c.now()})
	c.entries[d] = e
	if c.byAccount[account] == nil {
		c.byAccount[account] = map[digest]*list.Element{}
	}
	c.byAccount[account][d] = e
}

// Drop forgets everything about an account: its credentials changed, or it was suspended or removed.
func (c *VerifiedCache) Drop(account uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.byAccount[account] {
		c.remove(e)
	}
}

// Len is how much is remembered now, expired or not.
func (c *VerifiedCache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// remove needs c.mu.
func (c *VerifiedCache) remove(e *list.Element) {
	v := c.recent.Remove(e).(*verified)
	delete(c.entries, v.digest)
	of := c.byAccount[v.account]
	delete(of, v.digest)
	if len(of) == 0 {
		delete(c.byAccount, v.account)
	}
}

// digest: the numbers have fixed lengths, so that no two inputs run together.
func (c *VerifiedCache) digest(account, generation uint64, password string) (d digest) {
	m := hmac.New(sha256.New, c.key)
	var head [16]byte
	binary.BigEndian.PutUint64(head[:8], account)
	binary.BigEndian.PutUint64(head[8:], generation)
	m.Write(head[:])
	m.Write([]byte(password))
	m.Sum(d[:0])
	return d
}
