package tally

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"
)

// keyBytes is the size of a key in a batch: a digest, so that it is the same whatever the client is called.
const keyBytes = 16

const (
	entryBytes  = keyBytes + 2
	evictSample = 16
)

// CounterConfig says how a Counter works.
type CounterConfig struct {
	Kind   byte          // of its batches
	Window time.Duration // the time that is looked at; the same on all nodes. Required
	// Entries is the most clients that are remembered, 0: 65,536 (some 10 MiB). Over it, the one with the least of a sample goes.
	Entries int
	Now     func() time.Time // the clock; required
}

// Counter counts events of each client within a window that slides: what happened in the window before fades evenly. It may be used by many at
// once.
type Counter struct {
	window time.Duration
	limit  int
	now    func() time.Time

	mu       sync.Mutex
	exchange *Exchange
	clients  map[key]*client
	dirty    map[key]struct{} // what Export has to tell
}

type key [keyBytes]byte

// client is guarded by Counter.mu.
type client struct {
	start    int64 // the window, counted from the epoch, that current belongs to
	current  int
	previous int
	unsent   uint16 // what the other nodes do not know
}

// NewCounter makes one without any counts.
func NewCounter(cfg CounterConfig) (*Counter, error) {
	if cfg.Now == nil || cfg.Window <= 0 {
		return nil, errors.New("tally: a Counter needs a clock and a window")
	}
	if cfg.Entries <= 0 {
		cfg.Entries = 1 << 16
	}
	return &Counter{window: cfg.Window, limit: cfg.Entries, now: cfg.Now, exchange: NewExchange(cfg.Kind, entryBytes), clients: map[key]*client{},
		dirty: map[key]struct{}{}}, nil
}

// Count is how many events of a client lie within the window.
func (c *Counter) Count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients[keyOf(name)].count(c.now(), c.window)
}

// Take adds n events of a client, unless there would be more than limit then: false.
func (c *Counter) Take(name string, n, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, now := keyOf(name), c.now()
	if c.clients[k].count(now, c.window)+n > limit {
		return false
	}
	v := c.add(k, n, now)
	v.unsent = uint16(min(int(v.unsent)+n, math.MaxUint16))
	c.dirty[k] = struct{}{}
	return true
}

// Export returns what happened at this node and was not exported yet, as a batch of at most maxBytes for the other nodes, or nil when there is
// nothing to tell. What does not fit comes with the next call.
func (c *Counter) Export(maxBytes int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := min(c.exchange.Room(maxBytes), len(c.dirty))
	if room < 1 {
		return nil
	}
	b := c.exchange.Begin(room)
	for k := range c.dirty {
		if room--; room < 0 {
			break
		}
		b = append(b, k[:]...)
		b = binary.BigEndian.AppendUint16(b, c.clients[k].unsent)
		c.clients[k].unsent = 0
		delete(c.dirty, k)
	}
	return b
}

// Import adds the counts of another node's batch. Errors wrap ErrBatch.
func (c *Counter) Import(batch []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := c.exchange.Take(batch)
	if err != nil {
		return err
	}
	for now := c.now(); len(entries) > 0; entries = entries[entryBytes:] {
		c.add(key(entries[:keyBytes]), int(binary.BigEndian.Uint16(entries[keyBytes:])), now)
	}
	return nil
}

// add needs c.mu.
func (c *Counter) add(k key, n int, now time.Time) *client {
	v := c.clients[k]
	if v == nil {
		if len(c.clients) >= c.limit {
			c.evict(now)
		}
		v = &client{}
		c.clients[k] = v
	}
	v.turn(now, c.window)
	v.current = min(v.current+n, math.MaxInt32)
	return v
}

// evict drops one of a few clients, in the random order of a map: a flood of new ones pushes out mostly itself. It needs c.mu.
func (c *Counter) evict(now time.Time) {
	var victim key
	least, n := math.MaxInt, 0
	for k, v := range c.clients {
		if s := v.count(now, c.window); s < least {
			victim, least = k, s
		}
		if n++; n == evictSample {
			break
		}
	}
	delete(c.clients, victim)
	delete(c.dirty, victim)
}

// turn goes on to the window of now. A clock that went back changes nothing.
func (v *client) turn(now time.Time, window time.Duration) {
	switch at := now.UnixNano() / int64(window); {
	case at <= v.start:
	case at == v.start+1:
		v.start, v.previous, v.current = at, v.current, 0
	default:
		v.start, v.previous, v.current = at, 0, 0
	}
}

// count takes of the window before what the sliding one still covers of it.
func (v *client) count(now time.Time, window time.Duration) int {
	if v == nil {
		return 0
	}
	w := *v
	w.turn(now, window)
	covered := 1 - float64(now.UnixNano()-w.start*int64(window))/float64(window)
	return w.current + int(math.Ceil(float64(w.previous)*min(max(covered, 0), 1)))
}

func keyOf(name string) (k key) {
	sum := sha256.Sum256([]byte(name))
	copy(k[:], sum[:])
	return k
}
