package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Cluster is the membership as Raft has it. The methods that change it work on the leader only.
type Cluster interface {
	IsLeader() bool
	Status() cluster.Status
	Configuration() cluster.Configuration
	AddVoter(ctx context.Context, id cluster.ServerID, address string, prevIndex uint64) error
	RemoveServer(ctx context.Context, id cluster.ServerID, prevIndex uint64) error
	Readdress(ctx context.Context, m cluster.Server, address string, prevIndex uint64) error
	// CaughtUp returns nil when a member has been close to the leader for some time.
	CaughtUp(ctx context.Context, id cluster.ServerID) error
	TransferLeadership() error
}

// State is what the replicated state knows of the servers.
type State interface {
	// ReadBarrier returns when the methods below tell all that was committed before the call.
	ReadBarrier(ctx context.Context) error
	Cluster() (*storepb.ClusterRecord, error)
	// Servers are all that ever registered, removed ones too: without these a removal would not be known to be done.
	Servers() ([]*storepb.Server, error)
	Propose(ctx context.Context, fill func(*storepb.Command)) error
}

// Bodies asks a server to compare its own body index with the state, at a read barrier, and counts the live bodies that it lacks. Of many
// only the first are named.
type Bodies interface {
	MissingAt(ctx context.Context, server store.ServerID) (total int64, ids []store.BodyID, err error)
}

// Config says what a Manager works with.
type Config struct {
	Self    cluster.ServerID
	Cluster Cluster
	State   State
	Bodies  Bodies
	Calls   Calls
	Logger  *slog.Logger
	// Every is how often the leader looks whether there is something to do. Default 500 ms.
	Every time.Duration
	// GiveUp is how long a change may wait for its scans before it is given up and begun anew later. Default 30 s: meanwhile new bodies
	// need a majority of the old and of the new voters.
	GiveUp time.Duration
	// RaiseAfter is how long every member must have been able to read a later version of commands before it comes into force, which
	// cannot be taken back. Default 10 minutes.
	RaiseAfter time.Duration
}

// Manager is this node's part in changes of the membership. Where the node does not lead, it only passes requests on.
type Manager struct {
	cfg  Config
	wake chan struct{}

	mu      sync.Mutex
	asked   map[cluster.ServerID]time.Time // who shall be removed, and when somebody last asked for it; guarded by mu
	waits   map[cluster.ServerID]string    // why a member does not vote, or is not removed, yet; guarded by mu
	led     uint64                         // the term in which the state was read behind a barrier; guarded by mu
	began   map[uint64]time.Time           // when a reconfigure command was first seen here; guarded by mu
	scanned scans                          // guarded by mu
	capable uint32                         // the version that every member can read; guarded by mu
	since   time.Time                      // of capable; guarded by mu
}

// New makes a manager.
func New(cfg Config) *Manager {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&cfg.Every, 500 * time.Millisecond}, {&cfg.GiveUp, 30 * time.Second}, {&cfg.RaiseAfter, 10 * time.Minute}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return &Manager{cfg: cfg, wake: make(chan struct{}, 1), asked: map[cluster.ServerID]time.Time{}, waits: map[cluster.ServerID]string{}, began: map[uint64]time.Time{}}
}

// stepTimeout bounds one step of the leader: scans read whole indexes.
const stepTimeout = time.Minute

// Run does the leader's part while this node leads, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	tick := time.NewTicker(m.cfg.Every)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-m.wake:
		}
		err := m.leaderStep(ctx)
		if err == nil || ctx.Err() != nil {
			last = ""
			continue
		}
		if text := err.Error(); text != last { // the same every half a second
			m.cfg.Logger.Info("the membership is not as it shall be yet", "pkg", "membership", "err", err)
			last = text
		}
	}
}

func (m *Manager) leaderStep(ctx context.Context) error {
	if !m.cfg.Cluster.IsLeader() {
		m.forget()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := m.readBehindBarrier(ctx); err != nil {
		return err
	}
	return m.step(ctx)
}

// readBehindBarrier makes sure, once in each term that this node leads, that its state holds what earlier leaders began. What it began
// itself it has applied when Propose returned.
func (m *Manager) readBehindBarrier(ctx context.Context) error {
	term := m.cfg.Cluster.Status().Term
	m.mu.Lock()
	known := m.led == term
	m.mu.Unlock()
	if known {
		return nil
	}
	if err := m.cfg.State.ReadBarrier(ctx); err != nil {
		return fmt.Errorf("learn what the leader before began: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.led = term
	return nil
}

// forget drops what only a leader keeps.
func (m *Manager) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.asked)
	clear(m.waits)
	clear(m.began)
	m.led, m.capable, m.scanned = 0, 0, scans{}
}

// step does the next thing that there is to do.
func (m *Manager) step(ctx context.Context) error {
	s, err := m.look()
	if err != nil {
		return err
	}
	if len(s.record.TargetVoters) > 0 {
		return m.finish(ctx, s)
	}
	var waiting error
	for _, do := range []func(context.Context, snapshot) (done bool, err error){m.removeAsked, m.readdress, m.raiseVersion, m.promote} {
		done, err := do(ctx, s)
		waiting = errors.Join(waiting, err) // what waits holds nothing else up
		if done {
			break // one change at a time, each judged by a fresh look
		}
	}
	return waiting
}

// snapshot is the membership at one moment.
type snapshot struct {
	record  *storepb.ClusterRecord
	config  cluster.Configuration
	servers map[cluster.ServerID]*storepb.Server
}

func (m *Manager) look() (snapshot, error) {
	s := snapshot{config: m.cfg.Cluster.Configuration(), servers: map[cluster.ServerID]*storepb.Server{}}
	var err error
	if s.record, err = m.cfg.State.Cluster(); err != nil {
		return s, fmt.Errorf("read the cluster's record: %w", err)
	}
	servers, err := m.cfg.State.Servers()
	if err != nil {
		return s, fmt.Errorf("list the servers: %w", err)
	}
	for _, x := range servers {
		s.servers[cluster.ServerID(x.Id)] = x
	}
	return s, nil
}

func (s snapshot) member(id cluster.ServerID) (cluster.Server, bool) {
	for _, x := range s.config.Servers {
		if x.ID == id {
			return x, true
		}
	}
	return cluster.Server{}, false
}

func (s snapshot) voters() (ids []cluster.ServerID) {
	for _, x := range s.config.Servers {
		if x.Voter {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// name is how a person calls a server.
func (s snapshot) name(id cluster.ServerID) string {
	if x := s.servers[id]; x.GetName() != "" {
		return fmt.Sprintf("%s (%s)", x.Name, id)
	}
	return string(id)
}

func (s snapshot) removed(id cluster.ServerID) bool { return s.servers[id].GetRemoved() }

// markRemoved makes the state disregard a server for ever.
func (m *Manager) markRemoved(ctx context.Context, id cluster.ServerID) error {
	err := m.cfg.State.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: string(id)}}
	})
	if err != nil {
		return fmt.Errorf("mark %s as removed: %w", id, err)
	}
	return nil
}

// setWait notes why something about a member waits; "" ends it.
func (m *Manager) setWait(id cluster.ServerID, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if why == "" {
		delete(m.waits, id)
		return
	}
	m.waits[id] = why
}

// readdress notes where members are reached now: each said so when it started.
func (m *Manager) readdress(ctx context.Context, s snapshot) (bool, error) {
	for _, x := range s.config.Servers {
		known := s.servers[x.ID]
		if known.GetAddress() == "" || known.Address == x.Address || known.Removed {
			continue
		}
		m.cfg.Logger.Info("a member is reached at another address now", "pkg", "membership", "node", x.ID, "address", known.Address)
		err := m.cfg.Cluster.Readdress(ctx, x, known.Address, s.config.Index)
		return err == nil, err
	}
	return false, nil
}

// raiseVersion puts a later version of commands into force when every member has been able to read it for long enough.
func (m *Manager) raiseVersion(ctx context.Context, s snapshot) (bool, error) {
	can := ^uint32(0)
	for _, x := range s.config.Servers {
		can = min(can, s.servers[x.ID].GetMaxVersion()) // 0 if it never registered
	}
	m.mu.Lock()
	if can != m.capable {
		m.capable, m.since = can, time.Now()
	}
	wait := time.Since(m.since) < m.cfg.RaiseAfter
	m.mu.Unlock()
	if len(s.config.Servers) == 0 || can <= s.record.Version || wait {
		return false, nil
	}
	err := m.cfg.State.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_RaiseVersion{RaiseVersion: &storepb.RaiseVersion{Version: can}}
	})
	if errors.Is(err, store.ErrConflict) {
		return true, nil // it was raised already
	}
	if err != nil {
		return true, fmt.Errorf("raise the version of commands to %d: %w", can, err)
	}
	m.cfg.Logger.Info("the version of commands is raised: every member can read it, and programs that cannot may not take part any more", "pkg", "membership", "version", can)
	return true, nil
}
