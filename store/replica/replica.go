package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Log puts commands into one order. It may put one there more than once.
type Log interface {
	// Propose returns nil when the command is committed, store.ErrUnavailable when it certainly was not and will not be appended,
	// store.ErrUnknownOutcome else. It keeps trying until ctx ends.
	Propose(ctx context.Context, cmd []byte) error
	// ReadBarrier returns when this node has applied all that was committed before; store.ErrUnavailable when that cannot be known.
	ReadBarrier(ctx context.Context) error
}

// Peers are the other nodes.
type Peers interface {
	// Members lists the servers and which of them vote, as of the log index of their configuration.
	Members() (servers []Member, configuration uint64)
	OpenStream(ctx context.Context, to store.ServerID, method string) (net.Conn, error)
	HandleStream(method string, h func(ctx context.Context, from store.ServerID, c net.Conn))
	IsLeader() bool
}

// Member is a server of the cluster.
type Member struct {
	ID    store.ServerID
	Voter bool
}

// Config says what this replica is made of.
type Config struct {
	Self            store.ServerID
	DataIncarnation [16]byte
	Server          *storepb.Server // how this node is registered
	Machine         *state.Machine
	Blobs           blob.Store
	Log             Log
	Peers           Peers
	SpoolDir        string                 // for large bodies while they stream in
	FreeBytes       func() (uint64, error) // of the data disk
	MinFreeBytes    uint64                 // below it no new mail is taken; default 256 MiB
	Logger          *slog.Logger
	// MaxPending and MaxPendingBytes bound the commands under way. Defaults 4,096 and 64 MiB.
	MaxPending      int
	MaxPendingBytes int64
	// Tick, Sweep and Scrub are how often the replicated clock is advanced, garbage is looked for, and all bodies are read. Defaults
	// 10 s, 30 s and 24 h.
	Tick, Sweep, Scrub time.Duration
	// Undelete is how long a message that nothing shows is kept. Default 7 days.
	Undelete time.Duration
}

// Limits.
const (
	proposeTimeout  = 10 * time.Second
	barrierTimeout  = 4 * time.Second
	maxCommandBytes = 1 << 20
)

// Replica is this node's copy of the state.
type Replica struct {
	cfg         Config
	incarnation [16]byte
	watches     watches
	acks        ackPool
	credentials []func(store.AccountID)
	wakeFetch   chan struct{}
	ready       atomic.Pointer[readiness]

	mu      sync.Mutex
	nextSeq uint64                          // guarded by mu
	waiting map[uint64]chan *storepb.Result // commands under way; guarded by mu
	bytes   int64                           // of them; guarded by mu
}

type readiness struct{ err error }

// New makes a replica. Register with OnCredentials before the log begins to apply.
func New(cfg Config) (*Replica, error) {
	if cfg.MinFreeBytes == 0 {
		cfg.MinFreeBytes = 256 << 20
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 4096
	}
	if cfg.MaxPendingBytes == 0 {
		cfg.MaxPendingBytes = 64 << 20
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&cfg.Tick, 10 * time.Second}, {&cfg.Sweep, 30 * time.Second}, {&cfg.Scrub, 24 * time.Hour}, {&cfg.Undelete, 7 * 24 * time.Hour}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	r := &Replica{cfg: cfg, waiting: map[uint64]chan *storepb.Result{}, wakeFetch: make(chan struct{}, 1)}
	r.ready.Store(&readiness{fmt.Errorf("the node is starting: %w", store.ErrUnavailable)})
	if _, err := rand.Read(r.incarnation[:]); err != nil {
		return nil, fmt.Errorf("draw the incarnation: %w", err)
	}
	cfg.Machine.OnApplied(r.applied)
	r.handleStreams()
	return r, nil
}

// OnCredentials registers who is told when an account's credentials changed, on any node.
func (r *Replica) OnCredentials(f func(store.AccountID)) { r.credentials = append(r.credentials, f) }

// applied runs after each batch, on the goroutine that applies.
func (r *Replica) applied(a state.Applied) {
	r.mu.Lock()
	for _, x := range a.Results {
		if x.Incarnation != r.incarnation {
			continue
		}
		if ch := r.waiting[x.Seq]; ch != nil {
			ch <- x.Result // has room for one, and is removed
			delete(r.waiting, x.Seq)
		}
	}
	r.mu.Unlock()
	for _, ref := range a.Changed {
		r.watches.wake(ref)
	}
	for _, id := range a.Credentials {
		for _, f := range r.credentials {
			f(id)
		}
	}
	for _, id := range a.Dropped {
		if err := r.cfg.Blobs.Delete(id); err != nil {
			r.cfg.Logger.Warn("delete a body", "pkg", "replica", "body", id, "err", err)
		}
	}
	if a.Missing {
		select {
		case r.wakeFetch <- struct{}{}:
		default:
		}
	}
}

// Propose puts a command, which fill makes, into effect once, and returns when this node has applied it. Errors: those of package
// store; ErrUnknownOutcome when the deadline, ten seconds if ctx has none, passed before the outcome was known.
func (r *Replica) Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	c := &storepb.Command{Version: state.CommandVersion, Incarnation: r.incarnation[:], Server: string(r.cfg.Self), TimeUnixMs: time.Now().UnixMilli()}
	fill(c)
	size := int64(proto.Size(c))
	if size > maxCommandBytes {
		return nil, fmt.Errorf("a command of %d bytes: %w", size, store.ErrTooLarge)
	}
	done, err := r.begin(c, size)
	if err != nil {
		return nil, err
	}
	defer r.end(c.Seq, size)
	raw, err := proto.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode the command: %w", err)
	}
	failed := make(chan error, 1)
	go func() {
		// Its nil says that the command is committed; what it did is told when it is applied here.
		if err := r.cfg.Log.Propose(ctx, raw); err != nil {
			failed <- err
		}
	}()
	select {
	case res := <-done:
		return res, state.ResultError(res)
	case err := <-failed:
		return r.lastLook(c.Seq, done, err)
	case <-ctx.Done():
		return r.lastLook(c.Seq, done, fmt.Errorf("%w: %w", store.ErrUnknownOutcome, ctx.Err()))
	}
}

// lastLook finds a result that came at the last moment, or while a checkpoint replaced the state.
func (r *Replica) lastLook(seq uint64, done chan *storepb.Result, err error) (*storepb.Result, error) {
	select {
	case res := <-done:
		return res, state.ResultError(res)
	default:
	}
	if res, ok := r.cfg.Machine.LookupResult(r.incarnation, seq); ok {
		return res, state.ResultError(res)
	}
	return nil, err
}

func (r *Replica) begin(c *storepb.Command, size int64) (chan *storepb.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) >= r.cfg.MaxPending || r.bytes+size > r.cfg.MaxPendingBytes {
		return nil, fmt.Errorf("too much is under way: %w", store.ErrUnavailable)
	}
	r.nextSeq++
	c.Seq = r.nextSeq
	done := make(chan *storepb.Result, 1)
	r.waiting[c.Seq] = done
	r.bytes += size
	c.Lowest = c.Seq
	for seq := range r.waiting {
		c.Lowest = min(c.Lowest, seq)
	}
	return done, nil
}

func (r *Replica) end(seq uint64, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, seq)
	r.bytes -= size
}

// ReadBarrier makes sure that a View taken after it shows all that any node acknowledged before it, within four seconds.
func (r *Replica) ReadBarrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	return r.cfg.Log.ReadBarrier(ctx)
}

// View is the state at one moment. Close it soon.
func (r *Replica) View() *state.View { return r.cfg.Machine.View() }

// Ready is nil, or says why this node should take no mail now: store.ErrUnavailable or store.ErrNoSpace.
func (r *Replica) Ready() error { return r.ready.Load().err }

// watchReady looks every second whether this node can serve.
func (r *Replica) watchReady(ctx context.Context) {
	for {
		r.ready.Store(&readiness{r.findReady(ctx)})
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func (r *Replica) findReady(ctx context.Context) error {
	if free, err := r.cfg.FreeBytes(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	} else if free < r.cfg.MinFreeBytes {
		return fmt.Errorf("%d MiB are free, %d are needed: %w", free>>20, r.cfg.MinFreeBytes>>20, store.ErrNoSpace)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := r.cfg.Log.ReadBarrier(ctx); err != nil {
		return fmt.Errorf("no majority answers, or this node is behind: %w", errors.Join(store.ErrUnavailable, err))
	}
	return nil
}
