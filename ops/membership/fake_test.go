package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// world is a cluster that tests bend as they like: one Raft configuration and one state, which all managers share.
type world struct {
	t  *testing.T
	mu sync.Mutex

	leader  cluster.ServerID
	term    uint64
	config  cluster.Configuration
	record  *storepb.ClusterRecord
	servers map[cluster.ServerID]*storepb.Server
	missing map[cluster.ServerID]int64          // bodies that a server lacks; -1: it does not answer
	named   map[cluster.ServerID][]store.BodyID // further bodies that it lacks, by name
	lagging map[cluster.ServerID]bool

	steps []string // what was done, in order
	// dies ends the leader's process, as far as the manager can tell, at the step of this name: the step is not done.
	dies string
	// inForce is called at each change of Raft's configuration.
	inForce func(from, to []cluster.ServerID)

	managers map[cluster.ServerID]*Manager
}

var errDied = errors.New("the process died")

func newWorld(t *testing.T, voters ...cluster.ServerID) *world {
	w := &world{t: t, term: 1, record: &storepb.ClusterRecord{Version: 1}, servers: map[cluster.ServerID]*storepb.Server{}, missing: map[cluster.ServerID]int64{},
		named:   map[cluster.ServerID][]store.BodyID{},
		lagging: map[cluster.ServerID]bool{}, managers: map[cluster.ServerID]*Manager{}, leader: voters[0]}
	for _, id := range voters {
		w.add(id, true)
	}
	w.config.Index = 10
	return w
}

func (w *world) add(id cluster.ServerID, voter bool) {
	w.config.Servers = append(w.config.Servers, cluster.Server{ID: id, Address: "addr-" + string(id), Voter: voter})
	w.config.Index++
	w.servers[id] = &storepb.Server{Id: string(id), Name: "name-" + string(id), Address: "addr-" + string(id), MaxVersion: 1}
}

// manager is that of one node; the managers of all share the world.
func (w *world) manager(id cluster.ServerID) *Manager {
	if m := w.managers[id]; m != nil {
		return m
	}
	n := node{w, id}
	m := New(Config{Self: id, Cluster: n, State: n, Bodies: n, Calls: n, Logger: slog.New(slog.DiscardHandler), Every: time.Millisecond,
		GiveUp: 20 * time.Millisecond, RaiseAfter: time.Nanosecond})
	w.managers[id] = m
	return m
}

// lead moves the lead.
func (w *world) lead(id cluster.ServerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leader, w.term, w.dies = id, w.term+1, ""
}

func (w *world) step(what string) error {
	if w.dies == what {
		return errDied
	}
	w.steps = append(w.steps, what)
	return nil
}

func (w *world) voters() (ids []cluster.ServerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return votersOf(w.config)
}

func votersOf(c cluster.Configuration) (ids []cluster.ServerID) {
	for _, s := range c.Servers {
		if s.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// settle lets the leader's manager work until there is nothing to do, or something to wait for.
func (w *world) settle() error {
	w.t.Helper()
	var err error
	for range 20 {
		w.mu.Lock()
		before, leader := len(w.steps), w.leader
		w.mu.Unlock()
		m := w.manager(leader)
		if err = m.leaderStep(context.Background()); errors.Is(err, errDied) {
			return err
		}
		w.mu.Lock()
		quiet := len(w.steps) == before
		w.mu.Unlock()
		if quiet {
			return err
		}
	}
	w.t.Fatalf("it does not come to rest: %q", w.steps)
	return nil
}

// node is the world as one node sees it.
type node struct {
	*world
	id cluster.ServerID
}

func (n node) IsLeader() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.leader == n.id }
func (n node) Status() cluster.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return cluster.Status{Leader: n.leader, Term: n.term}
}
func (n node) Configuration() cluster.Configuration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return cluster.Configuration{Index: n.config.Index, Servers: slices.Clone(n.config.Servers)}
}

func (n node) change(what string, prevIndex uint64, f func(*cluster.Configuration)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leader != n.id {
		return errors.New("not the leader")
	}
	if prevIndex != n.config.Index {
		return fmt.Errorf("the configuration is of %d, not of %d", n.config.Index, prevIndex)
	}
	if err := n.step(what); err != nil {
		return err
	}
	before := votersOf(n.config)
	f(&n.config)
	n.config.Index++
	if n.inForce != nil {
		n.inForce(before, votersOf(n.config))
	}
	return nil
}

func (n node) AddVoter(_ context.Context, id cluster.ServerID, address string, prevIndex uint64) error {
	return n.change("raft vote "+string(id), prevIndex, func(c *cluster.Configuration) {
		for i := range c.Servers {
			if c.Servers[i].ID == id {
				c.Servers[i].Voter, c.Servers[i].Address = true, address
			}
		}
	})
}

func (n node) RemoveServer(_ context.Context, id cluster.ServerID, prevIndex uint64) error {
	return n.change("raft remove "+string(id), prevIndex, func(c *cluster.Configuration) {
		c.Servers = slices.DeleteFunc(c.Servers, func(s cluster.Server) bool { return s.ID == id })
	})
}

func (n node) Readdress(_ context.Context, m cluster.Server, address string, prevIndex uint64) error {
	return n.change("raft address "+string(m.ID), prevIndex, func(c *cluster.Configuration) {
		for i := range c.Servers {
			if c.Servers[i].ID == m.ID {
				c.Servers[i].Address = address
			}
		}
	})
}

func (n node) CaughtUp(_ context.Context, id cluster.ServerID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lagging[id] {
		return errors.New("it is behind")
	}
	return nil
}

func (n node) TransferLeadership() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.config.Servers {
		if s.Voter && s.ID != n.leader {
			n.leader, n.term = s.ID, n.term+1
			return n.step("lead " + string(s.ID))
		}
	}
	return errors.New("nobody else votes")
}

func (n node) ReadBarrier(context.Context) error { return nil }

// Cluster shadows nothing: it is State's.
func (n node) Cluster() (*storepb.ClusterRecord, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return proto.Clone(n.record).(*storepb.ClusterRecord), nil
}

func (n node) Servers() (out []*storepb.Server, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.servers {
		out = append(out, proto.Clone(s).(*storepb.Server))
	}
	return out, nil
}

// Propose does what package state does of these commands.
func (n node) Propose(_ context.Context, fill func(*storepb.Command)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &storepb.Command{}
	fill(c)
	switch op := c.Op.(type) {
	case *storepb.Command_Reconfigure:
		r := op.Reconfigure
		if r.End {
			if n.record.ReconfigureId != r.Id {
				return store.ErrConflict
			}
			if err := n.step("end"); err != nil {
				return err
			}
			n.record.TargetVoters = nil
			return nil
		}
		if len(n.record.TargetVoters) > 0 {
			return store.ErrConflict
		}
		if err := n.step("begin"); err != nil {
			return err
		}
		n.record.TargetVoters, n.record.ReconfigureId = r.TargetVoters, r.Id
	case *storepb.Command_RemoveServer:
		leaving := len(n.record.TargetVoters) > 0 && !slices.Contains(n.record.TargetVoters, op.RemoveServer.Id)
		if slices.Contains(votersOf(n.config), cluster.ServerID(op.RemoveServer.Id)) && !leaving {
			return store.ErrConflict
		}
		s := n.servers[cluster.ServerID(op.RemoveServer.Id)]
		if s == nil {
			s = &storepb.Server{Id: op.RemoveServer.Id}
			n.servers[cluster.ServerID(s.Id)] = s
		}
		if !s.Removed {
			if err := n.step("mark " + s.Id); err != nil {
				return err
			}
		}
		s.Removed = true
	case *storepb.Command_RaiseVersion:
		if op.RaiseVersion.Version <= n.record.Version {
			return store.ErrConflict
		}
		if err := n.step(fmt.Sprint("version ", op.RaiseVersion.Version)); err != nil {
			return err
		}
		n.record.Version = op.RaiseVersion.Version
	default:
		n.t.Errorf("an unexpected command %T", op)
	}
	return nil
}

func (n node) MissingAt(_ context.Context, id store.ServerID) (int64, []store.BodyID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	missing := n.missing[cluster.ServerID(id)]
	if missing < 0 {
		return 0, nil, errors.New("no answer")
	}
	named := n.named[cluster.ServerID(id)]
	return missing + int64(len(named)), named, nil
}

func (n node) Call(ctx context.Context, to cluster.ServerID, method string, req []byte) ([]byte, error) {
	m := n.manager(to)
	switch method {
	case methodRemove:
		return resultOf(m.remove(cluster.ServerID(req)))
	case methodWaits:
		return []byte(`{}`), nil
	}
	return nil, fmt.Errorf("no call %s", method)
}

func (n node) Handle(string, func(context.Context, cluster.ServerID, []byte) ([]byte, error)) {}

// quick makes a manager look again at once.
func (m *Manager) quick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scanned.until = time.Time{}
}
