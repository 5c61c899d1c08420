package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/clustertest"
	"github.com/quorumail/quorumail/cluster/transport"
	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// stack is a cluster of whole nodes in one process, without their listeners for clients: the real Raft, log, state, bodies, replica and
// membership, joined as "serve" joins them. Only the network, the disks and the clock are not real: see cluster/clustertest.
type stack struct {
	t       *testing.T
	rng     *rand.Rand
	net     *clustertest.Network
	ca      *transport.CA
	dir     string // spools and marks of the nodes, on the real disk
	entries int    // snapshot_entries

	nodes   []*stackNode
	account store.AccountID
	ending  sync.WaitGroup // processes that are being closed
	ledger  stackLedger

	checkpoints int // that nodes took
	again       int // inline bodies that a crash took, and that were put again
}

// stackNode is a node with its disk, whether it runs or not.
type stackNode struct {
	s     *stack
	name  string
	creds credentials
	id    identity

	mu  sync.Mutex
	fs  *vfs.MemFS   // guarded by mu
	now *stackNodeUp // nil when it does not run; guarded by mu
}

// stackNodeUp is its process.
type stackNodeUp struct {
	*node
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of what runs and asks in it

	counted int                // checkpoints of stack.checkpoints
	unsure  []state.UnsureBody // inline bodies that the crash before took

	mu    sync.Mutex
	ended error // why it ended itself; guarded by mu
}

func (u *stackNodeUp) end(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended == nil {
		u.ended = err
	}
}

func (u *stackNodeUp) why() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ended
}

// emptyPools drops compressors, which hold channels: one that was made in a bubble may not be used outside of it. A pool's content lives
// for two collections.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// inStack runs a scenario with nodes n1 to nk, that all vote, and an account.
func inStack(t *testing.T, nodes, entries int, f func(t *testing.T, s *stack)) {
	t.Helper()
	seed := seedOf(t)
	defer emptyPools()
	dir := t.TempDir()
	clustertest.Bubble(t, func(t *testing.T) {
		ca, err := transport.NewCA("test")
		if err != nil {
			t.Fatal(err)
		}
		s := &stack{t: t, rng: rand.New(rand.NewPCG(seed, 0)), net: clustertest.NewNetwork(rand.New(rand.NewPCG(seed, 1))), ca: ca, dir: dir, entries: entries,
			ledger: stackLedger{sent: map[string]*stackMessage{}, rng: rand.New(rand.NewPCG(seed, 2))}}
		defer s.close()
		s.found()
		for i := 2; i <= nodes; i++ {
			s.join(fmt.Sprintf("n%d", i), func(*stackNode) {})
			s.awaitVoters(i)
		}
		s.makeAccount()
		f(t, s)
	})
}

// until polls a condition by the bubble's clock.
func (s *stack) until(what string, good func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !good(); time.Sleep(20 * time.Millisecond) { // polls, and costs no time
		if time.Now().After(deadline) {
			for _, p := range s.nodes {
				if u := p.up(); u != nil {
					s.t.Logf("%s: %+v, ready: %v, members %+v, ended: %v", p.name, u.cluster.Status(), u.replica.Ready(), u.cluster.Configuration().Servers, u.why())
				}
			}
			s.t.Fatalf("waited too long until %s", what)
		}
	}
}

func stackAddress(name string) string { return name + ":1" }

// create makes a node with an empty disk under a new id.
func (s *stack) create(name string, founder bool) *stackNode {
	s.t.Helper()
	id := newIdentity(founder)
	key, req, err := transport.NewKey()
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := s.ca.SignNode(req, string(id.ID))
	if err != nil {
		s.t.Fatal(err)
	}
	p := &stackNode{s: s, name: name, creds: credentials{cert: cert, key: key, ca: s.ca.PEM()}, id: id, fs: vfs.NewCrashableMem()}
	s.nodes = append(s.nodes, p)
	return p
}

func (p *stackNode) dataDir() string { return filepath.Join(p.s.dir, p.name) }

func (p *stackNode) config() *config.Config {
	return &config.Config{Name: p.name, Hostname: p.name + ".example.test", DataDir: p.dataDir(), Cluster: config.Cluster{Listen: stackAddress(p.name), Advertise: stackAddress(p.name)},
		Raft: config.Raft{LogStore: "wal", Heartbeat: 250 * time.Millisecond, SnapshotEntries: p.s.entries}, Limits: config.Limits{MinFreeDiskBytes: 1}}
}

// start starts the node's process; with a joiner, for the first time.
func (p *stackNode) start(j *joiner) error {
	p.mu.Lock()
	fs := p.fs
	p.mu.Unlock()
	p.s.net.PowerOn(p.name)
	p.id.Starts++
	u := &stackNodeUp{}
	u.ctx, u.cancel = context.WithCancel(p.s.t.Context())
	u.node = &node{cfg: p.config(), log: slog.New(slog.DiscardHandler), level: &slog.LevelVar{}, figures: newFigures(), id: p.id,
		under: under{fs: fs, logSegmentBytes: 256 << 10, network: p.s.net.Host(p.name), exit: func(err error) { u.end(err); runtime.Goexit() }}}
	// What is fatal ends the process, here the goroutine.
	done := make(chan error, 1)
	go func() {
		err := errors.New("the process ended while it started")
		defer func() { done <- err }()
		err = u.open(j, p.creds)
	}()
	if err := <-done; err != nil {
		u.cancel()
		p.s.net.PowerOff(p.name)
		return errors.Join(err, u.why())
	}
	if err := u.inlineIsBack(); err != nil {
		p.s.t.Errorf("%s: %v", p.name, err)
	}
	p.s.again += len(u.unsure)
	u.run("replica", u.replica.Run)
	u.run("membership", u.members.Run)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = u
	return nil
}

func (u *stackNodeUp) open(j *joiner, creds credentials) error {
	if err := u.openStores(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(u.cfg.DataDir, "blobs"), 0o700); err != nil { // for spools
		return err
	}
	var err error
	if u.unsure, err = u.machine.UnsureInline(); err == nil {
		err = u.openCluster(u.ctx, creds, j)
	}
	if err != nil {
		return errors.Join(err, u.machine.Close(), u.blobs.Close())
	}
	return nil
}

// inlineIsBack demands that the bodies that a crash took are there again, as far as the node's own log holds them.
func (u *stackNodeUp) inlineIsBack() error {
	for _, b := range u.unsure {
		has, err := u.blobs.Has(b.ID)
		if err != nil {
			return err
		}
		if _, err := u.cluster.Command(b.Index); err == nil && !has {
			return fmt.Errorf("the inline body of entry %d is gone after a crash", b.Index)
		}
	}
	return nil
}

func (u *stackNodeUp) run(what string, f func(context.Context) error) {
	u.wg.Add(1)
	go func() {
		defer u.wg.Done()
		if err := f(u.ctx); err != nil && u.ctx.Err() == nil {
			u.end(fmt.Errorf("%s: %w", what, err))
		}
	}()
}

// up is the node's process, nil when it does not run.
func (p *stackNode) up() *stackNodeUp {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// crash takes the power: the disk keeps what was synced, and of the rest as many of a hundred pieces as keepPercent says.
func (p *stackNode) crash(keepPercent int) {
	p.s.net.PowerOff(p.name) // from here on nobody hears of what it still does
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fs = p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keepPercent, RNG: p.s.rng})
	u := p.now
	p.now = nil
	if u == nil {
		return
	}
	u.cancel()
	p.s.ending.Add(1)
	go func() {
		defer p.s.ending.Done()
		u.wg.Wait()
		_ = errors.Join(u.replica.Close(), u.cluster.Close(), u.machine.Close(), u.blobs.Close()) // what it says no longer counts
	}()
}

func (s *stack) close() {
	s.net.Heal()
	for _, p := range s.nodes {
		if u := p.up(); u != nil {
			if err := u.why(); err != nil {
				s.t.Errorf("%s ended itself: %v", p.name, err)
			}
		}
		p.crash(100)
	}
	s.ending.Wait()
	for _, p := range s.nodes {
		s.net.PowerOn(p.name) // resets what still waits on a connection
	}
}

func (s *stack) node(name string) *stackNode {
	for _, p := range s.nodes {
		if p.name == name {
			return p
		}
	}
	s.t.Fatalf("there is no node %s", name)
	return nil
}

// running are the processes by their nodes.
func (s *stack) running() map[string]*stackNodeUp {
	all := map[string]*stackNodeUp{}
	for _, p := range s.nodes {
		if u := p.up(); u != nil {
			all[p.name] = u
		}
	}
	return all
}

func (s *stack) found() {
	s.t.Helper()
	p := s.create("n1", true)
	if err := p.start(nil); err != nil {
		s.t.Fatal(err)
	}
	if err := p.up().cluster.Bootstrap(); err != nil {
		s.t.Fatal(err)
	}
	s.awaitVoters(1)
}

// join brings in a node under a new id: it fetches the state, and becomes a member that does not vote yet. Between the two comes before.
func (s *stack) join(name string, before func(*stackNode)) *stackNode {
	s.t.Helper()
	j := &joiner{}
	for other := range s.running() {
		j.invite.Addresses = append(j.invite.Addresses, stackAddress(other))
	}
	p := s.create(name, false)
	if err := p.start(j); err != nil {
		s.t.Fatalf("start %s: %v", name, err)
	}
	before(p)
	s.until(name+" is a member", func() bool {
		for other, u := range s.running() {
			ctx, cancel := context.WithTimeout(u.ctx, 5*time.Second)
			err := error(nil)
			if other == name {
				err = errors.New("not by itself")
			} else {
				err = u.cluster.AddNonvoter(ctx, p.id.ID, stackAddress(name))
			}
			cancel()
			if err == nil {
				return true
			}
		}
		return false
	})
	return p
}

// votes tells whether a node votes, as one that runs sees it.
func (p *stackNode) votes(as *stackNodeUp) bool {
	return slices.ContainsFunc(as.cluster.Configuration().Servers, func(x cluster.Server) bool { return x.ID == p.id.ID && x.Voter })
}

// awaitVoters waits until all running nodes know that so many vote, and serve.
func (s *stack) awaitVoters(want int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d nodes vote and all serve", want), func() bool {
		for _, u := range s.running() {
			voters := 0
			for _, x := range u.cluster.Configuration().Servers {
				if x.Voter {
					voters++
				}
			}
			if voters != want || u.replica.Ready() != nil {
				return false
			}
		}
		return true
	})
}

// leader is the node that leads and can commit.
func (s *stack) leader() (name string) {
	s.t.Helper()
	s.until("somebody leads", func() bool {
		for n, u := range s.running() {
			ctx, cancel := context.WithTimeout(u.ctx, time.Second)
			ok := u.cluster.IsLeader() && u.cluster.ReadBarrier(ctx) == nil && u.cluster.IsLeader()
			cancel()
			if ok {
				name = n
				return true
			}
		}
		return false
	})
	return name
}

func (s *stack) lead(name string) {
	s.t.Helper()
	s.until(name+" leads", func() bool {
		now := s.leader()
		if now == name {
			return true
		}
		_ = s.node(now).up().cluster.TransferLeadership() // to whom it likes; so again
		return false
	})
}

// split lets nothing pass between those named and the others, in no direction; proto "" is everything.
func (s *stack) split(proto string, names ...string) {
	for _, a := range s.nodes {
		for _, b := range s.nodes {
			if slices.Contains(names, a.name) != slices.Contains(names, b.name) {
				s.net.Block(a.name, b.name, proto)
			}
		}
	}
}

func (s *stack) makeAccount() {
	s.t.Helper()
	r := s.node("n1").up().replica
	_, err := r.Propose(s.t.Context(), func(c *storepb.Command) {
		c.Op = &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: "example.test"}, Create: true}}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := r.Propose(s.t.Context(), func(c *storepb.Command) {
		c.Op = &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Address: "u@example.test"}, Create: true}}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.account = store.AccountID(res.Id)
}

// stackMessage is one that was tried to add. Its answer is the last thing that is noted.
type stackMessage struct {
	raw    []byte
	inline bool
	err    error // what the client was told
	told   bool  // else its node died first
}

func (m *stackMessage) acked() bool { return m.told && m.err == nil }

// denied: nothing happened, certainly.
func (m *stackMessage) denied() bool {
	return m.told && errors.Is(m.err, store.ErrUnavailable) && !errors.Is(m.err, store.ErrUnknownOutcome)
}

// stackLedger is what became of all messages.
type stackLedger struct {
	mu   sync.Mutex
	sent map[string]*stackMessage // by subject; guarded by mu
	rng  *rand.Rand               // of the messages, which are made in many goroutines; guarded by mu
}

// inlineRaw and besideRaw are bytes of messages that travel inside the command and beside the log.
const (
	inlineRaw = 700
	besideRaw = 30_000
)

// add adds a message through a node; large ones travel beside the log. Nil when the node does not run.
func (s *stack) add(name string, size int) *stackMessage {
	p := s.node(name)
	p.mu.Lock()
	u := p.now
	if u == nil {
		p.mu.Unlock()
		return nil
	}
	u.wg.Add(1)
	p.mu.Unlock()
	defer u.wg.Done()
	m := &stackMessage{raw: make([]byte, size), inline: size < 4096}
	s.ledger.mu.Lock()
	for i := range m.raw { // what does not compress
		m.raw[i] = byte(s.ledger.rng.Uint32())
	}
	subject := fmt.Sprintf("Subject: m%d\r\n", len(s.ledger.sent))
	copy(m.raw, subject)
	s.ledger.sent[subject] = m
	s.ledger.mu.Unlock()
	err := s.addRaw(u, m.raw)
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if p.up() == u {
		m.err, m.told = err, true
	}
	return m
}

func (s *stack) addRaw(u *stackNodeUp, raw []byte) error {
	body, err := u.replica.NewBody()
	if err != nil {
		return err
	}
	if _, err := body.Write(raw); err != nil {
		body.Abort()
		return err
	}
	_, err = u.replica.AddMessage(u.ctx, body, &storepb.AddMessage{Targets: []*storepb.Target{{Account: uint64(s.account)}}})
	return err
}

// mustAdd adds messages of both kinds, in turn.
func (s *stack) mustAdd(name string, count int) {
	s.t.Helper()
	for i := range count {
		m := s.add(name, []int{inlineRaw, besideRaw}[i%2])
		if m == nil || !m.acked() {
			s.t.Fatalf("add message %d at %s: %+v", i, name, m)
		}
	}
}

// load adds messages at nodes, all the time, until stop is called. One in so many travels beside the log, which fsyncs the inline ones too;
// 0: none.
func (s *stack) load(besideEvery int, names ...string) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for i, name := range names {
		for range 2 {
			rng := rand.New(rand.NewPCG(s.rng.Uint64(), uint64(i)))
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					case <-time.After(time.Duration(100+rng.IntN(400)) * time.Millisecond):
					}
					size := inlineRaw
					if besideEvery > 0 && n%besideEvery == 0 {
						size = besideRaw
					}
					s.add(name, size)
				}
			}()
		}
	}
	return func() { close(quit); wg.Wait() }
}

// whole tells that a node serves and lacks no body.
func (s *stack) whole(name string) bool {
	u := s.node(name).up()
	if u == nil || u.replica.Ready() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(u.ctx, 5*time.Second)
	defer cancel()
	if u.replica.ReadBarrier(ctx) != nil {
		return false
	}
	n, err := u.replica.ToFetch(1)
	return err == nil && n == 0 && s.lacks(u) == 0
}

// lacks counts the live bodies that are not in a node's own store. It only looks: a question to the replica would make it bring them.
func (s *stack) lacks(u *stackNodeUp) (absent int) {
	s.t.Helper()
	v := u.machine.View()
	defer v.Close()
	err := v.EachBody(func(id store.BodyID, _ store.EmailID) error {
		has, err := u.blobs.Has(id)
		if !has {
			absent++
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return absent
}

// check waits until all nodes are whole and at one index, and compares: the same state, which holds what it promises; each acknowledged
// message once, those of an unknown outcome at most once, those that were refused not at all; each readable from each node's own store.
func (s *stack) check() {
	s.t.Helper()
	var names []string
	for name := range s.running() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s.until(name+" is whole", func() bool { return s.whole(name) })
	}
	hashes := map[string]string{}
	s.until("all nodes are at one index", func() bool {
		at := map[uint64]bool{}
		for name, u := range s.running() {
			index, hash, err := u.machine.Hash()
			if err != nil {
				s.t.Fatal(err)
			}
			at[index], hashes[name] = true, hash
		}
		return len(at) == 1
	})
	var first []string
	for i, name := range names {
		u := s.node(name).up()
		if hashes[name] != hashes[names[0]] {
			s.t.Errorf("the states of %s and %s differ", name, names[0])
		}
		if err := u.machine.Check(); err != nil {
			s.t.Errorf("check of %s: %v", name, err)
		}
		shown := s.shown(name, u)
		if i == 0 {
			first = shown
		}
		if !slices.Equal(shown, first) {
			s.t.Errorf("%s and %s show different mailboxes", name, names[0])
		}
		s.ledger.verify(s.t, name, shown)
	}
}

// shown are the subjects of a node's INBOX in their order. Each message is read from the node's own store.
func (s *stack) shown(name string, u *stackNodeUp) (subjects []string) {
	s.t.Helper()
	v := u.machine.View()
	defer v.Close()
	box, err := v.MailboxByName(s.account, "INBOX")
	if err != nil {
		s.t.Fatal(err)
	}
	err = v.Entries(s.account, store.MailboxID(box.Id), 1, func(uid store.UID, e *storepb.Entry) bool {
		email, err := v.Email(store.EmailID(e.Email))
		if err != nil {
			s.t.Fatal(err)
		}
		raw, err := readOwn(u, store.BodyID(email.BodyId))
		if err != nil {
			s.t.Errorf("%s: read UID %d from its own store: %v", name, uid, err)
			return true
		}
		subject, _, _ := strings.Cut(string(raw), "\n")
		subject += "\n"
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		if m := s.ledger.sent[subject]; m == nil || sha256.Sum256(m.raw) != sha256.Sum256(raw) || m.inline != email.Inline {
			s.t.Errorf("%s shows as UID %d what nobody sent: %.40q", name, uid, raw)
		}
		subjects = append(subjects, subject)
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return subjects
}

func readOwn(u *stackNodeUp, id store.BodyID) ([]byte, error) {
	r, err := u.blobs.Open(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, r)
	return b.Bytes(), err
}

func (l *stackLedger) verify(t *testing.T, name string, shown []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	times := map[string]int{}
	for _, subject := range shown {
		times[subject]++
	}
	for subject, m := range l.sent {
		switch n := times[subject]; {
		case n > 1:
			t.Errorf("%s shows %q %d times", name, subject, n)
		case n == 0 && m.acked():
			t.Errorf("%s does not show %q, which was acknowledged", name, subject)
		case n == 1 && m.denied():
			t.Errorf("%s shows %q, which was refused: %v", name, subject, m.err)
		}
	}
}

// count tells how many messages were acknowledged, refused, and neither.
func (l *stackLedger) count() (acked, denied, unknown int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.sent {
		switch {
		case m.acked():
			acked++
		case m.denied():
			denied++
		default:
			unknown++
		}
	}
	return acked, denied, unknown
}
