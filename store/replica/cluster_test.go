package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// testCluster is three nodes over one list of commands that stands for the log. Faults are set through its fields and the nodes'.
type testCluster struct {
	t     *testing.T
	nodes []*testNode

	mu      sync.Mutex
	entries []state.Entry           // the log; guarded by mu
	grown   *sync.Cond              // of mu
	voters  []store.ServerID        // guarded by mu
	faults  func(attempt int) fault // what happens to a proposal; guarded by mu
	tries   map[string]int          // by command; guarded by mu
	leader  int                     // guarded by mu
	closed  bool                    // guarded by mu
}

// fault is what happens to one handing over of a command.
type fault struct {
	lose    bool          // not appended; an unknown outcome
	refuse  bool          // not appended, and said so
	times   int           // appended so often, besides once
	noReply bool          // appended, and an unknown outcome
	delay   time.Duration // before it is appended
	after   func()        // runs when it was appended
}

// testNode is one of them.
type testNode struct {
	*Replica
	c       *testCluster
	id      store.ServerID
	machine *state.Machine
	blobs   *blob.Memory

	down    atomic.Bool // no streams or calls to it
	noLog   atomic.Bool // its proposals and barriers fail, definitely
	hold    atomic.Bool // it applies nothing
	free    atomic.Int64
	offset  atomic.Int64 // of its clock
	rate    atomic.Int64 // of its clock, in percent
	calls   map[string]func(context.Context, store.ServerID, []byte) ([]byte, error)
	streams map[string]func(context.Context, store.ServerID, net.Conn) error
	puts    atomic.Int64 // streams opened to it
	refused atomic.Int64 // streams to it that could not be opened
	pace    atomic.Int64 // nanoseconds that each read from it takes
}

var testStart = time.Now()

// now is the node's clock.
func (n *testNode) now() time.Time {
	passed := time.Since(testStart) * time.Duration(n.rate.Load()) / 100
	return testStart.Add(passed + time.Duration(n.offset.Load()))
}

// quick are intervals for tests; loops that a test does not want are far apart.
func quick() Intervals {
	const never = 24 * time.Hour
	return Intervals{Propose: 5 * time.Second, Barrier: time.Second, Straggler: time.Second, Abandon: 200 * time.Millisecond, Stream: 2 * time.Second,
		StreamIdle: 5 * time.Second, Ready: 10 * time.Millisecond, ReadyLimit: 500 * time.Millisecond, Fetch: 10 * time.Millisecond,
		Tick: never, Epoch: never, Sweep: never, Compact: never, Scrub: never, Reconcile: never, Maintenance: 2 * time.Second, Missing: 5 * time.Second}
}

func newTestCluster(t *testing.T, change ...func(*Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, tries: map[string]int{}}
	c.grown = sync.NewCond(&c.mu)
	for i := range 3 {
		c.voters = append(c.voters, store.ServerID(fmt.Sprintf("n%d", i+1)))
	}
	position := &storepb.LogPosition{ConfigurationIndex: 1}
	for _, id := range c.voters {
		position.Servers = append(position.Servers, &storepb.ConfiguredServer{Id: string(id), Voter: true})
	}
	c.entries = []state.Entry{{Index: 1, Term: 1, Configuration: position}}
	for i, id := range c.voters {
		c.nodes = append(c.nodes, c.newNode(i, id, change...))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	for _, n := range c.nodes {
		g.Go(func() { n.applyLoop() })
		g.Go(func() {
			if err := n.Run(ctx); err != nil {
				t.Errorf("node %s: %v", n.id, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		c.mu.Lock()
		c.closed = true
		c.grown.Broadcast()
		c.mu.Unlock()
		g.Wait()
		for _, n := range c.nodes {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
			if err := n.machine.Check(); err != nil {
				t.Errorf("state of %s: %v", n.id, err)
			}
			if err := n.machine.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, n := range c.nodes {
		c.wait("registration of all nodes", func() bool {
			v := n.View()
			defer v.Close()
			servers, err := v.Servers()
			return err == nil && len(servers) == 3 && n.Ready() == nil
		})
	}
	return c
}

func (c *testCluster) newNode(i int, id store.ServerID, change ...func(*Config)) *testNode {
	n := &testNode{c: c, id: id, blobs: blob.NewMemory(), calls: map[string]func(context.Context, store.ServerID, []byte) ([]byte, error){},
		streams: map[string]func(context.Context, store.ServerID, net.Conn) error{}}
	n.free.Store(1 << 40)
	n.rate.Store(100)
	var err error
	if n.machine, err = state.Open(state.Config{Blobs: n.blobs, Self: id}); err != nil {
		c.t.Fatal(err)
	}
	cfg := Config{Self: id, DataIncarnation: [16]byte{byte(i + 1)}, Name: string(id), Machine: n.machine, Blobs: n.blobs, Log: testLog{n}, Peers: n,
		SpoolDir: c.t.TempDir(), FreeBytes: func() (int64, error) { return n.free.Load(), nil }, Intervals: quick(), Now: n.now}
	for _, f := range change {
		f(&cfg)
	}
	if n.Replica, err = New(cfg); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// applyLoop follows the log.
func (n *testNode) applyLoop() {
	c := n.c
	for next := 0; ; {
		c.mu.Lock()
		for !c.closed && (next >= len(c.entries) || n.hold.Load()) {
			c.grown.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		batch := c.entries[next:]
		c.mu.Unlock()
		if err := n.machine.Apply(batch); err != nil {
			c.t.Errorf("apply on %s: %v", n.id, err)
			return
		}
		next += len(batch)
		c.mu.Lock()
		c.grown.Broadcast() // barriers wait for it
		c.mu.Unlock()
	}
}

// holdApply stops or resumes applying.
func (n *testNode) holdApply(yes bool) {
	n.hold.Store(yes)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.c.grown.Broadcast()
}

func (c *testCluster) setFaults(f func(attempt int) fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = f
}

// ---- Log ----

// testLog is the node's way to the log.
type testLog struct{ n *testNode }

func (l testLog) Propose(ctx context.Context, cmd []byte) error { return l.n.proposeOnLog(ctx, cmd) }
func (l testLog) ReadBarrier(ctx context.Context) error         { return l.n.barrierOnLog(ctx) }

// proposeOnLog hands over once, with the faults of the moment.
func (n *testNode) proposeOnLog(ctx context.Context, cmd []byte) error {
	if n.noLog.Load() {
		return fmt.Errorf("no leader: %w", store.ErrUnavailable)
	}
	c := n.c
	c.mu.Lock()
	c.tries[string(cmd)]++
	f := fault{}
	if c.faults != nil {
		f = c.faults(c.tries[string(cmd)])
	}
	c.mu.Unlock()
	if f.delay > 0 && !pause(ctx, f.delay) {
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, ctx.Err())
	}
	if f.refuse {
		return fmt.Errorf("not the leader: %w", store.ErrUnavailable)
	}
	if f.lose {
		return fmt.Errorf("lost: %w", store.ErrUnknownOutcome)
	}
	c.append(cmd, 1+f.times)
	if f.after != nil {
		f.after()
	}
	if f.noReply {
		return fmt.Errorf("the reply was lost: %w", store.ErrUnknownOutcome)
	}
	return nil
}

func (c *testCluster) append(cmd []byte, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range times {
		c.entries = append(c.entries, state.Entry{Index: uint64(len(c.entries) + 1), Term: 1, Command: bytes.Clone(cmd)})
	}
	c.grown.Broadcast()
}

// setMembers changes the membership by an entry of the log; all members vote.
func (c *testCluster) setMembers(ids ...store.ServerID) { c.setVoters(ids) }

// setVoters changes the membership likewise, with members that do not vote.
func (c *testCluster) setVoters(ids []store.ServerID, others ...store.ServerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	index := uint64(len(c.entries) + 1)
	position := &storepb.LogPosition{ConfigurationIndex: index}
	for _, id := range ids {
		position.Servers = append(position.Servers, &storepb.ConfiguredServer{Id: string(id), Voter: true})
	}
	for _, id := range others {
		position.Servers = append(position.Servers, &storepb.ConfiguredServer{Id: string(id)})
	}
	c.entries = append(c.entries, state.Entry{Index: index, Term: 1, Configuration: position})
	c.voters = ids
	c.grown.Broadcast()
}

func (n *testNode) barrierOnLog(ctx context.Context) error {
	if n.noLog.Load() {
		return fmt.Errorf("no leader: %w", store.ErrUnavailable)
	}
	c := n.c
	stop := context.AfterFunc(ctx, func() { c.mu.Lock(); defer c.mu.Unlock(); c.grown.Broadcast() })
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	target := uint64(len(c.entries))
	for n.machine.Position().GetIndex() < target && ctx.Err() == nil {
		c.grown.Wait()
	}
	return ctx.Err()
}

// ---- Peers ----

func (n *testNode) Voters() ([]store.ServerID, uint64) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return append([]store.ServerID(nil), n.c.voters...), 1
}

func (n *testNode) Servers() []store.ServerID {
	var ids []store.ServerID
	for _, p := range n.c.nodes {
		ids = append(ids, p.id)
	}
	return ids
}

func (n *testNode) peer(to store.ServerID) (*testNode, error) {
	for _, p := range n.c.nodes {
		if p.id == to && !p.down.Load() && !n.down.Load() {
			return p, nil
		}
	}
	return nil, errors.New("connection refused")
}

func (n *testNode) Call(ctx context.Context, to store.ServerID, method string, req []byte) ([]byte, error) {
	p, err := n.peer(to)
	if err != nil {
		return nil, err
	}
	return p.calls[method](ctx, n.id, req)
}

func (n *testNode) OpenStream(ctx context.Context, to store.ServerID, method string) (net.Conn, error) {
	p, err := n.peer(to)
	if err != nil {
		for _, p := range n.c.nodes {
			if p.id == to {
				p.refused.Add(1)
			}
		}
		return nil, err
	}
	p.puts.Add(1)
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		_ = p.streams[method](context.WithoutCancel(ctx), n.id, downable{there, p})
	}()
	return downable{here, p}, nil
}

// downable fails when its server is down.
type downable struct {
	net.Conn
	server *testNode
}

func (d downable) Read(p []byte) (int, error) {
	time.Sleep(time.Duration(d.server.pace.Load())) // the line is slow
	n, err := d.Conn.Read(p)
	if d.server.down.Load() {
		d.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (n *testNode) Handle(method string, h func(context.Context, store.ServerID, []byte) ([]byte, error)) {
	n.calls[method] = h
}

func (n *testNode) HandleStream(method string, h func(context.Context, store.ServerID, net.Conn) error) {
	n.streams[method] = h
}

func (n *testNode) IsLeader() bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.nodes[n.c.leader] == n
}

// ---- what tests do ----

// wait waits for a condition.
func (c *testCluster) wait(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			c.t.Fatalf("timeout waiting for %s", what)
		}
		time.Sleep(time.Millisecond) // the pace of polling, not a guess of how long it takes
	}
}

// account makes a domain and an account.
func (c *testCluster) account() store.AccountID {
	c.t.Helper()
	ctx, n := context.Background(), c.nodes[0]
	_, err := n.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: "example.test"}, Create: true}}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := n.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: &storepb.Account{Address: "u@example.test"}, Create: true}}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return store.AccountID(res.Id)
}

// message is n bytes that do not compress.
func message(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// add adds a message through a node.
func (n *testNode) add(ctx context.Context, account store.AccountID, raw []byte) (*storepb.Result, *storepb.AddMessage, error) {
	msg := &storepb.AddMessage{Targets: []*storepb.Target{{Account: uint64(account)}}}
	up, err := n.NewBody()
	if err != nil {
		return nil, msg, err
	}
	if _, err := up.Write(raw); err != nil {
		up.Abort()
		return nil, msg, err
	}
	res, err := n.AddMessage(ctx, up, msg)
	return res, msg, err
}

// mustAdd adds a message and returns its body's id.
func (n *testNode) mustAdd(account store.AccountID, raw []byte) store.BodyID {
	n.c.t.Helper()
	_, msg, err := n.add(context.Background(), account, raw)
	if err != nil {
		n.c.t.Fatalf("add a message at %s: %v", n.id, err)
	}
	return store.BodyID(msg.Body.Id)
}

// read reads a body through a node.
func (n *testNode) read(id store.BodyID) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	body, err := n.OpenBody(ctx, id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// inbox reads the account's INBOX.
func (n *testNode) inbox(account store.AccountID) *storepb.Mailbox {
	n.c.t.Helper()
	v := n.View()
	defer v.Close()
	mb, err := v.MailboxByName(account, "INBOX")
	if err != nil {
		n.c.t.Fatal(err)
	}
	return mb
}

func (n *testNode) has(id store.BodyID) bool {
	has, err := n.blobs.Has(id)
	if err != nil {
		n.c.t.Error(err)
	}
	return has
}

func (n *testNode) missing(of store.ServerID) int {
	v := n.View()
	defer v.Close()
	ids, err := v.Missing(of, 1000)
	if err != nil {
		n.c.t.Error(err)
	}
	return len(ids)
}

// everywhere waits until all nodes have applied the whole log.
func (c *testCluster) everywhere() {
	c.t.Helper()
	for _, n := range c.nodes {
		if err := n.ReadBarrier(context.Background()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// expunge removes everything from the account's INBOX.
func (n *testNode) expunge(account store.AccountID) {
	n.c.t.Helper()
	op := &storepb.Expunge{Account: uint64(account), Mailbox: n.inbox(account).Id, All: true}
	if _, err := n.Propose(context.Background(), func(c *storepb.Command) { c.Op = &storepb.Command_Expunge{Expunge: op} }); err != nil {
		n.c.t.Fatal(err)
	}
}
