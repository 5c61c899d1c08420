package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/cluster/raftlog"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/store/durable"
)

// Config says who this node is.
type Config struct {
	ID        ServerID
	DataDir   string // the log lives in DataDir/raft
	Advertise string // host:port that the others connect to
	Machine   Machine
	Port      *transport.Port // owned by the caller until Open returns, then by the node
	LogStore  string          // "wal" (default) or "bolt"
	Heartbeat time.Duration   // default 250 ms
	Logger    *slog.Logger
	OnFatal   func(error) // must end the process
	// Refuse tells why a node that has a certificate may not take part, such as one that was removed; nil when it may. Default: all may.
	// Not being a member is no reason: this node may be behind, and must listen to members that it does not know yet.
	Refuse func(id ServerID) error
	// Join answers a node at the other end of a connection from that address that asks to join; it has shown no certificate. Nil refuses all.
	Join func(ctx context.Context, from net.Addr, req []byte) ([]byte, error)
	// Before is called with the node before anything is applied or served; the log can be read. Its error ends Open.
	Before func(*Node) error
	// MaxPending and MaxPendingBytes bound the proposals under way. Defaults 8,192 and 64 MiB.
	MaxPending      int
	MaxPendingBytes int64
	// SnapshotEntries is after how many entries the Machine persists, so that the log can be truncated. Default 65,536.
	SnapshotEntries uint64
	// TrailingEntries is how many entries the log keeps for members that fall behind. Default 262,144.
	TrailingEntries uint64
	// LogBytes is about how large the log may grow; when entries are large, fewer than SnapshotEntries and TrailingEntries stay.
	// Default 1 GiB.
	LogBytes int64
	// FS is where the log lives. Default: the operating system's.
	FS vfs.FS
	// SegmentBytes is the size of the log's files. Default 64 MiB.
	SegmentBytes int
}

// Node is this node's part in the cluster.
type Node struct {
	cfg      Config
	raft     *raft.Raft
	log      *raftlog.Log
	logs     raft.LogStore // log, as Raft writes it
	installs *installs
	trans    boundTransport
	applied  *waiter
	own      pending // proposals of its own
	served   pending // proposals that others hand to this node as the leader
	barrier  barrierRound
	news     newsDesk

	mu       sync.Mutex
	callers  map[ServerID]*transport.Caller                                                  // guarded by mu
	handlers map[string]func(ctx context.Context, from ServerID, req []byte) ([]byte, error) // guarded by mu
	streams  map[string]func(ctx context.Context, from ServerID, c net.Conn)                 // guarded by mu
	follows  map[ServerID]followed                                                           // guarded by mu

	leaderMu     sync.Mutex
	leaderChange chan struct{} // closed and replaced when the known leader changes; guarded by leaderMu

	ctx    context.Context // ends with Close; only for goroutines of the node itself
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open opens the log and starts taking part.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	setDefaults(&cfg)
	n := &Node{cfg: cfg, applied: newWaiter(), callers: map[ServerID]*transport.Caller{}, leaderChange: make(chan struct{}), news: newsDesk{wake: make(chan struct{}, 1)},
		handlers: map[string]func(context.Context, ServerID, []byte) ([]byte, error){}, streams: map[string]func(context.Context, ServerID, net.Conn){}, follows: map[ServerID]followed{}}
	n.own.max, n.own.maxBytes = cfg.MaxPending, cfg.MaxPendingBytes
	n.served.max, n.served.maxBytes = cfg.MaxPending, cfg.MaxPendingBytes
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	dir := filepath.Join(cfg.DataDir, "raft")
	disk := durable.Disk{FS: cfg.FS}
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	n.installs = newInstalls(disk, dir)
	var err error
	if n.log, err = raftlog.Open(ctx, raftlog.Config{Dir: dir, Kind: cfg.LogStore, OnFatal: n.fatal, Logger: cfg.Logger, FS: cfg.FS, SegmentBytes: cfg.SegmentBytes}); err != nil {
		return nil, err
	}
	n.logs = entries{n.log, n.installs, n.news.stir, n.fatal}
	if err := n.checkLog(); err != nil {
		n.log.Close()
		return nil, err
	}
	n.applied.set(cfg.Machine.Position().Index)
	if cfg.Before != nil {
		if err := cfg.Before(n); err != nil {
			n.log.Close()
			return nil, err
		}
	}
	if err := n.startRaft(dir); err != nil {
		n.cancel()
		n.trans.Close()
		n.log.Close()
		return nil, err
	}
	n.serveCalls()
	n.wg.Add(4)
	go func() { defer n.wg.Done(); n.followNews() }()
	go func() { defer n.wg.Done(); n.followLeader() }()
	go func() { defer n.wg.Done(); n.boundLog() }()
	go func() { defer n.wg.Done(); n.log.Scrub(n.ctx, 24*time.Hour, scrubBytesPerSecond) }()
	go cfg.Port.Serve()
	return n, nil
}

func setDefaults(cfg *Config) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.LogBytes == 0 {
		cfg.LogBytes = 1 << 30
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 250 * time.Millisecond
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 8192
	}
	if cfg.MaxPendingBytes == 0 {
		cfg.MaxPendingBytes = 64 << 20
	}
	if cfg.SnapshotEntries == 0 {
		cfg.SnapshotEntries = 65536
	}
	if cfg.TrailingEntries == 0 {
		cfg.TrailingEntries = 262144
	}
	if cfg.Refuse == nil {
		cfg.Refuse = func(ServerID) error { return nil }
	}
}

func (n *Node) startRaft(dir string) error {
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: slogWriter{n.cfg.Logger}, DisableTime: true})
	layer := newStreamLayer(n)
	n.trans = newBoundTransport(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 4, Timeout: 5 * time.Second, MaxRPCsInFlight: 1, Logger: logger}, n.ctx.Done())
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(n.cfg.ID)
	rc.Logger = logger
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = n.cfg.Heartbeat, n.cfg.Heartbeat, n.cfg.Heartbeat
	rc.CommitTimeout = 10 * time.Millisecond
	rc.BatchApplyCh = true
	rc.MaxAppendEntries = 256
	rc.NoSnapshotRestoreOnStart = true
	rc.NoLegacyTelemetry = true
	rc.SnapshotThreshold = n.cfg.SnapshotEntries
	rc.SnapshotInterval = snapshotInterval(n.cfg.SnapshotEntries)
	rc.TrailingLogs = n.cfg.TrailingEntries
	var err error
	n.raft, err = raft.NewRaft(rc, fsm{n}, n.logs, n.log, &snapshots{machine: n.cfg.Machine, fs: n.cfg.FS, dir: dir}, n.trans)
	if err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	return nil
}

// snapshotInterval is how often Raft looks whether there are so many new entries: every 5 s for the default, in proportion else.
func snapshotInterval(entries uint64) time.Duration {
	return max(time.Duration(entries)*5*time.Second/65536, 50*time.Millisecond)
}

// scrubBytesPerSecond bounds the reading of what Raft itself does not read.
const scrubBytesPerSecond = 4 << 20

// boundLog keeps the log's size on the disk within LogBytes: Raft counts entries, and those that carry bodies are large.
func (n *Node) boundLog() {
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-t.C:
			rc := n.raft.ReloadableConfig()
			persist, trailing := logBounds(n.cfg, n.log.AverageBytes())
			if rc.SnapshotThreshold == persist && rc.TrailingLogs == trailing {
				continue
			}
			rc.SnapshotThreshold, rc.TrailingLogs = persist, trailing
			if err := n.raft.ReloadConfig(rc); err != nil {
				n.cfg.Logger.Error("bound the log", "pkg", "cluster", "err", err)
			}
		}
	}
}

// logBounds is after how many entries the Machine persists, and how many entries stay, when one takes averageBytes. A quarter of the
// log may be waiting for the Machine, the rest is for members that are behind. A few entries stay in any case.
func logBounds(cfg Config, averageBytes int64) (persist, trailing uint64) {
	const few = 1024
	fit := uint64(cfg.LogBytes / max(averageBytes, 1))
	return min(cfg.SnapshotEntries, max(fit/4, few)), min(cfg.TrailingEntries, max(fit*3/4, few))
}

// slogWriter passes Raft's warnings on.
type slogWriter struct{ l *slog.Logger }

func (w slogWriter) Write(p []byte) (int, error) {
	w.l.Info("raft", "pkg", "cluster", "text", string(p))
	return len(p), nil
}

// Bootstrap makes this node the only voter of a new cluster.
func (n *Node) Bootstrap() error {
	err := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(n.cfg.ID), Address: raft.ServerAddress(n.cfg.Advertise)}}}).Error()
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("found the cluster: %w", err)
	}
	return nil
}

// Close stops taking part. It cuts the connections before it waits for Raft, which may be taking in a checkpoint from one.
func (n *Node) Close() error {
	n.cancel()
	stopping := n.raft.Shutdown()
	n.trans.Close()
	n.cfg.Port.Close()
	err := stopping.Error()
	n.mu.Lock()
	callers := slices.Collect(maps.Values(n.callers)) // no new ones come: n.ctx has ended
	n.mu.Unlock()
	for _, c := range callers {
		c.Close()
	}
	n.cfg.Port.Wait() // whoever comes in asks the state, which is closed next
	n.wg.Wait()
	return errors.Join(err, n.log.Close())
}

// fatal cuts the connections first: a thread stuck in the kernel would keep them open, and the others would not notice.
func (n *Node) fatal(err error) {
	n.cfg.Port.Close()
	n.cfg.OnFatal(err)
}

// followLeader wakes whoever waits for a change of leader, and cuts the connections of nodes that were removed.
func (n *Node) followLeader() {
	ch := make(chan raft.Observation, 16)
	o := raft.NewObserver(ch, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	refused := time.NewTicker(500 * time.Millisecond)
	defer refused.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ch:
			n.leaderMu.Lock()
			close(n.leaderChange)
			n.leaderChange = make(chan struct{})
			n.leaderMu.Unlock()
		case <-refused.C:
			n.cfg.Port.DropRefused()
		}
	}
}

func (n *Node) leaderChanged() <-chan struct{} {
	n.leaderMu.Lock()
	defer n.leaderMu.Unlock()
	return n.leaderChange
}
