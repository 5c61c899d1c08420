package main

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestStrangersAreCountedByTheirNetwork(t *testing.T) {
	var s strangers
	now := time.Unix(1, 0)
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4000} }
	for range strangerBurst {
		if !s.allow(at("2001:db8::1"), now) {
			t.Fatal("too few tries")
		}
	}
	for ip, want := range map[string]bool{"2001:db8::1": false, "2001:db8::2": false, "2001:db8:0:1::1": true, "192.0.2.1": true} {
		if got := s.allow(at(ip), now); got != want {
			t.Errorf("%s may try: %v", ip, got)
		}
	}
	if now = now.Add(strangerEvery); !s.allow(at("2001:db8::1"), now) || s.allow(at("2001:db8::1"), now) {
		t.Error("one more after some time, and not two")
	}
}

func TestStrangersTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	var s strangers
	now := time.Unix(1, 0)
	ip := netip.MustParseAddr("10.0.0.0")
	next := func() net.Addr { ip = ip.Next(); return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 1)) }
	for range maxStrangers {
		if !s.allow(next(), now) {
			t.Fatal("there is room")
		}
	}
	if s.allow(next(), now) || len(s.tries) > maxStrangers {
		t.Errorf("%d are remembered", len(s.tries))
	}
	if !s.allow(next(), now.Add(strangerEvery)) || len(s.tries) != 1 {
		t.Errorf("of those that rested %d are remembered", len(s.tries))
	}
}
