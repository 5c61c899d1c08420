package net

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// judged lets one rule act on frames of some size that come all at once, and answers with the verdicts.
func judged(r Rule, frames, bytes int) (list []verdict, start time.Time) {
	start = time.Unix(1_000_000_000, 0)
	rng := rand.New(rand.NewPCG(1, 1))
	a := activate([]Rule{r})[0]
	for range frames {
		v := verdict{at: start}
		a.judge(&v, bytes, rng)
		list = append(list, v)
	}
	return list, start
}

func TestShares(t *testing.T) {
	const frames = 10000
	list, _ := judged(Rule{Loss: 0.5, Duplicate: 0.25, Corrupt: 0.1}, frames, 100)
	var lost, twice, corrupt int
	for _, v := range list {
		switch {
		case v.drop:
			lost++
			continue
		case v.copies == 1:
			twice++
		}
		if v.corrupt {
			corrupt++
		}
	}
	for what, c := range map[string][2]int{"lost": {lost, frames / 2}, "doubled": {twice, frames / 8}, "corrupted": {corrupt, frames / 20}} {
		if c[0] < c[1]*9/10 || c[0] > c[1]*11/10 {
			t.Errorf("%d are %s, want about %d", c[0], what, c[1])
		}
	}
}

func TestJitterKeepsOrderUnlessToldNotTo(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		list, start := judged(Rule{Delay: time.Second, Jitter: time.Second, Reorder: reorder}, 1000, 100)
		overtaken := 0
		for i, v := range list {
			if d := v.at.Sub(start); v.drop || d < time.Second || d > 2*time.Second {
				t.Fatalf("frame %d: %+v", i, v)
			}
			if i > 0 && v.at.Before(list[i-1].at) {
				overtaken++
			}
		}
		if reorder != (overtaken > 0) {
			t.Errorf("reorder %v: %d overtook", reorder, overtaken)
		}
	}
}

func TestRateHasABoundedQueue(t *testing.T) {
	list, start := judged(Rule{BytesPerSecond: 1000, QueueBytes: 500}, 20, 100)
	passed := 0
	for i, v := range list {
		if v.drop {
			continue
		}
		passed++
		if want := start.Add(time.Duration(passed) * 100 * time.Millisecond); !v.at.Equal(want) {
			t.Errorf("frame %d passes at %v, want %v", i, v.at, want)
		}
	}
	if passed != 6 { // one on the wire, and five that wait
		t.Errorf("%d passed", passed)
	}
	if a := activate([]Rule{{BytesPerSecond: 1 << 20}})[0]; a.queue != defaultQueue {
		t.Errorf("a fast link queues %v", a.queue)
	}
	if a := activate([]Rule{{BytesPerSecond: 1 << 10}})[0]; a.queue != 64*time.Second {
		t.Errorf("a slow link queues %v", a.queue)
	}
}

func TestWrongRulesAreRefused(t *testing.T) {
	for _, r := range []Rule{{Loss: 1.1}, {Duplicate: -0.1}, {Delay: -1}, {BytesPerSecond: -1}, {Reorder: true}, {QueueBytes: 1}, {Ports: []uint16{0}}} {
		if r.validate() == nil {
			t.Errorf("%+v is fine", r)
		}
	}
	if err := (Rule{Loss: 1, Delay: 1, Jitter: 1, Reorder: true, BytesPerSecond: 1, QueueBytes: 1, Ports: []uint16{25}}).validate(); err != nil {
		t.Error(err)
	}
}

// packet makes an Ethernet frame with an IPv4 packet: its protocol, fragment offset, options in words, and ports.
func packet(protocol byte, fragment uint16, options int, source, destination uint16) []byte {
	header := 20 + 4*options
	f := make([]byte, ethernetHeader+header+8)
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	p := f[ethernetHeader:]
	p[0], p[9] = 0x40|byte(header/4), protocol
	binary.BigEndian.PutUint16(p[6:], fragment)
	binary.BigEndian.PutUint16(p[header:], source)
	binary.BigEndian.PutUint16(p[header+2:], destination)
	return f
}

func TestPortsOfFrames(t *testing.T) {
	arp := packet(protocolTCP, 0, 0, 7400, 1)
	binary.BigEndian.PutUint16(arp[12:], etherARP)
	for _, tc := range []struct {
		name  string
		frame []byte
		fits  bool
	}{
		{"tcp from", packet(protocolTCP, 0, 0, 7400, 1), true},
		{"udp to", packet(protocolUDP, 0, 0, 1, 7400), true},
		{"options", packet(protocolTCP, 0, 10, 1, 7400), true},
		{"first fragment", packet(protocolUDP, 0x2000, 0, 1, 7400), true},
		{"later fragment", packet(protocolUDP, 0x2001, 0, 1, 7400), false},
		{"another port", packet(protocolTCP, 0, 0, 1, 2), false},
		{"icmp", packet(1, 0, 0, 7400, 7400), false},
		{"arp", arp, false},
		{"cut short", packet(protocolTCP, 0, 0, 7400, 1)[:ethernetHeader+23], false},
		{"a bare header", make([]byte, ethernetHeader), false},
	} {
		f := flowOf(tc.frame)
		if got := (Rule{Ports: []uint16{25, 7400}}).fits(f); got != tc.fits {
			t.Errorf("%s: fits %v", tc.name, got)
		}
		if !(Rule{}).fits(f) {
			t.Errorf("%s does not fit a rule for all", tc.name)
		}
	}
}

func FuzzFlow(f *testing.F) {
	f.Add(packet(protocolTCP, 0, 10, 1, 7400))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		flowOf(frame)
		if _, ok := wanted(frame); ok && len(answer(frame, hardware{})) != arpLength {
			t.Error("an answer of another length")
		}
	})
}

func TestCorruptFlipsOneBit(t *testing.T) {
	frame := make([]byte, 100)
	corrupt(frame, rand.New(rand.NewPCG(1, 1)))
	ones := 0
	for i, b := range frame {
		for ; b > 0; b &= b - 1 {
			ones++
			if i < ethernetHeader {
				t.Error("in the Ethernet header")
			}
		}
	}
	if ones != 1 {
		t.Errorf("%d bits", ones)
	}
	corrupt(make([]byte, ethernetHeader), nil) // nothing to flip
}

func TestDelayLine(t *testing.T) {
	d := newDelayLine(300)
	now := time.Unix(1_000_000_000, 0)
	for i, after := range []time.Duration{3, 1, 1} {
		if !d.add(&late{at: now.Add(after), frame: make([]byte, 100), flow: flow{source: uint16(i)}}) {
			t.Fatal("no room")
		}
	}
	if d.add(&late{at: now, frame: make([]byte, 1)}) {
		t.Error("more than it holds")
	}
	if l, wait := d.next(now); l != nil || wait != 1 {
		t.Errorf("%v, %v", l, wait)
	}
	for _, want := range []uint16{1, 2, 0} {
		if l, _ := d.next(now.Add(3)); l == nil || l.flow.source != want {
			t.Errorf("%+v, want %d", l, want)
		}
	}
	if !d.add(&late{at: now, frame: make([]byte, 300)}) {
		t.Error("an empty line has no room")
	}
}
