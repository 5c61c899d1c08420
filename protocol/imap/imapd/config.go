package imapd

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Store is the node's copy of the mail, and the way to change it. Its errors are those of package store.
type Store interface {
	// View is a consistent snapshot of the node's own state. It must be closed.
	View() View
	// ReadBarrier returns when this node has applied everything that was acknowledged anywhere before the call.
	ReadBarrier(ctx context.Context) error
	// Propose makes a change and returns when it is applied on this node, and does not wait on where the quorum is lost meanwhile.
	Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error)
	// NewBody begins a message body; store.ErrUnavailable or store.ErrNoSpace when this node cannot take one now.
	NewBody() (Body, error)
	// AddMessage ends the body and places the message. It returns when the command was applied on this node, and does not wait on where the
	// quorum is lost meanwhile.
	AddMessage(ctx context.Context, body Body, msg *storepb.AddMessage) (*storepb.Result, error)
	// OpenBody reads the raw bytes of a body, wherever in the cluster they are.
	OpenBody(ctx context.Context, id store.BodyID) (BodyReader, error)
	// Watch reports changes of a mailbox; mailbox 0: of the account's list of mailboxes.
	Watch(account store.AccountID, mailbox store.MailboxID) Watch
	// Ready is nil, or says why this node cannot work now: store.ErrUnavailable, or store.ErrNoSpace when it only takes no new mail.
	Ready() error
}

// View reads the state at one moment. Errors wrap store.ErrNotFound for what does not exist.
type View interface {
	// Mailboxes are the mailboxes of an account, in no promised order.
	Mailboxes(account store.AccountID) ([]*storepb.Mailbox, error)
	MailboxByName(account store.AccountID, name string) (*storepb.Mailbox, error)
	Mailbox(account store.AccountID, mailbox store.MailboxID) (*storepb.Mailbox, error)
	// Entry is a message of a mailbox.
	Entry(account store.AccountID, mailbox store.MailboxID, uid store.UID) (*storepb.Entry, error)
	// Entries calls f for the messages from a UID on, ascending, until f answers false. The entry is f's to keep.
	Entries(account store.AccountID, mailbox store.MailboxID, from store.UID, f func(store.UID, *storepb.Entry) bool) error
	// ChangesSince calls f for each message that was added, changed or expunged after a mod-sequence.
	ChangesSince(account store.AccountID, mailbox store.MailboxID, since store.ModSeq, f func(Change) bool) error
	// Email is the immutable part of a message.
	Email(id store.EmailID) (*storepb.Email, error)
	// Subscriptions are the names of the mailboxes to which an account is subscribed; they need not exist.
	Subscriptions(account store.AccountID) ([]string, error)
	Close()
}

// Change is the last change of a message.
type Change struct {
	UID      store.UID
	ModSeq   store.ModSeq
	Expunged bool
}

// Body takes a message's bytes while they arrive.
type Body interface {
	io.Writer
	// Abort drops what was written. It does nothing once the body was handed to AddMessage.
	Abort()
}

// BodyReader gives the raw bytes of a body.
type BodyReader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Watch reports changes.
type Watch interface {
	// C receives after changes; several of them may be reported as one.
	C() <-chan struct{}
	Close()
}

// Identity is who logged in.
type Identity struct {
	Account store.AccountID
	Address string // the account's canonical address
}

// Auth checks passwords.
type Auth interface {
	// Authenticate answers store.ErrDenied (wrong, unknown, suspended or slowed down: never which) or store.ErrUnavailable.
	Authenticate(ctx context.Context, remote netip.Addr, user, password string) (Identity, error)
}

// AuthFunc makes an Auth of a function.
type AuthFunc func(ctx context.Context, remote netip.Addr, user, password string) (Identity, error)

// Authenticate implements Auth.
func (f AuthFunc) Authenticate(ctx context.Context, remote netip.Addr, user, password string) (Identity, error) {
	return f(ctx, remote, user, password)
}

// Limits bound what clients can use. A zero field takes its default.
type Limits struct {
	Sessions           int           // at once in all; 4,000. Over it: BYE.
	SessionsPerAddress int           // at once from one IPv4 address or IPv6 /64, loopback excepted; 100. Over it: BYE.
	MessageBytes       int64         // one message of APPEND; 50 MiB. Over it: NO [TOOBIG].
	LiteralBytes       int64         // the other literals of a command; 64 KiB. Over it: NO [TOOBIG].
	LineBytes          int           // a command line; 64 KiB. Over it: BYE.
	AppendMessages     int           // of one APPEND (RFC 3502); 100. Over it: NO [LIMIT].
	FailedLogins       int           // of a session before BYE; 3
	Errors             int           // commands answered BAD in a row before BYE; 25
	KeywordsPerMessage int           // 64. Over it: NO [LIMIT].
	NotAuthenticated   time.Duration // from the greeting to the login; 60 s. Over it: BYE.
	Idle               time.Duration // between commands, and in IDLE without DONE (RFC 9051 §5.4: at least 30 min); 31 min. Over it: BYE.
	IdleNews           time.Duration // between signs of life in IDLE, so that middleboxes keep the connection and dead clients are noticed; 2 min
	Literal            time.Duration // between bytes of a command or message that the client has begun; 3 min. Over it the connection is closed.
	Write              time.Duration // for a piece of a response to leave; 1 min. Over it the connection is closed.
	Handshake          time.Duration // for TLS; 30 s. Over it the connection is closed.
	Barrier            time.Duration // for ReadBarrier and Auth; 4 s. Over it: NO [UNAVAILABLE].
	Propose            time.Duration // for a change; 4 s. Over it: NO [UNAVAILABLE], and it may have happened.
	Accept             time.Duration // for the end of an APPEND; 30 s. Over it the same.
	Drain              time.Duration // for commands in progress once Serve is cancelled; 10 s. Over it: BYE, and over it once more the connection is closed.
}

func (l *Limits) fill() {
	or(&l.Sessions, 4000)
	or(&l.SessionsPerAddress, 100)
	or(&l.MessageBytes, 50<<20)
	or(&l.LiteralBytes, 64<<10)
	or(&l.LineBytes, 64<<10)
	or(&l.AppendMessages, 100)
	or(&l.FailedLogins, 3)
	or(&l.Errors, 25)
	or(&l.KeywordsPerMessage, 64)
	or(&l.NotAuthenticated, time.Minute)
	or(&l.Idle, 31*time.Minute)
	or(&l.IdleNews, 2*time.Minute)
	or(&l.Literal, 3*time.Minute)
	or(&l.Write, time.Minute)
	or(&l.Handshake, 30*time.Second)
	or(&l.Barrier, 4*time.Second)
	or(&l.Propose, 4*time.Second)
	or(&l.Accept, 30*time.Second)
	or(&l.Drain, 10*time.Second)
}

func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Config says how a Server behaves.
type Config struct {
	Hostname string // in the greeting; required

	// TLS enables STARTTLS. Nil: none. For TLS from the first byte hand Serve a listener whose connections are *tls.Conn.
	TLS *tls.Config
	// AllowPlainAuth takes passwords from loopback clients without TLS.
	AllowPlainAuth bool

	Store Store // required
	Auth  Auth  // required

	Limits  Limits
	Metrics *Metrics         // nil: none
	Logger  *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now; the dates of messages, not deadlines
}

func (c *Config) validate() error {
	switch {
	case c.Hostname == "":
		return fmt.Errorf("imapd: no host name: %w", store.ErrInvalid)
	case c.Store == nil || c.Auth == nil:
		return fmt.Errorf("imapd: Store and Auth are required: %w", store.ErrInvalid)
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
