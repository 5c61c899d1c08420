package net

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
)

// Config says how a Switch works.
type Config struct {
	Seed         uint64       // of all that is random; each link has a source of its own
	MTU          int          // bytes; default 9000: less work per byte than with 1500
	DelayedBytes int          // of frames that wait for their time, in all; what is more is dropped. Default 64 MiB
	Logger       *slog.Logger // default: none
}

// Switch joins namespaces. Its methods may be called at the same time.
type Switch struct {
	cfg     Config
	log     *slog.Logger
	late    *delayLine
	stop    chan struct{}
	running sync.WaitGroup

	// Readers hold it for reading while they pass one frame on, so that whoever holds it for writing knows that none is on its way.
	mu     sync.RWMutex
	closed bool
	ports  []*port
	byName map[string]*port
	byIP   map[ipv4]*port
	byMAC  map[hardware]*port
}

// port is an attached end.
type port struct {
	name  string
	index int // in Switch.ports
	at    hardware
	tap   *os.File
	out   []*path // to the others, by their index; guarded by Switch.mu
}

// path is a directed link.
type path struct {
	to       *port
	rules    []*active  // replaced under Switch.mu
	rng      *rand.Rand // belongs to the reader of the sender
	counters counters
}

// New makes a switch without ends. Close it.
func New(cfg Config) *Switch {
	if cfg.MTU == 0 {
		cfg.MTU = 9000
	}
	if cfg.DelayedBytes == 0 {
		cfg.DelayedBytes = 64 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Switch{cfg: cfg, log: cfg.Logger.With("pkg", "jepsen/net"), late: newDelayLine(cfg.DelayedBytes),
		stop: make(chan struct{}), byName: map[string]*port{}, byIP: map[ipv4]*port{}, byMAC: map[hardware]*port{}}
	s.running.Go(func() { s.late.run(s.stop, s.deliverLate) })
	return s
}

// Attach makes a device in a namespace, with an IPv4 address and the network that is reached through it, and joins it to the others.
func (s *Switch) Attach(name, nsPath string, addr netip.Prefix) error {
	if !addr.IsValid() || !addr.Addr().Is4() {
		return fmt.Errorf("attach %s: %v is no IPv4 address with its network", name, addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ip := addr.Addr().As4(); {
	case s.closed:
		return fmt.Errorf("attach %s: the switch is closed", name)
	case s.byName[name] != nil || s.byIP[ip] != nil:
		return fmt.Errorf("attach %s at %v: the name or the address is taken", name, addr)
	}
	tap, at, err := openTAP(nsPath, addr, s.cfg.MTU)
	if err != nil {
		return fmt.Errorf("attach %s: %w", name, err)
	}
	p := &port{name: name, index: len(s.ports), at: at, tap: tap}
	for _, other := range s.ports {
		other.out = append(other.out, s.newPath(other, p))
		p.out = append(p.out, s.newPath(p, other))
	}
	p.out = append(p.out, nil) // to itself: the kernel keeps that on lo
	s.ports = append(s.ports, p)
	s.byName[name], s.byIP[addr.Addr().As4()], s.byMAC[at] = p, p, p
	s.running.Go(func() { s.read(p) })
	return nil
}

func (s *Switch) newPath(from, to *port) *path {
	h := fnv.New64a()
	h.Write([]byte(from.name + "\x00" + to.name))
	return &path{to: to, rng: rand.New(rand.NewPCG(s.cfg.Seed, h.Sum64()))}
}

// Set replaces the rules of one link; none heals it.
func (s *Switch) Set(from, to string, rules ...Rule) error { return s.Apply(Plan{{from, to}: rules}) }

// Apply replaces the rules of the plan's links in one step, and leaves the others as they are. It does nothing when a link or a rule is
// wrong. When it returns, no frame passes by the rules of before.
func (s *Switch) Apply(p Plan) error { return s.change(p, false) }

// Replace is Apply, but heals all other links in the same step.
func (s *Switch) Replace(p Plan) error { return s.change(p, true) }

// Heal removes all rules. Frames that wait for their time still come.
func (s *Switch) Heal() {
	_ = s.change(nil, true) // only a plan with links can be wrong
}

func (s *Switch) change(p Plan, others bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for link, rules := range p {
		if s.path(link) == nil {
			return fmt.Errorf("link %s to %s: there is none", link.From, link.To)
		}
		for _, r := range rules {
			if err := r.validate(); err != nil {
				return fmt.Errorf("link %s to %s: %w", link.From, link.To, err)
			}
		}
	}
	if others {
		for _, from := range s.ports {
			for _, path := range from.out {
				if path != nil {
					path.rules = nil
				}
			}
		}
	}
	for link, rules := range p {
		s.path(link).rules = activate(rules)
	}
	return nil
}

// path finds a link, or nil. The caller holds mu.
func (s *Switch) path(l Link) *path {
	from, to := s.byName[l.From], s.byName[l.To]
	if from == nil || to == nil {
		return nil
	}
	return from.out[to.index]
}

// Close removes the devices, and ends what the switch runs. Frames that wait are lost. The namespaces stay.
func (s *Switch) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.tap.Close())
	}
	s.mu.Unlock()
	close(s.stop)
	s.running.Wait()
	return errors.Join(errs...)
}
