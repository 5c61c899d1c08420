package net

import "sync/atomic"

// Counters is what happened on a directed link so far.
type Counters struct {
	Forwarded  uint64 // frames that reached the receiver, copies among them
	Bytes      uint64 // of these, with their Ethernet headers
	Dropped    uint64 // frames that were cut, lost, or had no room
	Delayed    uint64 // frames that waited
	Duplicated uint64 // copies made
	Corrupted  uint64 // frames with a flipped bit
}

type counters struct{ forwarded, bytes, dropped, delayed, duplicated, corrupted atomic.Uint64 }

// Counters tells what happened on each link.
func (s *Switch) Counters() map[Link]Counters {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := map[Link]Counters{}
	for _, from := range s.ports {
		for _, p := range from.out {
			if p != nil {
				c := &p.counters
				all[Link{from.name, p.to.name}] = Counters{Forwarded: c.forwarded.Load(), Bytes: c.bytes.Load(), Dropped: c.dropped.Load(),
					Delayed: c.delayed.Load(), Duplicated: c.duplicated.Load(), Corrupted: c.corrupted.Load()}
			}
		}
	}
	return all
}
