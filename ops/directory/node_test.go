package directory

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// node is a real state machine in memory, with a log of its own that always agrees.
type node struct {
	t  testing.TB
	m  *state.Machine
	mu sync.Mutex
	// index of the last command; barrier is what ReadBarrier returns
	index   uint64
	barrier error
	catchUp func() // runs at the next barrier: what other nodes acknowledged becomes known here
	told    []func(store.AccountID)
	set     []func()
}

func newNode(t testing.TB) *node {
	t.Helper()
	m, err := state.Open(state.Config{Self: "s1", Blobs: memoryBlobs(t)})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, m: m}
	m.OnApplied(func(a state.Applied) {
		for _, id := range a.Credentials {
			for _, f := range n.told {
				f(id)
			}
		}
		if a.Settings {
			for _, f := range n.set {
				f()
			}
		}
	})
	t.Cleanup(func() {
		if err := m.Check(); err != nil {
			t.Errorf("the state is broken: %v", err)
		}
		_ = m.Close()
	})
	return n
}

func (n *node) Propose(_ context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	cmd := &storepb.Command{Version: state.CommandVersion, Incarnation: []byte("0123456789abcdef"), Seq: n.index, Lowest: n.index, TimeUnixMs: 1000, Server: "s1"}
	fill(cmd)
	raw, err := proto.Marshal(cmd)
	if err != nil {
		return nil, err
	}
	if err := n.m.Apply([]state.Entry{{Index: n.index, Term: 1, Command: raw}}); err != nil {
		return nil, err
	}
	res, ok := n.m.LookupResult([16]byte([]byte("0123456789abcdef")), n.index)
	if !ok {
		return nil, fmt.Errorf("no result of %d", n.index)
	}
	return res, state.ResultError(res)
}

func (n *node) ReadBarrier(context.Context) error {
	n.mu.Lock()
	err, catchUp := n.barrier, n.catchUp
	n.catchUp = nil
	n.mu.Unlock()
	if catchUp != nil {
		catchUp()
	}
	return err
}

func (n *node) View() *state.View                     { return n.m.View() }
func (n *node) OnCredentials(f func(store.AccountID)) { n.told = append(n.told, f) }
func (n *node) OnSettings(f func())                   { n.set = append(n.set, f) }

// testDirectory is a directory with example.test, alice and bob.
func testDirectory(t *testing.T, change func(*Config)) (*Directory, *node) {
	t.Helper()
	n := newNode(t)
	cheapPasswords(t, n)
	cfg := Config{Store: n, Now: func() time.Time { return time.Unix(1_000_000, 0) }}
	if change != nil {
		change(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	must(t, d.CreateDomain(t.Context(), "example.test", DomainChange{}))
	for _, who := range []string{"alice", "bob"} {
		if _, err := d.CreateAccount(t.Context(), who+"@example.test", who+"'s secret", AccountChange{}); err != nil {
			t.Fatal(err)
		}
	}
	return d, n
}

// cheapPasswords makes hashes and keys as cheap as the settings allow: what they cost is not what the tests are about.
func cheapPasswords(t *testing.T, s Store) {
	t.Helper()
	for name, value := range map[string]string{config.AuthArgon2Memory.Name: "8MiB", config.AuthArgon2Passes.Name: "1", config.AuthSCRAMIterations.Name: "4096"} {
		_, err := s.Propose(t.Context(), func(c *storepb.Command) {
			c.Op = &storepb.Command_PutSetting{PutSetting: &storepb.PutSetting{Name: name, Value: value}}
		})
		must(t, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var somewhere = netip.MustParseAddr("192.0.2.7")
