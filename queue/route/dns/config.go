package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	miekg "github.com/miekg/dns"
)

// NoFile as a path in [Config] says that there is no such file to read.
const NoFile = "none"

// Config is what a [Client] needs. The zero value asks as the rest of the machine does.
type Config struct {
	Servers    []string // "192.0.2.1", "[2001:db8::1]:5353"; port 53 if none is given. Empty: those of ResolvConf.
	ResolvConf string   // read when Servers is empty, and again when it changes; default /etc/resolv.conf, or NoFile
	HostsFile  string   // read before the first question, and again when it changes; default /etc/hosts, or NoFile

	// Validating are those of the servers, written alike, that check DNSSEC and that are reached on a way on which nobody can change an
	// answer. The AD bit of any other is worth nothing (RFC 4035 §4.9.3). If there are any, only they are asked.
	Validating []string

	Timeout  time.Duration // of one try; default: what ResolvConf says, or 3 s
	Attempts int           // rounds through all servers; default: what ResolvConf says, or 2

	CacheEntries   int           // questions whose answers are kept; default 10,000
	CacheBytes     int           // of them as they were on the wire; in memory they are some times larger; default 8 MiB
	MinTTL         time.Duration // no answer is kept for less; default 0: as its owner says
	MaxTTL         time.Duration // no answer is kept for longer; default a day
	MaxNegativeTTL time.Duration // no absence is kept for longer; default 15 minutes, so that a mistake that was put right is soon seen

	Logger    *slog.Logger     // default: none
	Metrics   *Metrics         // default: counters that nobody reads
	Now       func() time.Time // for the cache; default time.Now
	Transport Transport        // default: UDP and TCP
}

// Transport carries one question to a server and brings what it answers, whatever that says. It returns only an answer to this question: the
// same ID and the same question section.
type Transport interface {
	// Exchange ends, at the latest, when ctx does; ctx has a deadline. tcp asks for a transport that does not truncate.
	Exchange(ctx context.Context, server netip.AddrPort, query *miekg.Msg, tcp bool) (*miekg.Msg, error)
}

const (
	defaultTimeout  = 3 * time.Second
	defaultAttempts = 2
)

func (c Config) withDefaults() Config {
	orElse(&c.ResolvConf, "/etc/resolv.conf")
	orElse(&c.HostsFile, "/etc/hosts")
	orElse(&c.CacheEntries, 10_000)
	orElse(&c.CacheBytes, 8<<20)
	orElse(&c.MaxTTL, 24*time.Hour)
	orElse(&c.MaxNegativeTTL, 15*time.Minute)
	orElse(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = wire{}
	}
	return c
}

func orElse[T comparable](value *T, otherwise T) {
	var none T
	if *value == none {
		*value = otherwise
	}
}

func (c Config) validate() error {
	switch {
	case c.Timeout < 0, c.Attempts < 0, c.CacheEntries < 0, c.CacheBytes < 0, c.MinTTL < 0, c.MaxTTL < 0, c.MaxNegativeTTL < 0:
		return errors.New("dns: a negative limit")
	case c.MinTTL > c.MaxTTL:
		return fmt.Errorf("dns: MinTTL %v is more than MaxTTL %v", c.MinTTL, c.MaxTTL)
	case len(c.Servers) == 0 && c.ResolvConf == NoFile:
		return errors.New("dns: neither Servers nor ResolvConf")
	}
	return nil
}

// parseServer reads an address with or without a port.
func parseServer(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	server, err := netip.ParseAddrPort(s)
	if err != nil || server.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("dns: server %q, expected an address with or without a port", s)
	}
	return server, nil
}

func parseServers(list []string) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	for _, s := range list {
		server, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}
