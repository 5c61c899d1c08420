package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// world is a cluster in one process: each node has a real state, and all states apply the same commands. Its log, its clock and the other
// systems are the test's.
type world struct {
	t      *testing.T
	spool  string
	seq    uint64 // of the world's own commands
	sender *sink

	mu     sync.Mutex
	index  uint64
	nodes  map[string]*node
	bodies map[string][]byte
	leader string
}

// node is one of them. Its process, the Manager, may be started again.
type node struct {
	w       *world
	id      string
	machine *state.Machine
	m       *Manager // guarded by w.mu; nil: it does not run
	stop    func()
	fault   func(*storepb.Command) fault // guarded by w.mu; nil: none
	away    bool                         // it cannot work; guarded by w.mu
	told    []state.Applied              // guarded by w.mu
}

// fault is what goes wrong with a proposal.
type fault int

const (
	none     fault = iota
	refused        // nothing happened
	unheard        // nothing happened, and nobody knows
	unspoken       // it happened, and nobody knows
)

func newWorld(t *testing.T, ids ...string) *world {
	t.Helper()
	w := &world{t: t, spool: t.TempDir(), sender: &sink{got: map[string]int{}, via: map[string]string{}}, nodes: map[string]*node{}, bodies: map[string][]byte{}, leader: ids[0]}
	var servers []*storepb.ConfiguredServer
	for _, id := range ids {
		servers = append(servers, &storepb.ConfiguredServer{Id: id, Voter: true})
	}
	for _, id := range ids {
		n := &node{w: w, id: id}
		var err error
		n.machine, err = state.Open(state.Config{Blobs: blob.NewMemory(), Self: store.ServerID(id), OnFatal: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.machine.Close() })
		n.machine.OnApplied(func(a state.Applied) { n.told = append(n.told, a) })
		w.nodes[id] = n
		if err := n.machine.Apply([]state.Entry{{Index: 1, Term: 1, Configuration: &storepb.LogPosition{ConfigurationIndex: 1, Servers: servers}}}); err != nil {
			t.Fatal(err)
		}
	}
	w.index = 1
	w.do(&storepb.Command{Op: &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Create: true, Domain: &storepb.Domain{Name: "here.test"}}}})
	return w
}

// outside runs what uses the compressor, whose parts are shared by all tests and so belong to no test's time.
type outside struct {
	sync.Mutex
	do   chan func()
	done chan struct{}
}

var compressing = func() *outside {
	o := &outside{do: make(chan func()), done: make(chan struct{})}
	go func() {
		for f := range o.do {
			f()
			o.done <- struct{}{}
		}
	}()
	return o
}()

func (o *outside) run(f func()) {
	o.Lock()
	defer o.Unlock()
	o.do <- f
	<-o.done
}

// tell passes on what was applied, under w.mu.
func (n *node) tell() {
	for _, a := range n.told {
		n.applied(a)
	}
	n.told = nil
}

func (n *node) applied(a state.Applied) {
	if n.m == nil {
		return
	}
	if len(a.Queued) > 0 {
		n.m.Queued(a.Queued, false)
	}
	for _, id := range a.Credentials {
		n.m.AccountChanged(id)
	}
}

// apply applies a command everywhere, under w.mu.
func (w *world) apply(c *storepb.Command) *storepb.Result {
	raw, err := proto.Marshal(c)
	if err != nil {
		w.t.Errorf("encode %v: %v", c, err)
		return &storepb.Result{Code: state.CodeUnavailable}
	}
	w.index++
	var res *storepb.Result
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		m := w.nodes[id].machine
		var err error
		compressing.run(func() { err = m.Apply([]state.Entry{{Index: w.index, Term: 1, Command: raw}}) })
		if err != nil {
			w.t.Errorf("apply %v: %v", c, err)
			return &storepb.Result{Code: state.CodeUnavailable}
		}
		res, _ = m.LookupResult([16]byte(c.Incarnation), c.Seq)
		w.nodes[id].tell()
	}
	return res
}

// try carries out a command of the world's own, for the first node.
func (w *world) try(c *storepb.Command) (*storepb.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	if c.Server == "" {
		c.Server = w.leader
	}
	c.Version, c.Incarnation, c.Seq, c.Lowest, c.TimeUnixMs = state.CommandVersion, bytes.Repeat([]byte{1}, 16), w.seq, w.seq, time.Now().UnixMilli()
	res := w.apply(c)
	return res, state.ResultError(res)
}

func (w *world) do(c *storepb.Command) *storepb.Result {
	w.t.Helper()
	res, err := w.try(c)
	if err != nil {
		w.t.Fatalf("%v: %v", c, err)
	}
	return res
}

func (w *world) account(address string) uint64 {
	w.t.Helper()
	return w.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Create: true, Account: &storepb.Account{Address: address}}}}).Id
}

func (w *world) change(a *storepb.Account) {
	w.t.Helper()
	w.do(&storepb.Command{Op: &storepb.Command_PutAccount{PutAccount: &storepb.PutAccount{Account: a}}})
}

// body keeps a text as bodies are kept.
func (w *world) body(write func(io.Writer) error) (*storepb.BodyRef, error) {
	var raw bytes.Buffer
	if err := write(&raw); err != nil {
		return nil, err
	}
	enc := blob.NewEncoder(w.spool)
	var done *blob.Encoded
	var err error
	compressing.run(func() {
		if _, err = enc.Write(raw.Bytes()); err == nil {
			done, err = enc.Finish()
		}
	})
	if err != nil {
		return nil, err
	}
	var nonce [store.NonceBytes]byte
	_, _ = rand.Read(nonce[:])
	id := done.ID(nonce)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies[string(id[:])] = raw.Bytes()
	return &storepb.BodyRef{Id: id[:], RawBytes: int64(raw.Len()), EncodedBytes: done.CompressedBytes, Inline: done.Bytes(), Epoch: 1}, nil
}

// mail is a message to be accepted.
type mail struct {
	node, id, from string
	queued         []*storepb.QueueEntry
	text           string
	envelope       *storepb.Envelope
}

func (w *world) accept(x mail) {
	w.t.Helper()
	if x.text == "" {
		x.text = "Subject: " + x.id + "\r\nMessage-ID: <" + x.id + "@here.test>\r\n\r\nhello\r\n"
	}
	ref, err := w.body(func(out io.Writer) error { _, err := io.WriteString(out, x.text); return err })
	if err != nil {
		w.t.Fatal(err)
	}
	c := &storepb.Command{Server: x.node, Op: &storepb.Command_AddMessage{AddMessage: &storepb.AddMessage{Body: ref, QueueId: x.id, EnvelopeFrom: x.from, Queued: x.queued, Envelope: x.envelope,
		Origin: &storepb.Origin{MessageId: "<" + x.id + "@here.test>"}}}}
	w.do(c)
}

// elsewhere are recipients elsewhere.
func elsewhere(addresses ...string) (out []*storepb.QueueEntry) {
	for _, a := range addresses {
		out = append(out, &storepb.QueueEntry{Queue: uint32(store.QueueRemote), Address: a})
	}
	return out
}

func one(q store.Queue, address string, account uint64, notify store.Notify) []*storepb.QueueEntry {
	return []*storepb.QueueEntry{{Queue: uint32(q), Address: address, Account: account, Notify: uint32(notify)}}
}

// inbox are the texts of an account's messages.
func (w *world) inbox(account uint64) (texts []string) {
	w.t.Helper()
	v := w.nodes[w.leader].machine.View()
	defer v.Close()
	mb, err := v.MailboxByName(store.AccountID(account), "inbox")
	if err != nil {
		w.t.Fatal(err)
	}
	err = v.Entries(store.AccountID(account), store.MailboxID(mb.Id), 1, func(_ store.UID, e *storepb.Entry) bool {
		email, err := v.Email(store.EmailID(e.Email))
		if err != nil {
			w.t.Fatal(err)
		}
		w.mu.Lock()
		texts = append(texts, string(w.bodies[string(email.BodyId)]))
		w.mu.Unlock()
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return texts
}

// entries are what waits.
func (w *world) entries() (list []*storepb.QueueEntry) {
	w.t.Helper()
	v := w.nodes[w.leader].machine.View()
	defer v.Close()
	if err := v.QueueEntries(0, 0, func(e *storepb.QueueEntry) bool { list = append(list, e); return true }); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// kinds are those of the events of a message's trace.
func (w *world) kinds(queueID string) (kinds []string) {
	w.t.Helper()
	v := w.nodes[w.leader].machine.View()
	defer v.Close()
	if err := v.TraceOf(queueID, func(e *storepb.TraceEvent) bool { kinds = append(kinds, e.Kind); return true }); err != nil {
		w.t.Fatal(err)
	}
	return kinds
}

// pass lets time go by, of the clocks and of the replicated one.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for d > 0 {
		step := min(d, 10*time.Minute)
		elapse(step)
		w.do(&storepb.Command{Op: &storepb.Command_Tick{Tick: &storepb.Tick{Ms: uint64(step.Milliseconds())}}})
		d -= step
	}
	synctest.Wait()
}

// check verifies every state, and that they are the same.
func (w *world) check() {
	w.t.Helper()
	var hashes []string
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		var err error
		compressing.run(func() { err = w.nodes[id].machine.Check() })
		if err != nil {
			w.t.Errorf("the state of %s: %v", id, err)
		}
		_, h, err := w.nodes[id].machine.Hash()
		if err != nil {
			w.t.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	if len(slices.Compact(hashes)) != 1 {
		w.t.Errorf("the states differ: %v", hashes)
	}
}

// start begins a node's process.
func (w *world) start(id string, change func(*Config)) *node {
	w.t.Helper()
	n := w.nodes[id]
	inc := make([]byte, 16)
	_, _ = rand.Read(inc)
	cfg := Config{Self: store.ServerID(id), Store: &process{node: n, incarnation: inc}, Sender: w.sender, Resolver: resolver{n}, Cluster: view{n},
		Notices: Notices{Hostname: id + ".here.test", From: func() smtp.Address { return smtp.Address{Local: "postmaster", Domain: "here.test"} }}}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	n.m = m
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		w.mu.Lock()
		defer w.mu.Unlock()
		if n.m == m {
			n.m = nil
		}
	})
	w.t.Cleanup(n.stop)
	return n
}

// process is one life of a node, as its Manager's Store.
type process struct {
	*node
	incarnation []byte
	seq         uint64 // guarded by w.mu
	dead        bool   // guarded by w.mu
}

func (p *process) Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error) {
	c := &storepb.Command{}
	fill(c)
	w := p.w
	if !pause(ctx, time.Millisecond) { // as long as a disk takes
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	what := none
	if p.fault != nil {
		what = p.fault(c)
	}
	switch {
	case p.dead || what == refused:
		return nil, store.ErrUnavailable
	case what == unheard:
		return nil, store.ErrUnknownOutcome
	}
	p.seq++
	c.Server, c.Version, c.Incarnation, c.Seq, c.Lowest, c.TimeUnixMs = p.id, state.CommandVersion, p.incarnation, p.seq, p.seq, time.Now().UnixMilli()
	if _, err := proto.Marshal(c); err != nil {
		return nil, fmt.Errorf("encode: %w: %w", store.ErrInvalid, err)
	}
	res := w.apply(c)
	if what == unspoken {
		return nil, store.ErrUnknownOutcome
	}
	return res, state.ResultError(res)
}

func (p *process) View() *state.View { return p.machine.View() }

func (p *process) OpenBody(_ context.Context, id store.BodyID) (io.ReadCloser, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return io.NopCloser(bytes.NewReader(p.w.bodies[string(id[:])])), nil
}

func (p *process) AddMessage(ctx context.Context, msg *storepb.AddMessage, write func(io.Writer) error) (*storepb.Result, error) {
	ref, err := p.w.body(write)
	if err != nil {
		return nil, err
	}
	return p.Propose(ctx, func(c *storepb.Command) {
		msg.Body = ref
		c.Op = &storepb.Command_AddMessage{AddMessage: msg}
	})
}

func (p *process) ReadBarrier(context.Context) error { return nil }

func (p *process) Ready() error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.dead {
		return store.ErrUnavailable
	}
	return nil
}

type resolver struct{ n *node }

func (r resolver) Resolve(_ context.Context, a smtp.Address) ([]state.Recipient, bool, error) {
	if a.Domain != "here.test" {
		return nil, false, nil
	}
	v := r.n.machine.View()
	defer v.Close()
	boxes, err := v.Resolve(a.String())
	return boxes, true, err
}

func (r resolver) Postmaster(context.Context) ([]state.Recipient, error) {
	v := r.n.machine.View()
	defer v.Close()
	return v.Resolve("postmaster@here.test")
}

// view is what a node knows of the others.
type view struct{ n *node }

// Running implements Cluster: a node of these tests works, or is gone.
func (c view) Running(id store.ServerID) bool { return slices.Contains(c.Workers(), id) }

func (c view) IsLeader() bool {
	c.n.w.mu.Lock()
	defer c.n.w.mu.Unlock()
	return c.n.w.leader == c.n.id
}

func (c view) Workers() (ids []store.ServerID) {
	c.n.w.mu.Lock()
	defer c.n.w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(c.n.w.nodes)) {
		if !c.n.w.nodes[id].away {
			ids = append(ids, store.ServerID(id))
		}
	}
	return ids
}

// sink is the other systems.
type sink struct {
	mu    sync.Mutex
	do    func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome // nil: delivered; called without mu
	got   map[string]int                                                       // copies, by queue id and address; guarded by mu
	tries []string                                                             // in order; guarded by mu
	texts []string                                                             // guarded by mu
	sends []string                                                             // who was handed a message together; guarded by mu
	via   map[string]string                                                    // destinations by domain; without one it is the domain; guarded by mu
}

func (s *sink) Destination(domain string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.via[domain]; d != "" {
		return d
	}
	return "mx:" + domain
}

// route sets where domains lead.
func (s *sink) route(destination string, domains ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range domains {
		s.via[d] = destination
	}
}

func (s *sink) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sends)
}

func (s *sink) Send(ctx context.Context, m *Message, entries []*storepb.QueueEntry) []Outcome {
	var out []Outcome
	var together []string
	for _, e := range entries {
		together = append(together, e.Address)
	}
	s.mu.Lock()
	s.sends = append(s.sends, m.QueueId+" "+strings.Join(together, " "))
	s.mu.Unlock()
	for _, e := range entries {
		s.mu.Lock()
		do := s.do
		s.tries = append(s.tries, m.QueueId+" "+e.Address)
		s.mu.Unlock()
		o := Outcome{Result: store.AttemptDelivered, Code: 250, Status: "2.0.0", Reason: "ok"}
		if do != nil {
			o = do(ctx, m, e)
		}
		o.Reached = !o.HostDown && o.Peer != "nobody"
		if o.Result == store.AttemptDelivered {
			body, err := m.Open(ctx)
			if err != nil {
				return nil
			}
			raw, _ := io.ReadAll(body)
			s.mu.Lock()
			s.got[m.QueueId+" "+e.Address]++
			s.texts = append(s.texts, string(raw))
			s.mu.Unlock()
		}
		out = append(out, o)
	}
	return out
}

func (s *sink) set(do func(ctx context.Context, m *Message, e *storepb.QueueEntry) Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *sink) copies(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[what]
}

func (s *sink) tried() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tries)
}

func busy(context.Context, *Message, *storepb.QueueEntry) Outcome {
	return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: "busy"}
}

func unknownUser(context.Context, *Message, *storepb.QueueEntry) Outcome {
	return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.1.1", Reason: "no such user", Peer: "mx.far.test"}
}

func down(context.Context, *Message, *storepb.QueueEntry) Outcome {
	return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.4.1", Reason: "connection refused", HostDown: true}
}

// bubble runs a test in time of its own. The state is opened within, so that all that it waits for is.
func bubble(t *testing.T, f func(t *testing.T, w *world), ids ...string) {
	t.Helper()
	if len(ids) == 0 {
		ids = []string{"a"}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ids...)
		f(t, w)
		for _, n := range w.nodes {
			if n.stop != nil {
				n.stop()
			}
		}
		w.check()
	})
}

func count(texts []string, part string) (n int) {
	for _, s := range texts {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// elapse lets time go by in a bubble, where that takes none.
func elapse(d time.Duration) {
	time.Sleep(d) // the bubble's clock: it moves when everybody waits, so nothing is waited for too short
}
