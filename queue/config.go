package queue

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Store is this node's copy of the state; *replica.Replica is one, but for the types of bodies.
type Store interface {
	// Propose carries out a command; errors are those of package store.
	Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error)
	View() *state.View
	// OpenBody reads a message's bytes, wherever they are.
	OpenBody(ctx context.Context, id store.BodyID) (io.ReadCloser, error)
	// AddMessage takes a message whose bytes write writes; write may fail, and is called once.
	AddMessage(ctx context.Context, msg *storepb.AddMessage, write func(io.Writer) error) (*storepb.Result, error)
	// ReadBarrier returns when this node knows all that was acknowledged before.
	ReadBarrier(ctx context.Context) error
	// Ready is nil when this node has the quorum.
	Ready() error
}

// Sender hands messages to other systems.
type Sender interface {
	// Destination names what the mail for a domain is handed to: domains with the same one are tried, spared and served together. It does
	// not begin with a space, may change at any time, and is asked often.
	Destination(domain string) string
	// Send hands one message on to recipients, of one destination when they were chosen, and says for each what became of it. It ends
	// soon after ctx does.
	Send(ctx context.Context, m *Message, recipients []*storepb.QueueEntry) []Outcome
}

// Message is a message to be sent.
type Message struct {
	*storepb.QueueMessage
	// Summary is what package mime made of it.
	Summary []byte
	// Open reads its bytes as they are stored. It may be called more than once.
	Open func(context.Context) (io.ReadCloser, error)
}

// Resolver finds who gets the mail of an address.
type Resolver interface {
	// Resolve lists the mailboxes and addresses behind an address of this site. local is false when its domain is of another.
	// store.ErrNotFound: the domain is of this site and the address is not.
	Resolve(ctx context.Context, address smtp.Address) (boxes []state.Recipient, local bool, err error)
	// Postmaster lists who gets mail that only a human can deal with.
	Postmaster(ctx context.Context) ([]state.Recipient, error)
}

// Judge checks messages that were taken before their checks were done.
type Judge interface {
	Judge(ctx context.Context, m *Message, recipients []*storepb.QueueEntry) (Verdict, error)
}

// Verdict is what the checks say. The zero value: take it.
type Verdict struct {
	Reject, Tempfail, Hold bool
	Headers                []string // complete fields to put on top
	Reason                 string   // for people
}

// Cluster tells of the other nodes.
type Cluster interface {
	// IsLeader tells whether this node leads, as far as it knows.
	IsLeader() bool
	// Workers are the members that can work on queues now. One that is not among them for TakeOver loses its entries.
	Workers() []store.ServerID
	// Running tells whether a member's process runs, as far as this node knows, though it may not be able to work.
	Running(id store.ServerID) bool
}

// NoticeWriter writes the notice (RFC 3464) that a sender gets.
type NoticeWriter interface {
	// Write writes the whole notice, header and all.
	Write(ctx context.Context, w io.Writer, n Notice) error
}

// Notice is what a sender is to be told of recipients of one message, all of the same kind.
type Notice struct {
	ID         string // its own Message-ID's left side
	Kind       store.Notice
	To         string // who is told: the sender, or a postmaster
	Postmaster bool   // the sender cannot be told
	Message    *Message
	Recipients []*storepb.QueueEntry
	RetryUntil time.Time // of a delayed message
	Now        time.Time
}

// Config says what a Manager works with. Fields without a default are required.
type Config struct {
	Self     store.ServerID
	Store    Store
	Sender   Sender
	Resolver Resolver
	Judge    Judge // nil: nothing is checked here
	Cluster  Cluster
	Notices  NoticeWriter

	// Policy is asked for each decision, so that it can follow settings. Nil: the defaults.
	Policy func() Policy
	// Jobs at once; default 100.
	Jobs int
	// PerDestination is how many of them may be for one of Sender's destinations; it is asked for again and again. Nil: 20.
	PerDestination func() int
	// InMemory is how many due entries are in memory at most; default 10,000.
	InMemory int
	// Attempt is how long one may take; default 30 min. Finish is how long the end waits for what is under way; default 10 s.
	Attempt time.Duration
	Finish  time.Duration
	// TakeOver is how long an owner must be unable to work before its entries go to others; default 3 s.
	TakeOver time.Duration

	Metrics *Metrics         // nil: none
	Logger  *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
}

func (c Config) withDefaults() (Config, error) {
	if c.Self == "" || c.Store == nil || c.Sender == nil || c.Resolver == nil || c.Cluster == nil || c.Notices == nil {
		return c, fmt.Errorf("queue: a required field is not set: %w", store.ErrInvalid)
	}
	if c.Policy == nil {
		c.Policy = func() Policy { return Policy{} }
	}
	or(&c.Jobs, 100)
	if c.PerDestination == nil {
		c.PerDestination = func() int { return 20 }
	}
	or(&c.InMemory, 10_000)
	or(&c.Attempt, 30*time.Minute)
	or(&c.Finish, 10*time.Second)
	or(&c.TakeOver, 3*time.Second)
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("pkg", "queue")
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
