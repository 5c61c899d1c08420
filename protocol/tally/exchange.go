package tally

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// A batch: its kind, the sender's random number of this run, the batch's number, and entries of one size.
const (
	headBytes  = 1 + 8 + 8
	maxBytes   = 64 << 10
	maxOrigins = 256
)

// ErrBatch: a batch of another node cannot be read.
var ErrBatch = errors.New("malformed batch of counts")

// Exchange numbers the batches of this node, and knows which of the others' were taken. It is not safe for concurrent use.
type Exchange struct {
	kind       byte
	entryBytes int
	origin     [8]byte
	sent       uint64              // number of the last batch
	seen       map[[8]byte]*window // batches of others
}

// NewExchange makes one for batches of a kind, whose entries have a size.
func NewExchange(kind byte, entryBytes int) *Exchange {
	x := &Exchange{kind: kind, entryBytes: entryBytes, seen: map[[8]byte]*window{}}
	_, _ = rand.Read(x.origin[:]) // never fails: it ends the process rather than return an error
	return x
}

// Kind is the kind of a batch; 0 for what is none.
func Kind(batch []byte) byte {
	if len(batch) < headBytes {
		return 0
	}
	return batch[0]
}

// Room is how many entries a batch of at most so many bytes holds.
func (x *Exchange) Room(limit int) int { return (min(limit, maxBytes) - headBytes) / x.entryBytes }

// Begin makes the head of the next batch, to which entries are appended.
func (x *Exchange) Begin(entries int) []byte {
	x.sent++
	b := append(make([]byte, 0, headBytes+entries*x.entryBytes), x.kind)
	b = append(b, x.origin[:]...)
	return binary.BigEndian.AppendUint64(b, x.sent)
}

// Take returns the entries of another node's batch; none for one that was taken before, and for one of this node's own. Errors wrap ErrBatch.
func (x *Exchange) Take(batch []byte) ([]byte, error) {
	n := len(batch) - headBytes
	if n < 0 || n%x.entryBytes != 0 || len(batch) > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrBatch, len(batch))
	}
	if batch[0] != x.kind {
		return nil, fmt.Errorf("%w: kind %d", ErrBatch, batch[0])
	}
	origin := [8]byte(batch[1:9])
	if origin == x.origin || !x.window(origin).first(binary.BigEndian.Uint64(batch[9:17])) {
		return nil, nil
	}
	return batch[headBytes:], nil
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

func (x *Exchange) window(origin [8]byte) *window {
	w := x.seen[origin]
	if w == nil {
		if len(x.seen) >= maxOrigins {
			for old := range x.seen { // any: a batch of it that comes twice would count twice, no more
				delete(x.seen, old)
				break
			}
		}
		w = &window{}
		x.seen[origin] = w
	}
	return w
}
