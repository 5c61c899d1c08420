package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Config is what a Client needs. Zero fields get their defaults.
type Config struct {
	// Hostname is what EHLO says: our name in the DNS, or an address literal. Required.
	Hostname string
	// LocalAddrs are the source addresses, at most one of each family; the system chooses where none is given.
	LocalAddrs []netip.Addr
	// Timeouts of the steps of a session.
	Timeouts Timeouts
	// Limits on what a session and the cache of connections take.
	Limits Limits
	// RootCAs are trusted under TLSVerify and TLSImplicit. Default: those of the system.
	RootCAs *x509.CertPool
	// Dial opens a connection; local is invalid if the system may choose. Default: a net.Dialer.
	Dial func(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error)
	// Logger gets one line for each transaction and for each host that failed. Default: none.
	Logger *slog.Logger
	// Metrics are counted in. Default: ones of its own.
	Metrics *Metrics
}

// Timeouts are those of RFC 5321 §4.5.3.2, and a few more. Each bounds a whole step, not a single read.
type Timeouts struct {
	Connect   time.Duration // of TCP. Default 30 s: a host that is up answers at once
	Handshake time.Duration // of TLS. Default 2 min
	Greeting  time.Duration // §4.5.3.2.1 and EHLO. Default 5 min
	Mail      time.Duration // §4.5.3.2.2, and commands that have no time of their own. Default 5 min
	Rcpt      time.Duration // §4.5.3.2.3. Default 5 min
	DataStart time.Duration // §4.5.3.2.4. Default 2 min
	DataBlock time.Duration // §4.5.3.2.5, for each write. Default 3 min
	DataEnd   time.Duration // §4.5.3.2.6. Default 10 min
	Quit      time.Duration // of the parting. Default 2 s: nothing depends on it
}

// Limits bound what is used.
type Limits struct {
	Recipients      int           // of one transaction. Default 100: every server takes that many (RFC 5321 §4.5.3.1.8)
	Addrs           int           // tried in one Deliver. Default 10
	IdleConnections int           // kept in all. Default 50; negative: none
	IdleTime        time.Duration // for which they are kept. Default 5 s
	Transactions    int           // of one connection. Default 100
	ReplyLines      int           // of one reply. Default 100
	ReplyLineBytes  int           // of one reply line. Default 4096; RFC 5321 §4.5.3.1.5 says 512
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (t *Timeouts) defaults() {
	orDefault(&t.Connect, 30*time.Second)
	orDefault(&t.Handshake, 2*time.Minute)
	orDefault(&t.Greeting, 5*time.Minute)
	orDefault(&t.Mail, 5*time.Minute)
	orDefault(&t.Rcpt, 5*time.Minute)
	orDefault(&t.DataStart, 2*time.Minute)
	orDefault(&t.DataBlock, 3*time.Minute)
	orDefault(&t.DataEnd, 10*time.Minute)
	orDefault(&t.Quit, 2*time.Second)
}

func (l *Limits) defaults() {
	orDefault(&l.Recipients, 100)
	orDefault(&l.Addrs, 10)
	orDefault(&l.IdleConnections, 50)
	orDefault(&l.IdleTime, 5*time.Second)
	orDefault(&l.Transactions, 100)
	orDefault(&l.ReplyLines, 100)
	orDefault(&l.ReplyLineBytes, 4096)
}

func (l *Limits) check() error {
	if l.Recipients < 1 || l.Addrs < 1 || l.Transactions < 1 || l.ReplyLines < 1 || l.ReplyLineBytes < 512 || l.IdleTime < 0 {
		return errors.New("a limit is too small")
	}
	return nil
}

// complete fills in defaults and refuses what cannot work.
func (c *Config) complete() error {
	if _, err := smtp.ParseDomain(c.Hostname); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	c.Timeouts.defaults()
	c.Limits.defaults()
	if err := c.Limits.check(); err != nil {
		return err
	}
	if err := checkLocal(c.LocalAddrs); err != nil {
		return err
	}
	if c.Dial == nil {
		c.Dial = dial
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	return nil
}

func checkLocal(addrs []netip.Addr) error {
	var four, six int
	for _, a := range addrs {
		switch {
		case !a.IsValid():
			return errors.New("source address: not valid")
		case a.Unmap().Is4():
			four++
		default:
			six++
		}
	}
	if four > 1 || six > 1 {
		return errors.New("source address: more than one of a family")
	}
	return nil
}

// localFor is the source address for a peer, invalid if the system may choose.
func (c *Config) localFor(to netip.Addr) netip.Addr {
	for _, a := range c.LocalAddrs {
		if a.Unmap().Is4() == to.Unmap().Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func dial(ctx context.Context, local netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, "tcp", to.String())
}
