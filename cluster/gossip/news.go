package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// A message begins with its kind. News go on with the run of their sender and their number in it, 8 bytes each.
const (
	kindBeat = 'b'
	kindNews = 'n'

	newsHeadBytes = 1 + 8 + 8
	// MaxNewsBytes bounds one piece of news, so that it fits into one datagram.
	MaxNewsBytes = 1000
	// maxQueued bounds what waits to be sent; the oldest goes first.
	maxQueued = 256
	// maxSenders bounds the runs whose news are told apart.
	maxSenders = 256
)

// ErrTooLarge: the news have more than MaxNewsBytes.
var ErrTooLarge = errors.New("news larger than a datagram of the gossip may be")

// Tell spreads news to all nodes that are alive, this one excepted. They may be lost.
func (g *Gossip) Tell(news []byte) error {
	if len(news) > MaxNewsBytes {
		return fmt.Errorf("%d bytes: %w", len(news), ErrTooLarge)
	}
	g.mu.Lock()
	g.told++
	b := binary.BigEndian.AppendUint64([]byte{kindNews}, g.run)
	b = binary.BigEndian.AppendUint64(b, g.told)
	g.mu.Unlock()
	g.queue(broadcast{raw: append(b, news...)})
	return nil
}

func (g *Gossip) takeNews(raw []byte) {
	if len(raw) < newsHeadBytes || len(raw) > newsHeadBytes+MaxNewsBytes {
		return
	}
	run, number := binary.BigEndian.Uint64(raw[1:]), binary.BigEndian.Uint64(raw[9:])
	g.mu.Lock()
	first := run != g.run && g.senderOf(run).first(number)
	g.mu.Unlock()
	if !first {
		return
	}
	g.queue(broadcast{raw: raw}) // to those whom the sender did not reach
	g.cfg.Deliver(raw[newsHeadBytes:])
}

// senderOf needs g.mu.
func (g *Gossip) senderOf(run uint64) *window {
	w := g.senders[run]
	if w == nil {
		if len(g.senders) >= maxSenders {
			for old := range g.senders { // any: news of it that come twice would be delivered twice, no more
				delete(g.senders, old)
				break
			}
		}
		w = &window{}
		g.senders[run] = w
	}
	return w
}

// window knows which numbers of one sender came: the highest, and the 63 below it.
type window struct {
	top  uint64
	came uint64 // bit i: top-i
}

// first tells whether number is new, and notes it. What is too old to know counts as known.
func (w *window) first(number uint64) bool {
	switch {
	case number > w.top:
		w.came = w.came<<min(number-w.top, 64) | 1
		w.top = number
		return true
	case w.top-number >= 64 || w.came&(1<<(w.top-number)) != 0:
		return false
	}
	w.came |= 1 << (w.top - number)
	return true
}

// broadcast is a message on its way to all. A beat replaces the one before it.
type broadcast struct {
	of  string // whose beat it is; empty for news
	raw []byte
}

func (b broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(broadcast)
	return ok && b.of != "" && o.of == b.of
}
func (b broadcast) Message() []byte { return b.raw }
func (b broadcast) Finished()       {}

func (g *Gossip) queue(b broadcast) {
	g.out.QueueBroadcast(b)
	if g.out.NumQueued() > maxQueued {
		g.out.Prune(maxQueued)
	}
}
