package dns

import (
	"container/list"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// maxCachedBytes bounds one kept answer, as it is on the wire. Larger ones are rare, and are asked for each time.
const maxCachedBytes = 8 << 10

// cache keeps what servers said for as long as they allow. When it is full, the answer goes that was not asked for longest.
type cache struct {
	max      int
	maxBytes int
	now      func() time.Time

	mu sync.Mutex
	// Guarded by mu. Invariant: both have the same elements, at most max, of sizeBytes <= maxBytes in all.
	byQuestion map[question]*list.Element
	recent     *list.List // of *cached, the latest used in front
	sizeBytes  int
}

type cached struct {
	question question
	result   result
	expires  time.Time
}

func newCache(entries, bytes int, now func() time.Time) *cache {
	return &cache{max: entries, maxBytes: bytes, now: now, byQuestion: map[question]*list.Element{}, recent: list.New()}
}

// get finds an answer that still holds. Whoever gets it must not change it.
func (c *cache) get(q question) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byQuestion[q]
	if e == nil {
		return result{}, false
	}
	kept := e.Value.(*cached)
	if !c.now().Before(kept.expires) {
		c.drop(e)
		return result{}, false
	}
	c.recent.MoveToFront(e)
	return kept.result, true
}

func (c *cache) put(q question, r result, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byQuestion[q]; e != nil {
		c.drop(e)
	}
	c.byQuestion[q] = c.recent.PushFront(&cached{question: q, result: r, expires: c.now().Add(ttl)})
	c.sizeBytes += r.sizeBytes
	for c.recent.Len() > c.max || c.sizeBytes > c.maxBytes {
		c.drop(c.recent.Back())
	}
}

// drop wants mu.
func (c *cache) drop(e *list.Element) {
	gone := c.recent.Remove(e).(*cached)
	c.sizeBytes -= gone.result.sizeBytes
	delete(c.byQuestion, gone.question)
}

// keep puts an answer into the cache for as long as it may stay there.
func (d *Client) keep(q question, r result) {
	ttl := min(max(r.ttl, d.cfg.MinTTL), d.cfg.MaxTTL)
	if r.absent != nil {
		ttl = min(r.ttl, d.cfg.MaxNegativeTTL)
	}
	if ttl <= 0 || r.sizeBytes > maxCachedBytes {
		return
	}
	d.cache.put(q, r, ttl)
}

// lifetime is a TTL as the wire has it. RFC 2181 §8: with the highest bit set it is 0.
func lifetime(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// negativeTTL says how long an absence may be remembered. RFC 2308 §5: the lesser of the SOA's own TTL and its MINIMUM; without an SOA, not
// at all.
func negativeTTL(m *miekg.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*miekg.SOA); ok {
			return min(lifetime(soa.Hdr.Ttl), lifetime(soa.Minttl))
		}
	}
	return 0
}
