package sasl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// A batch: version, the sender's random number of this run, the batch's number, and for each counter its key and the tenths of failures
// to add.
const (
	batchVersion    = 1
	batchHeadBytes  = 1 + 8 + 8
	batchEntryBytes = 16 + 2
	maxBatchBytes   = 64 << 10
	maxOrigins      = 256
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
	room := (min(maxBytes, maxBatchBytes) - batchHeadBytes) / batchEntryBytes
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.dirty) == 0 || room < 1 {
		return nil
	}
	t.sent++
	b := append(make([]byte, 0, batchHeadBytes+min(room, len(t.dirty))*batchEntryBytes), batchVersion)
	b = append(b, t.origin[:]...)
	b = binary.BigEndian.AppendUint64(b, t.sent)
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
	n := len(batch) - batchHeadBytes
	if n < 0 || n%batchEntryBytes != 0 || len(batch) > maxBatchBytes {
		return fmt.Errorf("%w: %d bytes", ErrBatch, len(batch))
	}
	if batch[0] != batchVersion {
		return fmt.Errorf("%w: version %d", ErrBatch, batch[0])
	}
	origin := [8]byte(batch[1:9])
	number := binary.BigEndian.Uint64(batch[9:17])
	t.mu.Lock()
	defer t.mu.Unlock()
	if origin == t.origin || !t.window(origin).first(number) {
		return nil
	}
	now := t.now()
	for rest := batch[batchHeadBytes:]; len(rest) > 0; rest = rest[batchEntryBytes:] {
		t.merge(throttleKey(rest[:16]), binary.BigEndian.Uint16(rest[16:]), now)
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

// window knows which batches of one origin were taken: the highest number, and the 63 below it.
type window struct {
	top   uint64
	taken uint64 // bit i: top-i
}

// first tells whether number is new, and notes it. What is too old to know counts as taken.
func (w *window) first(number uint64) bool {
	switch {
	case number > w.top:
		w.taken = w.taken<<min(number-w.top, 64) | 1
		w.top = number
		return true
	case w.top-number >= 64 || w.taken&(1<<(w.top-number)) != 0:
		return false
	}
	w.taken |= 1 << (w.top - number)
	return true
}

// window needs t.mu.
func (t *Throttle) window(origin [8]byte) *window {
	w := t.seen[origin]
	if w == nil {
		if len(t.seen) >= maxOrigins {
			for old := range t.seen { // any: a batch of it that comes twice would count twice, no more
				delete(t.seen, old)
				break
			}
		}
		w = &window{}
		t.seen[origin] = w
	}
	return w
}
