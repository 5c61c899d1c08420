package net

import (
	"errors"
	"os"
	"slices"
	"time"
)

// maxFrame is more than any MTU and its header.
const maxFrame = 1 << 16

// read passes on what an end sends, until its device is closed.
func (s *Switch) read(p *port) {
	frame := make([]byte, maxFrame)
	for {
		n, err := p.tap.Read(frame)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				s.log.Warn("an end is gone", "node", p.name, "err", err)
			}
			return
		}
		s.forward(p, frame[:n])
	}
}

// forward passes on one frame. It does not keep it.
func (s *Switch) forward(from *port, frame []byte) {
	if len(frame) < ethernetHeader {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if etherType(frame) != etherIPv4 {
		s.answerARP(from, frame)
		return
	}
	to := s.byMAC[hardware(frame)]
	if to == nil || to == from {
		return
	}
	path := from.out[to.index]
	if len(path.rules) == 0 {
		path.deliver(frame)
		return
	}
	s.judge(path, frame)
}

// answerARP tells an end where another is, whatever the rules.
func (s *Switch) answerARP(from *port, frame []byte) {
	ip, ok := wanted(frame)
	if !ok {
		return
	}
	// Its own address stays unanswered: that is how the kernel asks whether another has it.
	if to := s.byIP[ip]; to != nil && to != from {
		_, _ = from.tap.Write(answer(frame, to.at)) // it asks again
	}
}

// judge lets the rules of a link act on a frame.
func (s *Switch) judge(p *path, frame []byte) {
	now := time.Now()
	v := verdict{at: now}
	f := flowOf(frame)
	for _, r := range p.rules {
		if r.fits(f) {
			r.judge(&v, len(frame), p.rng)
		}
		if v.drop {
			p.counters.dropped.Add(1)
			return
		}
	}
	if v.corrupt {
		p.counters.corrupted.Add(1)
		corrupt(frame, p.rng)
	}
	p.counters.duplicated.Add(uint64(v.copies))
	if !v.at.After(now) {
		for range v.copies + 1 {
			p.deliver(frame)
		}
		return
	}
	kept := slices.Clone(frame)
	for range v.copies + 1 {
		p.counters.delayed.Add(1)
		if !s.late.add(&late{at: v.at, path: p, flow: f, frame: kept}) {
			p.counters.dropped.Add(1)
		}
	}
}

// deliverLate passes on a frame whose time has come, unless its link has been cut meanwhile.
func (s *Switch) deliverLate(l *late) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range l.path.rules {
		if r.Cut && r.fits(l.flow) {
			l.path.counters.dropped.Add(1)
			return
		}
	}
	l.path.deliver(l.frame)
}

// deliver hands a frame to the receiver's kernel.
func (p *path) deliver(frame []byte) {
	if _, err := p.to.tap.Write(frame); err != nil { // the device is being closed, or down
		p.counters.dropped.Add(1)
		return
	}
	p.counters.forwarded.Add(1)
	p.counters.bytes.Add(uint64(len(frame)))
}
