package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/gossip"
	"github.com/quorumail/quorumail/store"
)

// party is a cluster of talkers with real gossip on loopback, and one shared state.
type party struct {
	t  *testing.T
	mu sync.Mutex

	keys     gossip.Keys // of the state; guarded by mu
	has      bool        // guarded by mu
	saved    int         // guarded by mu
	leader   cluster.ServerID
	members  []cluster.Server
	talkers  map[cluster.ServerID]*Talker
	handlers map[cluster.ServerID]map[string]func(context.Context, cluster.ServerID, []byte) ([]byte, error)
	silent   map[cluster.ServerID]bool // guarded by mu
	onSave   func(saved int) error     // may stand for a leader that dies
}

// guest is the party as one node sees it.
type guest struct {
	*party
	id cluster.ServerID
}

func (g guest) IsLeader() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.leader == g.id }
func (g guest) Status() cluster.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return cluster.Status{Leader: g.leader}
}
func (g guest) Configuration() cluster.Configuration {
	return cluster.Configuration{Index: 1, Servers: g.members}
}

func (g guest) Keys() (gossip.Keys, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.has {
		return gossip.Keys{}, store.ErrNotFound
	}
	return g.keys, nil
}

func (g guest) SaveKeys(_ context.Context, k gossip.Keys, create bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if create && g.has {
		return store.ErrExists
	}
	if g.onSave != nil {
		if err := g.onSave(g.saved); err != nil {
			return err
		}
	}
	g.keys, g.has = k, true
	g.saved++
	return nil
}

func (g guest) Handle(method string, h func(context.Context, cluster.ServerID, []byte) ([]byte, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handlers[g.id][method] = h
}

func (g guest) Call(ctx context.Context, to cluster.ServerID, method string, req []byte) ([]byte, error) {
	g.mu.Lock()
	silent, h := g.silent[to], g.handlers[to][method]
	g.mu.Unlock()
	if silent || h == nil {
		return nil, errors.New("no answer")
	}
	return h(ctx, g.id, req)
}

func newParty(t *testing.T, n int) *party {
	t.Helper()
	p := &party{t: t, leader: "n0", talkers: map[cluster.ServerID]*Talker{}, silent: map[cluster.ServerID]bool{},
		handlers: map[cluster.ServerID]map[string]func(context.Context, cluster.ServerID, []byte) ([]byte, error){}}
	for i := range n {
		id := cluster.ServerID(fmt.Sprint("n", i))
		p.members = append(p.members, cluster.Server{ID: id, Voter: true})
		p.handlers[id] = map[string]func(context.Context, cluster.ServerID, []byte) ([]byte, error){}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, m := range p.members {
		g := guest{p, m.ID}
		talker := NewTalker(TalkConfig{Self: m.ID, Name: string(m.ID), Listen: "127.0.0.1:0", Members: g, Keys: g, Calls: g, Logger: slog.New(slog.DiscardHandler),
			Health: func() gossip.Health { return gossip.Health{Ready: true} }, Deliver: func([]byte) {}, Every: 20 * time.Millisecond, RotateTimeout: 20 * time.Second})
		talker.Register()
		p.talkers[m.ID] = talker
		done.Add(1)
		go func() {
			defer done.Done()
			if err := talker.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
	}
	t.Cleanup(func() { cancel(); done.Wait() })
	for _, a := range p.talkers {
		for _, b := range p.members {
			p.until("all hear all", func() bool { return a.Member(b.ID).State == gossip.Alive })
		}
	}
	return p
}

func (p *party) until(what string, good func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !good() {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(5 * time.Millisecond) // polls a condition
	}
}

func (p *party) state() gossip.Keys { p.mu.Lock(); defer p.mu.Unlock(); return p.keys }

func TestKeysAreRotatedFromAnyNode(t *testing.T) {
	p := newParty(t, 3)
	first := p.state()
	if err := p.talkers["n2"].RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	k := p.state()
	if k.Rotating() || bytes.Equal(k.Keys[0], first.Keys[0]) {
		t.Errorf("after the rotation there are %d keys; a new one: %v", len(k.Keys), !bytes.Equal(k.Keys[0], first.Keys[0]))
	}
	for id, x := range p.talkers {
		if g := x.gossip().Generation(); g != k.Generation {
			t.Errorf("%s has generation %d of %d", id, g, k.Generation)
		}
	}
}

func TestRotationWaitsForEveryMember(t *testing.T) {
	p := newParty(t, 3)
	first := p.state()
	p.talkers["n0"].cfg.RotateTimeout = 100 * time.Millisecond
	p.mu.Lock()
	p.silent["n1"] = true
	p.mu.Unlock()
	if err := p.talkers["n0"].RotateKeys(t.Context()); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "n1") {
		t.Errorf("a member does not answer: %v", err)
	}
	if k := p.state(); len(k.Keys) != 2 || !bytes.Equal(k.Keys[0], first.Keys[0]) || k.Used {
		t.Errorf("the new key is used before all know it: %d keys, used %v", len(k.Keys), k.Used)
	}
	p.mu.Lock()
	p.silent["n1"] = false
	p.mu.Unlock()
	p.talkers["n0"].cfg.RotateTimeout = 20 * time.Second
	if err := p.talkers["n0"].RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k := p.state(); k.Rotating() || bytes.Equal(k.Keys[0], first.Keys[0]) {
		t.Error("the second call did not go on where the first one stopped")
	}
}

// At whatever step the leader dies, the rotation goes on from there, and ends with a new key.
func TestRotationSurvivesItsLeader(t *testing.T) {
	for step := range 3 {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			p := newParty(t, 3)
			first := p.state()
			base := p.saved
			p.onSave = func(saved int) error {
				if saved == base+step {
					return errors.New("the process died")
				}
				return nil
			}
			if err := p.talkers["n1"].RotateKeys(t.Context()); err == nil {
				t.Fatal("it did not die")
			}
			p.mu.Lock()
			p.leader, p.onSave = "n1", nil
			p.mu.Unlock()
			if err := p.talkers["n2"].RotateKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			if k := p.state(); k.Rotating() || bytes.Equal(k.Keys[0], first.Keys[0]) {
				t.Errorf("%d keys; a new one: %v", len(k.Keys), !bytes.Equal(k.Keys[0], first.Keys[0]))
			}
		})
	}
}

func TestTalkerSaysThatItsPortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := &party{t: t, leader: "n0", handlers: map[cluster.ServerID]map[string]func(context.Context, cluster.ServerID, []byte) ([]byte, error){"n0": {}}}
	g := guest{p, "n0"}
	talker := NewTalker(TalkConfig{Self: "n0", Listen: taken.Addr().String(), Members: g, Keys: g, Calls: g, Logger: slog.New(slog.DiscardHandler)})
	if err := talker.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is another program there?") {
		t.Errorf("%v", err)
	}
}
