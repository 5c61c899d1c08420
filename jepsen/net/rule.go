package net

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Rule is what happens to the frames of one directed link. The zero Rule does nothing.
type Rule struct {
	// Ports limits the rule to TCP and UDP packets with one of these ports at either end; empty: all frames. Fragments after a packet's
	// first one carry no ports and fit only rules without any.
	Ports []uint16

	Cut       bool    // nothing passes
	Loss      float64 // the share of frames that vanish, 0 to 1
	Duplicate float64 // the share of frames that arrive twice
	Corrupt   float64 // the share of frames that arrive with one bit flipped, behind the Ethernet header

	Delay   time.Duration // of every frame
	Jitter  time.Duration // as much more at most, evenly distributed
	Reorder bool          // frames overtake each other when their jitter says so; otherwise they stay in order

	// BytesPerSecond is the rate; 0: no limit. What comes faster waits in a queue of QueueBytes (0: what passes in 250 ms, at least 64 KiB),
	// and is dropped when that is full.
	BytesPerSecond int
	QueueBytes     int
}

// defaultQueue is how long a frame waits at most in front of a rate, unless the rule says how many bytes.
const defaultQueue = 250 * time.Millisecond

func (r Rule) validate() error {
	for _, p := range []float64{r.Loss, r.Duplicate, r.Corrupt} {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("a share of %v is not between 0 and 1", p)
		}
	}
	switch {
	case r.Delay < 0 || r.Jitter < 0 || r.BytesPerSecond < 0 || r.QueueBytes < 0:
		return errors.New("a delay, rate or queue below 0")
	case r.Reorder && r.Jitter == 0:
		return errors.New("reordering needs jitter")
	case r.QueueBytes > 0 && r.BytesPerSecond == 0:
		return errors.New("a queue needs a rate")
	case slices.Contains(r.Ports, 0):
		return errors.New("there is no port 0")
	}
	return nil
}

// active is a rule in force. Its state belongs to the reader of the link's sender.
type active struct {
	Rule
	queue time.Duration // how long a frame waits at most for the rate
	idle  time.Time     // when the rate has let all earlier frames pass
	last  time.Time     // when the latest frame so far leaves
}

func activate(rules []Rule) []*active {
	var list []*active
	for _, r := range rules {
		a := &active{Rule: r}
		a.Ports = slices.Clone(r.Ports)
		if r.BytesPerSecond > 0 {
			bytes := r.QueueBytes
			if bytes == 0 {
				bytes = max(64<<10, int(defaultQueue.Seconds()*float64(r.BytesPerSecond)))
			}
			a.queue = r.time(bytes)
		}
		list = append(list, a)
	}
	return list
}

// time is how long a number of bytes takes at the rule's rate.
func (r Rule) time(bytes int) time.Duration {
	return time.Duration(float64(bytes) / float64(r.BytesPerSecond) * float64(time.Second))
}

func (r Rule) fits(f flow) bool {
	return len(r.Ports) == 0 || f.ports && (slices.Contains(r.Ports, f.source) || slices.Contains(r.Ports, f.destination))
}

// verdict is what becomes of a frame.
type verdict struct {
	drop    bool
	copies  int // besides the frame itself
	corrupt bool
	at      time.Time
}

// judge lets the rule act on a frame that fits it.
func (a *active) judge(v *verdict, bytes int, rng *rand.Rand) {
	if a.Cut || chance(rng, a.Loss) {
		v.drop = true
		return
	}
	if chance(rng, a.Duplicate) {
		v.copies++
	}
	v.corrupt = v.corrupt || chance(rng, a.Corrupt)
	if a.BytesPerSecond > 0 {
		begin := later(v.at, a.idle)
		if begin.Sub(v.at) > a.queue {
			v.drop = true
			return
		}
		a.idle = begin.Add(a.time(bytes))
		v.at = a.idle
	}
	v.at = v.at.Add(a.Delay)
	if a.Jitter > 0 {
		v.at = v.at.Add(time.Duration(rng.Int64N(int64(a.Jitter) + 1)))
	}
	if !a.Reorder {
		v.at = later(v.at, a.last)
	}
	a.last = later(v.at, a.last)
}

func chance(rng *rand.Rand, p float64) bool { return p > 0 && rng.Float64() < p }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
