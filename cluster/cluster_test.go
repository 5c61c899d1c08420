package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/cluster/transport"
)

// notes is a Machine that remembers commands, each once.
type notes struct {
	mu  sync.Mutex
	all []string
	pos Position
}

func (m *notes) Apply(entries []Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if e.Index <= m.pos.Index {
			continue
		}
		m.pos.Index, m.pos.Term = e.Index, e.Term
		if e.Configuration != nil {
			m.pos.Configuration = *e.Configuration
		}
		if c := string(e.Command); e.Command != nil && !slices.Contains(m.all, c) {
			m.all = append(m.all, c)
		}
	}
	return nil
}

func (m *notes) Position() Position { m.mu.Lock(); defer m.mu.Unlock(); return m.pos }
func (m *notes) Persist() error     { return nil }

type notesFile struct {
	All []string
	Pos Position
}

func (m *notes) Checkpoint() (Position, int64, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, err := json.Marshal(notesFile{m.all, m.pos})
	return m.pos, int64(len(raw)), io.NopCloser(bytes.NewReader(raw)), err
}

func (m *notes) Restore(r io.Reader) error {
	var f notesFile
	if err := json.NewDecoder(r).Decode(&f); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all, m.pos = f.All, f.Pos
	return nil
}

func (m *notes) list() []string { m.mu.Lock(); defer m.mu.Unlock(); return slices.Clone(m.all) }

type member struct {
	*Node
	machine *notes
	id      ServerID
	dir     string
	addr    string
	before  func(*Node) error
}

type lab struct {
	t         *testing.T
	ca        *transport.CA
	members   []*member
	heartbeat time.Duration
	removed   atomic.Value // ServerID of one that is refused
}

// newSteadyLab is for tests that speak with one leader and not with whoever leads: with its long heartbeat, a machine that is busy with
// other things does not move the lead.
func newSteadyLab(t *testing.T, n int) *lab {
	t.Helper()
	return startLab(t, n, 1500*time.Millisecond)
}

func newLab(t *testing.T, n int) *lab {
	t.Helper()
	return startLab(t, n, 0)
}

func startLab(t *testing.T, n int, heartbeat time.Duration) *lab {
	t.Helper()
	ca, err := transport.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, ca: ca, heartbeat: heartbeat}
	for i := range n {
		m := &member{machine: &notes{}, id: ServerID(fmt.Sprintf("s%d", i)), dir: t.TempDir(), addr: freeAddress(t)}
		l.members = append(l.members, m)
		l.start(m)
		if i == 0 {
			if err := m.Bootstrap(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := l.members[0].AddNonvoter(t.Context(), m.id, m.addr); err != nil {
			t.Fatal(err)
		}
		l.until("the new member votes", func() bool {
			c := l.members[0].Configuration()
			if len(voters(c)) == i+1 {
				return true
			}
			_ = l.members[0].AddVoter(inTime(t), m.id, m.addr, c.Index) // refused where another change is under way, or the lead moved
			return false
		})
	}
	t.Cleanup(func() {
		for _, m := range l.members {
			if m.Node != nil {
				m.Close()
			}
		}
	})
	return l
}

func voters(c Configuration) (ids []ServerID) {
	for _, s := range c.Servers {
		if s.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (l *lab) start(m *member) {
	l.t.Helper()
	node, err := l.open(m)
	if err != nil {
		l.t.Fatal(err)
	}
	m.Node = node
}

func (l *lab) open(m *member) (*Node, error) {
	key, req, err := transport.NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := l.ca.SignNode(req, string(m.id))
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	port, err := transport.Open(transport.Config{Listen: m.addr, CertPEM: cert, KeyPEM: key, CAPEM: l.ca.PEM(), Logger: log})
	if err != nil {
		return nil, err
	}
	node, err := Open(l.t.Context(), Config{ID: m.id, DataDir: m.dir, Advertise: m.addr, Machine: m.machine, Port: port, Logger: log, Heartbeat: l.heartbeat, Before: m.before,
		Refuse: func(id ServerID) error {
			if l.removed.Load() == id {
				return fmt.Errorf("%s was removed", id)
			}
			return nil
		},
		OnFatal: func(err error) { l.t.Errorf("%s: %v", m.id, err) }})
	if err != nil {
		port.Close()
	}
	return node, err
}

func (l *lab) until(what string, good func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !good() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(5 * time.Millisecond) // polls a condition
	}
}

func (l *lab) leader() *member {
	l.t.Helper()
	var found *member
	l.until("somebody leads", func() bool {
		for _, m := range l.members {
			if m.Node != nil && m.IsLeader() {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (l *lab) stop(m *member) {
	l.t.Helper()
	if err := m.Close(); err != nil {
		l.t.Fatal(err)
	}
	m.Node = nil
}

func TestCommandsOfEveryNodeReachEveryNode(t *testing.T) {
	l := newLab(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i, m := range l.members {
		if err := m.Propose(ctx, fmt.Appendf(nil, "from %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range l.members {
		if err := m.ReadBarrier(ctx); err != nil {
			t.Fatal(err)
		}
		if got := m.machine.list(); len(got) != 3 {
			t.Errorf("%s holds %q", m.id, got)
		}
	}
}

func TestProposalsGoOnWhenTheLeaderStops(t *testing.T) {
	l := newLab(t, 3)
	old := l.leader()
	var others []*member
	for _, m := range l.members {
		if m != old {
			others = append(others, m)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	errs := make(chan error, 100)
	for i := range cap(errs) {
		go func() { errs <- others[i%2].Propose(ctx, fmt.Appendf(nil, "note %d", i)) }()
	}
	l.stop(old)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := others[1].ReadBarrier(ctx); err != nil {
		t.Fatal(err)
	}
	if got := others[1].machine.list(); len(got) != cap(errs) {
		t.Errorf("%d notes of %d", len(got), cap(errs))
	}
	l.start(old)
	if err := old.ReadBarrier(ctx); err != nil {
		t.Fatal(err)
	}
	if got := old.machine.list(); len(got) != cap(errs) {
		t.Errorf("after its restart %s holds %d notes of %d", old.id, len(got), cap(errs))
	}
}

func TestWithoutQuorumNothingHangs(t *testing.T) {
	l := newLab(t, 3)
	lead := l.leader()
	for _, m := range l.members {
		if m != lead {
			l.stop(m)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := lead.ReadBarrier(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a barrier without a quorum says %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := lead.Propose(ctx, []byte("x"))
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a proposal without a quorum says %v", err)
	}
}

func TestTooManyProposalsAreRefusedAtOnce(t *testing.T) {
	p := pending{max: 2, maxBytes: 10}
	if !p.enter(5) || p.enter(6) || !p.enter(5) || p.enter(0) {
		t.Error("the bounds do not hold")
	}
	p.leave(5)
	if !p.enter(1) {
		t.Error("what left still counts")
	}
	if !errors.Is(ErrBusy, ErrUnavailable) {
		t.Error("busy is a kind of unavailable")
	}
}

// B5: a node whose log is gone acknowledged entries that it no longer has.
func TestB5LostLogIsRefused(t *testing.T) {
	l := newLab(t, 3)
	m := l.members[2]
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := m.Propose(ctx, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := m.ReadBarrier(ctx); err != nil {
		t.Fatal(err)
	}
	l.stop(m)
	m.dir = filepath.Join(t.TempDir(), "empty")
	if _, err := l.open(m); !errors.Is(err, ErrLostDisk) {
		t.Errorf("a node without its log starts: %v", err)
	}
}
