package site

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Refused begins the local parts of addresses that there are not: they are answered with 550.
const Refused = "refused"

// Fault is how a site fails. The zero Fault is a site that is well.
type Fault struct {
	Down  bool          // connections end before a greeting
	Busy  bool          // every recipient is told to come again later, by 451
	Mute  float64       // the share of messages that are kept, and not answered: the connection ends instead
	Delay time.Duration // before the answer to a message
}

// Config says what a site is like. Fields without a default are required.
type Config struct {
	Name     string
	Listener net.Listener
	History  *history.Recorder
	// From names the node that an address belongs to, for the history; default: the address itself.
	From   func(ip string) string
	Seed   uint64       // of what is random in its faults
	Logger *slog.Logger // nil: none
}

// Site is another site's mail server. Its methods may be called from several goroutines.
type Site struct {
	cfg     Config
	server  *gosmtp.Server
	serving sync.WaitGroup
	stop    chan struct{}

	mu    sync.Mutex
	fault Fault
	rng   *rand.Rand
	watch func(from string)
}

const (
	// maxBytes is more than any workload sends.
	maxBytes = 16 << 20
	// idle bounds how long a session waits for the other side: it may have died without a word.
	idle = 2 * time.Minute
)

// Start begins to take mail. Close the site.
func Start(cfg Config) *Site {
	if cfg.From == nil {
		cfg.From = func(ip string) string { return ip }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Site{cfg: cfg, stop: make(chan struct{}), rng: rand.New(rand.NewPCG(cfg.Seed, 0))}
	s.server = gosmtp.NewServer(s)
	s.server.Domain = cfg.Name + ".invalid"
	s.server.EnableSMTPUTF8, s.server.EnableDSN = true, true
	s.server.MaxMessageBytes = maxBytes
	s.server.ReadTimeout, s.server.WriteTimeout = idle, idle
	s.server.ErrorLog = quiet{}
	s.serving.Go(func() {
		if err := s.server.Serve(&listener{cfg.Listener, s}); err != nil && !errors.Is(err, gosmtp.ErrServerClosed) {
			cfg.Logger.Error("serve", "pkg", "jepsen/site", "site", cfg.Name, "err", err)
		}
	})
	return s
}

// quiet drops what the library complains of: that connections break is what is wanted here.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// Close ends all sessions and the listener.
func (s *Site) Close() error {
	close(s.stop)
	err := s.server.Close()
	s.serving.Wait()
	if err != nil {
		return fmt.Errorf("close site %s: %w", s.cfg.Name, err)
	}
	return nil
}

// Name is the site's.
func (s *Site) Name() string { return s.cfg.Name }

// Fail makes it fail in this way from now on.
func (s *Site) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// OnTaken has f called once, with the name of the node that sent it, when the next message was taken and its 250 handed to the network. Nil
// takes that back. f must not wait for the site.
func (s *Site) OnTaken(f func(from string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = f
}

// taken tells who waits for it.
func (s *Site) taken(from string) {
	s.mu.Lock()
	f := s.watch
	s.watch = nil
	s.mu.Unlock()
	if f != nil {
		f(from)
	}
}

// now is how it fails at the moment, and whether this message gets no answer.
func (s *Site) now() (f Fault, mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, s.fault.Mute > 0 && s.rng.Float64() < s.fault.Mute
}
