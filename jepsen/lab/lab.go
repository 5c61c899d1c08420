package lab

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/quorumail/quorumail/jepsen/net"
)

// Clients is the name of the place where the clients are, for rules of the switch and for Address.
const Clients = "clients"

// MaxNodes is how many nodes a laboratory has at most, those that were added later among them.
const MaxNodes = 9

// MaxPlaces is how many places AddPlace makes at most. Their addresses begin at firstOther.
const (
	MaxPlaces  = 16
	firstOther = 110
)

// Namespaces says whether a laboratory uses network namespaces.
type Namespaces int

const (
	Auto   Namespaces = iota // if they can be made here
	Always                   // or New fails
	Never                    // loopback, without network faults
)

// Config says what a laboratory is like.
type Config struct {
	Nodes      int          // 1 to MaxNodes, at the start
	Namespaces Namespaces   // default: Auto
	Dir        string       // where loopback addresses are locked, shared by all laboratories of a machine. Default: in the folder for temporary files
	Seed       uint64       // of the switch
	Logger     *slog.Logger // default: none
}

// Lab is a laboratory. Its methods may be called at the same time.
type Lab struct {
	cfg    Config
	log    *slog.Logger
	prefix string      // of its namespaces' names; "" on loopback
	sw     *net.Switch // nil on loopback
	why    error       // why it is on loopback

	mu     sync.Mutex
	closed bool
	places map[string]*place
	nodes  []string
	others int            // places made by AddPlace
	undo   map[*undo]bool // what is limited or started, and must end before the places do
}

// New makes a laboratory. Close it.
func New(cfg Config) (*Lab, error) {
	if cfg.Nodes < 1 || cfg.Nodes > MaxNodes {
		return nil, fmt.Errorf("a laboratory has 1 to %d nodes, not %d", MaxNodes, cfg.Nodes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Lab{cfg: cfg, log: cfg.Logger.With("pkg", "jepsen/lab"), places: map[string]*place{}, undo: map[*undo]bool{}}
	if l.why = supported(cfg.Namespaces); l.why == nil {
		sweep(l.log)
		l.prefix = fmt.Sprintf("qj-%d-%04x-", os.Getpid(), rand.N(1<<16))
		l.sw = net.New(net.Config{Seed: cfg.Seed, Logger: cfg.Logger})
	} else if cfg.Namespaces == Always {
		return nil, l.why
	}
	if err := l.populate(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func supported(n Namespaces) error {
	if n == Never {
		return errors.New("namespaces are switched off")
	}
	return net.Supported()
}

func (l *Lab) populate() error {
	if err := l.addPlace(Clients, 100); err != nil {
		return err
	}
	for range l.cfg.Nodes {
		if _, err := l.Add(); err != nil {
			return err
		}
	}
	return nil
}

// Add makes a place for one more node, and tells its name. The rules of the switch do not touch it.
func (l *Lab) Add() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.nodes) == MaxNodes {
		return "", fmt.Errorf("a laboratory has at most %d nodes", MaxNodes)
	}
	number := len(l.nodes) + 1
	name := fmt.Sprint("n", number)
	if err := l.addPlaceLocked(name, byte(number)); err != nil {
		return "", err
	}
	l.nodes = append(l.nodes, name)
	return name, nil
}

// AddPlace makes a place for something that is no node, such as another site's mail server, under a name of its own.
func (l *Lab) AddPlace(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.others == MaxPlaces {
		return fmt.Errorf("a laboratory has at most %d places besides its nodes", MaxPlaces)
	}
	if err := l.addPlaceLocked(name, byte(firstOther+l.others)); err != nil {
		return err
	}
	l.others++
	return nil
}

// Names lists the nodes, in the order in which they were made.
func (l *Lab) Names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.nodes)
}

// Address is the IP address of a node, of Clients or of the name server; "" for what there is not.
func (l *Lab) Address(name string) string {
	p, err := l.place(name)
	if err != nil {
		return ""
	}
	return p.ip.String()
}

// Switch is what joins the places, or why there is none.
func (l *Lab) Switch() (*net.Switch, error) {
	if l.sw == nil {
		return nil, fmt.Errorf("the laboratory is on loopback: %w", l.why)
	}
	return l.sw, nil
}

// Close removes all that the laboratory made. Processes in it should have ended; those that have not are cut off for ever.
func (l *Lab) Close() error {
	l.mu.Lock()
	l.closed = true
	undos, places := l.undo, l.places
	l.undo, l.places, l.nodes = map[*undo]bool{}, map[string]*place{}, nil
	l.mu.Unlock()
	var errs []error
	for u := range undos {
		errs = append(errs, u.run())
	}
	if l.sw != nil {
		errs = append(errs, l.sw.Close())
	}
	for _, p := range places {
		errs = append(errs, p.remove())
	}
	return errors.Join(errs...)
}

// undo is something that must be taken back once, at the latest by Close.
type undo struct{ run func() error }

// owe notes what must be taken back. The answer does so; further calls answer as the first one did.
func (l *Lab) owe(back func() error) func() error {
	u := &undo{run: sync.OnceValue(back)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.undo[u] = true
	}
	return func() error {
		l.mu.Lock()
		delete(l.undo, u)
		l.mu.Unlock()
		return u.run()
	}
}

func (l *Lab) place(name string) (*place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.places[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("the laboratory has no %q", name)
}

func (l *Lab) addPlace(name string, number byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addPlaceLocked(name, number)
}

func (l *Lab) addPlaceLocked(name string, number byte) error {
	if l.closed {
		return fmt.Errorf("place %s: the laboratory is closed", name)
	}
	if l.places[name] != nil {
		return fmt.Errorf("place %s: there is one already", name)
	}
	var p *place
	var err error
	if l.sw != nil {
		p, err = joined(l.sw, name, l.prefix+name, netip.AddrFrom4([4]byte{10, 213, 0, number}))
	} else {
		p, err = loopback(l.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("place %s: %w", name, err)
	}
	l.places[name] = p
	return nil
}
