package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// cache holds the newest entries: Raft reads each again to send and to apply it. It is bounded by bytes too, for entries carry bodies.
// Invariant: it holds exactly the entries from first to next-1, at the place index mod len(ring).
type cache struct {
	mu       sync.RWMutex
	ring     []*raft.Log // guarded by mu
	first    uint64      // guarded by mu
	next     uint64      // guarded by mu
	bytes    int64       // guarded by mu
	maxBytes int64
}

func newCache(entries int, maxBytes int64) *cache {
	return &cache{ring: make([]*raft.Log, entries), maxBytes: maxBytes}
}

func (c *cache) at(index uint64) **raft.Log { return &c.ring[index%uint64(len(c.ring))] }

func (c *cache) get(index uint64, e *raft.Log) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if index < c.first || index >= c.next {
		return false
	}
	*e = **c.at(index)
	return true
}

func (c *cache) add(entries []*raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		if e.Index != c.next {
			c.clear()
			c.first, c.next = e.Index, e.Index
		}
		if c.next-c.first == uint64(len(c.ring)) {
			c.dropFirst()
		}
		*c.at(e.Index) = e
		c.next++
		c.bytes += int64(len(e.Data))
	}
	for c.bytes > c.maxBytes {
		c.dropFirst()
	}
}

func (c *cache) dropFirst() {
	e := c.at(c.first)
	c.bytes -= int64(len((*e).Data))
	*e = nil
	c.first++
}

func (c *cache) clear() {
	for c.first < c.next {
		c.dropFirst()
	}
}

// remove forgets entries that are being removed from the log. For those at the end it forgets all: that is rare.
func (c *cache) remove(first, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last+1 >= c.next {
		c.clear()
		return
	}
	for c.first < c.next && first <= c.first && c.first <= last {
		c.dropFirst()
	}
}
