package replica

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
)

// Log is the replicated log, as far as this package needs it.
type Log interface {
	// Propose hands cmd to the cluster, again and again as leaders change, and returns nil when it is committed. It may append cmd more
	// than once. An error that wraps store.ErrUnavailable says that nothing was appended; any other, that something may have been.
	// It returns soon after ctx ends.
	Propose(ctx context.Context, cmd []byte) error
	// ReadBarrier returns nil when this node has applied everything that was committed anywhere before the call.
	ReadBarrier(ctx context.Context) error
}

// Peers are the other nodes.
type Peers interface {
	// Voters are the voting members and the log index of the configuration that says so.
	Voters() (ids []store.ServerID, configurationIndex uint64)
	// Servers are all members, this node included.
	Servers() []store.ServerID
	// Call asks a member. The error of its handler comes back as an error.
	Call(ctx context.Context, to store.ServerID, method string, req []byte) ([]byte, error)
	// OpenStream opens a connection of its own to a member's stream handler.
	OpenStream(ctx context.Context, to store.ServerID, method string) (net.Conn, error)
	// Handle registers who answers a call. It is called before any traffic.
	Handle(method string, h func(ctx context.Context, from store.ServerID, req []byte) ([]byte, error))
	// HandleStream registers who serves a stream; the connection is closed when the handler returns.
	HandleStream(method string, h func(ctx context.Context, from store.ServerID, c net.Conn) error)
	// IsLeader tells whether this node leads, as far as it knows.
	IsLeader() bool
}

// Limits bound what is under way at this node. Beyond them the answer is store.ErrUnavailable, at once.
type Limits struct {
	// Proposals under way, and their bytes. Defaults 4,096 and 64 MiB.
	Proposals     int
	ProposalBytes int64
	// Uploads that were begun and not ended. Default 2,048.
	Uploads int
	// UploadBytes of encoded bodies on their way to the voters. Default 128 MiB. One larger body may go alone.
	UploadBytes int64
	// SpoolBytes of raw bodies that stream in and do not fit into memory. Small ones always do. One larger body may go alone. Default: a
	// tenth of the free disk space, at most 4 GiB.
	SpoolBytes int64
	// ReceiveBytes of bodies coming from other nodes; senders wait for room. Default 64 MiB.
	ReceiveBytes int64
	// StreamsPerPeer bounds the connections for bodies to each other node, in each direction. Default 64.
	StreamsPerPeer int
}

// Intervals are how often the background work runs, and how long things may take.
type Intervals struct {
	Propose     time.Duration // deadline of Propose and Finish when ctx has none; default 10 s
	Barrier     time.Duration // longest ReadBarrier; default 4 s
	Straggler   time.Duration // how long Finish waits for more acknowledgements than a majority; default 5 ms
	Abandon     time.Duration // how long after a majority an unfinished copy may still take; default 1 s
	Stream      time.Duration // longest time without progress on a body's stream; default 10 s
	StreamIdle  time.Duration // unused body streams are closed after it; default 30 s
	Ready       time.Duration // between two looks at the node's readiness; default 1 s
	ReadyLimit  time.Duration // a barrier that takes longer means: not ready; default 3 s
	Fetch       time.Duration // between two looks for missing bodies, also the first wait after a failed fetch; default 1 s
	Tick        time.Duration // the leader: between two ticks; default 10 s
	Epoch       time.Duration // the leader: between two upload epochs; default 10 min
	Missing     time.Duration // longest wait for the repair of bodies that a count of what this node lacks found; default 10 s
	Sweep       time.Duration // the leader: between two looks for expired tombstones; default 1 min
	Compact     time.Duration // between two compactions; default 10 min
	Scrub       time.Duration // between two scrubs; the first is after a tenth of it; default 24 h
	Reconcile   time.Duration // between two comparisons of the bodies with the state; the first is after a sixtieth of it; default 1 h
	Maintenance time.Duration // deadline of one background proposal; default 10 s
}

// Config says what a Replica is made of. Fields without a default are required.
type Config struct {
	// Self is this node, DataIncarnation the mark of its data folder (B5).
	Self            store.ServerID
	DataIncarnation [16]byte
	// Name and Address are what RegisterServer tells the cluster; MaxVersion is the newest command format that this
	// program knows, default state.CommandVersion.
	Name, Address string
	MaxVersion    uint32
	// Boot counts the starts of this node: what an earlier start may still have under way is refused once this one has registered.
	Boot uint64

	Machine *state.Machine
	Blobs   blob.Store
	Log     Log
	Peers   Peers

	// SpoolDir takes large bodies while they stream in, in files without names. Default: the system's temporary folder.
	SpoolDir string
	// InlineBytes is the longest encoded body that travels inside the command. Default 16 KiB, at most 64 KiB.
	InlineBytes int64
	// FreeBytes tells the free space of the node's disk. Nil: not watched.
	FreeBytes func() (int64, error)
	// MinFreeBytes is the free space below which new mail is refused; it is taken again above 110 % of it. Default 256 MiB.
	MinFreeBytes int64
	// Lag tells how many committed entries this node has not applied. Nil: only the read barrier's duration tells.
	Lag func() uint64
	// MaxLag is the lag beyond which the node is not ready. Default 50,000.
	MaxLag uint64
	// Undelete tells how long a message that nothing shows any longer is kept, in replicated time. Nil: 7 days.
	Undelete func() time.Duration
	// ScrubBytesPerSecond bounds the scrub. Default 8 MiB/s.
	ScrubBytesPerSecond int64

	Limits    Limits
	Intervals Intervals
	// Now is the wall clock for what users see; default time.Now. Elapsed time is read from it too, so it should carry a monotonic part.
	Now     func() time.Time
	Metrics *Metrics     // nil: counted, and shown nowhere
	Logger  *slog.Logger // nil: none
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// withDefaults fills in what is not set and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.Self == "" || c.Machine == nil || c.Blobs == nil || c.Log == nil || c.Peers == nil || c.DataIncarnation == [16]byte{} {
		return c, fmt.Errorf("replica: a required field is not set: %w", store.ErrInvalid)
	}
	if c.InlineBytes < 0 || c.InlineBytes > 64<<10 {
		return c, fmt.Errorf("replica: inline bodies of %d bytes, must be up to 64 KiB: %w", c.InlineBytes, store.ErrInvalid)
	}
	orDefault(&c.MaxVersion, state.CommandVersion)
	orDefault(&c.InlineBytes, 16<<10)
	orDefault(&c.MinFreeBytes, 256<<20)
	orDefault(&c.MaxLag, 50_000)
	orDefault(&c.ScrubBytesPerSecond, 8<<20)
	if c.Undelete == nil {
		c.Undelete = func() time.Duration { return 7 * 24 * time.Hour }
	}
	c.Limits.setDefaults()
	c.Intervals.setDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("pkg", "replica", "node", string(c.Self))
	return c, nil
}

func (l *Limits) setDefaults() {
	orDefault(&l.Proposals, 4096)
	orDefault(&l.ProposalBytes, 64<<20)
	orDefault(&l.Uploads, 2048)
	orDefault(&l.UploadBytes, 128<<20)
	orDefault(&l.ReceiveBytes, 64<<20)
	orDefault(&l.StreamsPerPeer, 64)
}

func (i *Intervals) setDefaults() {
	orDefault(&i.Propose, 10*time.Second)
	orDefault(&i.Barrier, 4*time.Second) // a refusal must come within 5 s
	orDefault(&i.Straggler, 5*time.Millisecond)
	orDefault(&i.Abandon, time.Second)
	orDefault(&i.Stream, 10*time.Second)
	orDefault(&i.StreamIdle, 30*time.Second)
	orDefault(&i.Ready, time.Second)
	orDefault(&i.ReadyLimit, 3*time.Second)
	orDefault(&i.Fetch, time.Second)
	orDefault(&i.Tick, 10*time.Second)
	orDefault(&i.Epoch, 10*time.Minute)
	orDefault(&i.Missing, 10*time.Second)
	orDefault(&i.Sweep, time.Minute)
	orDefault(&i.Compact, 10*time.Minute)
	orDefault(&i.Scrub, 24*time.Hour)
	orDefault(&i.Reconcile, time.Hour)
	orDefault(&i.Maintenance, 10*time.Second)
}
