package sasl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// BatchKind is the kind of the batches of failed logins (tally.Kind). Their entries: the key of a counter and the tenths of failures to add.
const BatchKind = 1

const (
	batchEntryBytes = 16 + 2
	resetMark       = math.MaxUint16
)

// ErrBatch: a batch of another node cannot be read.
var ErrBatch = errors.New("malformed batch of failed logins")

// tell notes for Export what happened here; it needs t.mu.
func (t *Throttle) tell(k throttleKey, c *counter, weight float64) {
	tenths := uint16(math.Round(weight * 10))
	switch {
	case c.unsent == resetMark:
		c.unsent = tenths // the success is lost on the others: their counts only fade later
	default:
		c.unsent = min(c.unsent+tenths, maxScore*10)
	}
	t.dirty[k] = struct{}{}
}

// Export returns the failures of this node that were not exported yet, as a batch of at most maxBytes for the other nodes, or nil when there
// is nothing to tell. What does not fit comes with the next call. A batch may be lost: the other nodes then count less.
func (t *Throttle) Export(maxBytes int) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	room := min(t.exchange.Room(maxBytes), len(t.dirty))
	if room < 1 {
		return nil
	}
	b := t.exchange.Begin(room)
	for k := range t.dirty {
		if room--; room < 0 {
			break
		}
		c := t.entries[k]
		b = append(b, k[:]...)
		b = binary.BigEndian.AppendUint16(b, c.unsent)
		c.unsent = 0
		delete(t.dirty, k)
		t.forgetIdle(k, c)
	}
	return b
}

// Import adds the counts of another node's batch. One that arrives twice counts once; one of this node's own is ignored. Errors wrap
// ErrBatch.
func (t *Throttle) Import(batch []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries, err := t.exchange.Take(batch)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBatch, err)
	}
	for now := t.now(); len(entries) > 0; entries = entries[batchEntryBytes:] {
		t.merge(throttleKey(entries[:16]), binary.BigEndian.Uint16(entries[16:]), now)
	}
	return nil
}

// merge needs t.mu.
func (t *Throttle) merge(k throttleKey, tenths uint16, now time.Time) {
	if tenths != resetMark {
		t.entry(k, now).add(min(float64(tenths)/10, maxScore), now)
		return
	}
	if c := t.entries[k]; c != nil {
		c.score = 0
		t.forgetIdle(k, c)
	}
}
