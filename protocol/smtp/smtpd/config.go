package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Mode is what a listener is for.
type Mode int

const (
	// MX takes mail for local recipients from anyone (RFC 5321, port 25).
	MX Mode = iota + 1
	// Submission takes mail from users who log in, after STARTTLS (RFC 6409, port 587).
	Submission
	// Submissions is Submission under TLS from the first byte (RFC 8314, port 465).
	Submissions
	// LMTP takes mail from programs of this site, with one reply for each recipient (RFC 2033). It must not face strangers.
	LMTP
)

// String is the mode's name in logs and metrics.
func (m Mode) String() string {
	switch m {
	case MX:
		return "mx"
	case Submission:
		return "submission"
	case Submissions:
		return "submissions"
	case LMTP:
		return "lmtp"
	}
	return fmt.Sprintf("mode %d", int(m))
}

func (m Mode) submits() bool { return m == Submission || m == Submissions }

// Body takes a message's bytes while they arrive.
type Body interface {
	io.Writer
	// Abort drops what was written. It does nothing once the body was handed to AddMessage.
	Abort()
}

// Store takes messages.
type Store interface {
	// NewBody begins a body; store.ErrUnavailable or store.ErrNoSpace when this node cannot take one now.
	NewBody() (Body, error)
	// AddMessage ends the body and places the message. It returns when the command was applied on this node, or with an error of package
	// store, and does not wait on where the quorum is lost meanwhile. The result's Placed has an element for each target, in order.
	AddMessage(ctx context.Context, body Body, msg *storepb.AddMessage) (*storepb.Result, error)
	// Ready is nil, or says why this node takes no mail now (store.ErrUnavailable, store.ErrNoSpace).
	Ready() error
}

// SpoolRoom is what one message may take of a disk while it is judged.
type SpoolRoom interface {
	// Take finds room for n more bytes: store.ErrNoSpace or store.ErrUnavailable where there is none.
	Take(n int64) error
	// Release gives it back.
	Release()
}

// Identity is who logged in.
type Identity struct {
	Account store.AccountID
	Address string // the account's canonical address
}

// Auth answers for users.
type Auth interface {
	// Authenticate checks a password: store.ErrDenied (wrong, unknown, suspended or slowed down: never which) or store.ErrUnavailable.
	Authenticate(ctx context.Context, remote netip.Addr, user, password string) (Identity, error)
	// SCRAMParameters are what the user's SCRAM keys were made with: those of a user that there is not are made up, and always the same.
	SCRAMParameters(ctx context.Context, user string) (salt []byte, iterations int, err error)
	// FinishSCRAM ends a login; proves tells whether the client knows the password of these keys. Errors as Authenticate's.
	FinishSCRAM(ctx context.Context, remote netip.Addr, user string, proves func(sasl.SCRAM) bool) (Identity, error)
	// MaySendAs says whether mail of this account may name the address as its sender: its own addresses and those that lead to it.
	MaySendAs(ctx context.Context, account store.AccountID, address smtp.Address) (bool, error)
}

// Resolver finds the mailboxes behind an address.
type Resolver interface {
	// Resolve lists who gets the address's mail, those elsewhere and those whose account is suspended among them: store.ErrNotFound when the domain is of this site and the address is not,
	// ErrNotLocal when the domain is not of this site, store.ErrTooLarge when the address leads to more than the site's limit.
	Resolve(ctx context.Context, address smtp.Address) ([]state.Recipient, error)
	// Elsewhere is nil when mail may go to an address whose domain is not of this site. store.ErrUnavailable: that is not known now. Any other
	// error's text tells the client why that domain is refused.
	Elsewhere(ctx context.Context, address smtp.Address) error
	// Postmaster lists who gets mail to <postmaster> without a domain (RFC 5321 §4.5.1).
	Postmaster(ctx context.Context) ([]state.Recipient, error)
	// Room is store.ErrOverQuota when the account has no room for a message of that many bytes.
	Room(ctx context.Context, account store.AccountID, sizeBytes int64) error
}

// Rate bounds how much one client sends within a time, at all nodes together.
type Rate interface {
	// Room tells whether n more may come from this client now.
	Room(client string, n int) bool
	// Take counts n more. False: that would be too many, and they are not counted.
	Take(client string, n int) bool
}

// ErrNotLocal is Resolver's answer for an address whose domain is not of this site.
var ErrNotLocal = errors.New("not a domain of this site")

// Counts bound what clients can use of a listener. A zero field takes its default.
type Counts struct {
	Connections           int   // at once in all; 1,000. Over it: 421.
	ConnectionsPerAddress int   // at once from one IPv4 address or IPv6 /64, loopback excepted; 50. Over it: 421.
	MessageBytes          int64 // a message as the client sends it (RFC 1870); 50 MiB. Over it: 552.
	Recipients            int   // of one message; 1,000, never under 100 (RFC 5321 §4.5.3.1.8). Over it, or over state.MaxTargets mailboxes behind them: 452.
	Commands              int   // of a connection, RCPT excepted, since its last message; 1,000. Over it: 421.
	Errors                int   // 4xx and 5xx replies of a connection since its last message, before 421; 25
	Unrecognised          int   // commands of a connection before 421; 4
	FailedLogins          int   // of a connection before 421; 3
}

// Limits bound what clients can use, and how long they can take. A zero field takes its default.
type Limits struct {
	Counts
	HeaderBytes int           // of a submitted message's header; 1 MiB. Over it: 552.
	Hops        int           // Received fields of a message before it counts as looping; 50. Over it: 554.
	Command     time.Duration // to wait for a command, to its end (RFC 5321 §4.5.3.2.7); 5 min. Over it: 421.
	Data        time.Duration // to wait for the next bytes of a body (RFC 5321 §4.5.3.2.5); 3 min. Over it: 421.
	Message     time.Duration // for a whole body; 1 h. Over it: 421.
	Write       time.Duration // for a reply to leave; 1 min. Over it the connection is closed.
	Handshake   time.Duration // for TLS; 30 s. Over it the connection is closed.
	Session     time.Duration // for a whole connection, looked at between commands; 4 h. Over it: 421.
	Lookup      time.Duration // for a question to Auth or Resolver; 4 s. Over it: 451.
	Check       time.Duration // for Checks to judge a message; 10 s. Over it: it is taken, and judged later.
	Accept      time.Duration // for Store.AddMessage; 60 s. Over it: 451.
	Drain       time.Duration // for open transactions once Serve is cancelled; 10 s. Over it: 421, and over it once more the connection is closed.
}

// Config says how a listener behaves.
type Config struct {
	Mode     Mode
	Hostname string // in the greeting and in Received; required
	Node     string // this node's name, in Received; "" leaves it out

	// TLS enables STARTTLS, and is what Submissions speaks from the first byte unless the listener does so already. Nil: no TLS.
	TLS *tls.Config
	// AllowPlainAuth takes passwords from loopback clients without TLS.
	AllowPlainAuth bool

	Store    Store
	Resolver Resolver
	Auth     Auth // required for Submission and Submissions, unused otherwise

	// NewSummarizer makes what computes a message's summary from its bytes.
	NewSummarizer func() Summarizer

	// Checks judge each message; nil: none are made.
	Checks Checks
	// SpoolDir is where large messages lie while they are judged; "": the system's folder for temporary files.
	SpoolDir string
	// SpoolRoom is asked for the room that each of them takes there; nil: there is no bound.
	SpoolRoom func() SpoolRoom

	Limits Limits
	// Counts, when set, is asked with each connection, EHLO and MAIL in the place of those in Limits, so that they can follow settings. A zero field
	// takes its value from Limits.
	Counts func() Counts
	// TrustedNetworks are clients of MX that may send to any domain without a login, and whose messages are repaired rather than refused:
	// printers, monitoring. Asked for with each connection; nil: none.
	TrustedNetworks func() []netip.Prefix
	// QuotaGrace is how long mail for a full mailbox waits for room; nil, or 0: it is refused (452).
	QuotaGrace func() time.Duration
	// VerifyForUsers is whether VRFY tells users who logged in what it knows; nil: it does not.
	VerifyForUsers func() bool
	// GreetDelay is how long a stranger waits for the greeting of MX; one that does not wait is not served. Loopback and trusted networks do not
	// wait. Nil, or 0: nobody does.
	GreetDelay func() time.Duration
	// AccountRate counts the recipients of an account's messages, AddressRate the messages of strangers by their address. Over it: 450. Nil: no
	// limit.
	AccountRate, AddressRate Rate

	Metrics *Metrics         // nil: none
	Logger  *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now; the dates of messages, not deadlines
}

// counts are those that hold now.
func (c *Config) counts() Counts {
	if c.Counts == nil {
		return c.Limits.Counts
	}
	now := c.Counts()
	now.fill(c.Limits.Counts)
	return now
}

// Summarizer computes from a message's bytes what readers need often.
type Summarizer interface {
	io.Writer
	// Finish ends the message and returns the summary in its stored form.
	Finish() ([]byte, error)
}

func (c *Config) validate() error {
	switch {
	case c.Mode < MX || c.Mode > LMTP:
		return fmt.Errorf("smtpd: mode %d: %w", c.Mode, store.ErrInvalid)
	case c.Hostname == "":
		return fmt.Errorf("smtpd: no host name: %w", store.ErrInvalid)
	case c.Store == nil || c.Resolver == nil || c.NewSummarizer == nil:
		return fmt.Errorf("smtpd: Store, Resolver and NewSummarizer are required: %w", store.ErrInvalid)
	case c.Mode.submits() && c.Auth == nil:
		return fmt.Errorf("smtpd: %v needs Auth: %w", c.Mode, store.ErrInvalid)
	case c.Mode == Submission && c.TLS == nil && !c.AllowPlainAuth:
		return fmt.Errorf("smtpd: submission without TLS could take no login: %w", store.ErrInvalid)
	}
	return nil
}

func (c *Config) fill() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	c.Limits.fill()
}

func (l *Limits) fill() {
	l.Counts.fill(defaultCounts)
	or(&l.HeaderBytes, 1<<20)
	or(&l.Hops, 50)
	or(&l.Command, 5*time.Minute)
	or(&l.Data, 3*time.Minute)
	or(&l.Message, time.Hour)
	or(&l.Write, time.Minute)
	or(&l.Handshake, 30*time.Second)
	or(&l.Session, 4*time.Hour)
	or(&l.Lookup, 4*time.Second)
	or(&l.Check, 10*time.Second)
	or(&l.Accept, time.Minute)
	or(&l.Drain, 10*time.Second)
}

var defaultCounts = Counts{Connections: 1000, ConnectionsPerAddress: 50, MessageBytes: 50 << 20, Recipients: 1000, Commands: 1000, Errors: 25,
	Unrecognised: 4, FailedLogins: 3}

func (c *Counts) fill(from Counts) {
	or(&c.Connections, from.Connections)
	or(&c.ConnectionsPerAddress, from.ConnectionsPerAddress)
	or(&c.MessageBytes, from.MessageBytes)
	or(&c.Recipients, from.Recipients)
	c.Recipients = max(c.Recipients, 100) // RFC 5321 §4.5.3.1.8
	or(&c.Commands, from.Commands)
	or(&c.Errors, from.Errors)
	or(&c.Unrecognised, from.Unrecognised)
	or(&c.FailedLogins, from.FailedLogins)
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
