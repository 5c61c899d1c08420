package main

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// strangers bounds what is done for, and logged of, those who ask to join without an invite that is good. Who shows a good one that this
// node knows is not counted.
type strangers struct {
	mu    sync.Mutex
	tries map[netip.Prefix]*rate.Limiter // guarded by mu
}

// What one network may try: a person who mistypes is far below it.
const (
	strangerBurst = 10
	strangerEvery = 10 * time.Second
	maxStrangers  = 4096 // networks that are remembered
)

// errTooManyTries is no final word: the invite may be good, and only new.
var errTooManyTries = errors.New("too many nodes tried to join from your network with an invite that is not known: try again in a minute")

// allow counts a try.
func (s *strangers) allow(from net.Addr, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := networkOf(from)
	l := s.tries[key]
	if l == nil {
		if !s.room(now) {
			return false
		}
		l = rate.NewLimiter(rate.Every(strangerEvery), strangerBurst)
		s.tries[key] = l
	}
	return l.AllowN(now, 1)
}

// room forgets those that did nothing for so long that it makes no difference.
func (s *strangers) room(now time.Time) bool {
	if s.tries == nil {
		s.tries = map[netip.Prefix]*rate.Limiter{}
	}
	if len(s.tries) < maxStrangers {
		return true
	}
	for k, l := range s.tries {
		if l.TokensAt(now) >= strangerBurst {
			delete(s.tries, k)
		}
	}
	return len(s.tries) < maxStrangers
}

// networkOf is an IPv4 address, or the /64 of an IPv6 one, which one machine has for itself.
func networkOf(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{} // all that are no TCP addresses share one count
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return netip.PrefixFrom(ip, 32)
	}
	return netip.PrefixFrom(ip, 64).Masked()
}
