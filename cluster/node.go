package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

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
	// MayPromote tells on the leader whether a caught-up member may vote. Default: yes.
	MayPromote func(ctx context.Context, id ServerID) bool
	// Join answers a node that asks to join. Nil refuses all.
	Join func(ctx context.Context, req []byte) ([]byte, error)
	// Before is called with the node before anything is applied or served.
	Before func(*Node)
	// MaxPending and MaxPendingBytes bound the proposals under way. Defaults 8,192 and 64 MiB.
	MaxPending      int
	MaxPendingBytes int64
	// SnapshotEntries is after how many entries the log is truncated. Default 65,536.
	SnapshotEntries uint64
}

// Node is this node's part in the cluster.
type Node struct {
	cfg     Config
	raft    *raft.Raft
	log     *raftlog.Log
	logs    raft.LogStore // log, with its newest entries in memory
	trans   *raft.NetworkTransport
	applied *waiter
	pending pending
	barrier barrierRound

	mu       sync.Mutex
	callers  map[ServerID]*transport.Caller                                                  // guarded by mu
	handlers map[string]func(ctx context.Context, from ServerID, req []byte) ([]byte, error) // guarded by mu
	streams  map[string]func(ctx context.Context, from ServerID, c net.Conn)                 // guarded by mu

	leaderMu     sync.Mutex
	leaderChange chan struct{} // closed and replaced when the known leader changes; guarded by leaderMu
	barrierTerm  uint64        // the term in which an own entry is known to be committed; guarded by leaderMu

	ctx    context.Context // ends with Close; only for goroutines of the node itself
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open opens the log and starts taking part.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	setDefaults(&cfg)
	n := &Node{cfg: cfg, applied: newWaiter(), callers: map[ServerID]*transport.Caller{}, leaderChange: make(chan struct{}),
		handlers: map[string]func(context.Context, ServerID, []byte) ([]byte, error){}, streams: map[string]func(context.Context, ServerID, net.Conn){}}
	n.pending = pending{max: cfg.MaxPending, maxBytes: cfg.MaxPendingBytes}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	dir := filepath.Join(cfg.DataDir, "raft")
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(dir, incoming)) // a checkpoint that was still arriving
	var err error
	if n.log, err = raftlog.Open(raftlog.Config{Dir: dir, Kind: cfg.LogStore, OnFatal: n.fatal}); err != nil {
		return nil, err
	}
	if err := n.checkLog(); err != nil {
		n.log.Close()
		return nil, err
	}
	n.applied.set(cfg.Machine.Position().Index)
	if cfg.Before != nil {
		cfg.Before(n)
	}
	if err := n.startRaft(dir); err != nil {
		n.log.Close()
		return nil, err
	}
	n.serveCalls()
	n.wg.Add(1)
	go func() { defer n.wg.Done(); n.followLeader() }()
	go cfg.Port.Serve()
	return n, nil
}

func setDefaults(cfg *Config) {
	if cfg.LogStore == "" {
		cfg.LogStore = "wal"
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
	if cfg.MayPromote == nil {
		cfg.MayPromote = func(context.Context, ServerID) bool { return true }
	}
}

// ErrLostDisk: the log does not reach what this node's state has seen. It acknowledged entries that it no longer has.
var ErrLostDisk = errors.New("the log ends before the state does, so entries that this node acknowledged are gone: remove the node from the cluster and join anew under a new id")

// checkLog refuses a log that forgot what the state knows to be committed, and one that is damaged.
func (n *Node) checkLog() error {
	if err := n.log.Verify(); err != nil {
		return err
	}
	pos := n.cfg.Machine.Position()
	last, err := n.log.LastIndex()
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	first, err := n.log.FirstIndex()
	if err != nil {
		return fmt.Errorf("find the beginning of the log: %w", err)
	}
	if last == 0 {
		if pos.Index == 0 || n.fresh() {
			return nil
		}
		return ErrLostDisk
	}
	if last < pos.Index {
		return ErrLostDisk
	}
	if first > pos.Index+1 {
		return fmt.Errorf("the log begins at %d, the state ends at %d: %w", first, pos.Index, ErrLostDisk)
	}
	if first <= pos.Index && pos.Index > 0 {
		var e raft.Log
		if err := n.log.GetLog(pos.Index, &e); err != nil {
			return fmt.Errorf("read the entry at the state's index: %w", err)
		}
		if e.Term != pos.Term {
			return fmt.Errorf("entry %d is of term %d in the log and of %d in the state: %w", pos.Index, e.Term, pos.Term, ErrLostDisk)
		}
	}
	return nil
}

// freshMark says that the state came as a checkpoint and the log has had no entry yet.
const freshMark = "restored"

func (n *Node) fresh() bool {
	_, err := os.Stat(filepath.Join(n.cfg.DataDir, "raft", freshMark))
	return err == nil
}

// MarkRestored notes, durably, that the state of the node in dataDir came as a checkpoint, so that its log may be empty.
func MarkRestored(dataDir string) error {
	if err := durable.MkdirAll(filepath.Join(dataDir, "raft"), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dataDir, "raft", freshMark), nil, 0o600)
}

func (n *Node) startRaft(dir string) error {
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: slogWriter{n.cfg.Logger}, DisableTime: true})
	layer := newStreamLayer(n)
	n.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 4, Timeout: 5 * time.Second, MaxRPCsInFlight: 1, Logger: logger})
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(n.cfg.ID)
	rc.Logger = logger
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = n.cfg.Heartbeat, n.cfg.Heartbeat, n.cfg.Heartbeat/2
	rc.CommitTimeout = 10 * time.Millisecond
	rc.BatchApplyCh = true
	rc.MaxAppendEntries = 256
	rc.NoSnapshotRestoreOnStart = true
	rc.NoLegacyTelemetry = true
	rc.SnapshotThreshold = n.cfg.SnapshotEntries
	rc.SnapshotInterval = snapshotInterval(n.cfg.SnapshotEntries)
	rc.TrailingLogs = 4 * n.cfg.SnapshotEntries
	cache, err := raft.NewLogCache(512, n.log)
	if err != nil {
		return err
	}
	n.logs = monotonicCache{cache, n.log}
	n.raft, err = raft.NewRaft(rc, fsm{n}, n.logs, n.log, snapshots{n.cfg.Machine, dir}, n.trans)
	if err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	return nil
}

// snapshotInterval is how often Raft looks whether there are so many new entries: every 20 s for the default, in proportion else.
func snapshotInterval(entries uint64) time.Duration {
	return max(time.Duration(entries)*20*time.Second/65536, 50*time.Millisecond)
}

// monotonicCache keeps the log's IsMonotonic visible through the cache.
type monotonicCache struct {
	*raft.LogCache
	log *raftlog.Log
}

func (c monotonicCache) IsMonotonic() bool { return c.log.IsMonotonic() }

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

// Close stops taking part.
func (n *Node) Close() error {
	n.cancel()
	err := n.raft.Shutdown().Error()
	n.trans.Close()
	n.cfg.Port.Close()
	n.mu.Lock()
	for _, c := range n.callers {
		c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
	return errors.Join(err, n.log.Close())
}

// fatal cuts the connections first: a thread stuck in the kernel would keep them open, and the others would not notice.
func (n *Node) fatal(err error) {
	n.cfg.Port.Close()
	n.cfg.OnFatal(err)
}

// followLeader wakes whoever waits for a change of leader.
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
	promote := time.NewTicker(500 * time.Millisecond)
	defer promote.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ch:
			n.leaderMu.Lock()
			close(n.leaderChange)
			n.leaderChange = make(chan struct{})
			n.leaderMu.Unlock()
		case <-promote.C:
			if n.raft.State() == raft.Leader {
				n.promoteReady()
			}
		}
	}
}

func (n *Node) leaderChanged() <-chan struct{} {
	n.leaderMu.Lock()
	defer n.leaderMu.Unlock()
	return n.leaderChange
}
