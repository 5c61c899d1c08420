package clustertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/raftlog"
	"github.com/quorumail/quorumail/cluster/transport"
)

// Options are what a node is started with.
type Options struct {
	Heartbeat       time.Duration
	SnapshotEntries uint64 // after how many entries it persists
	TrailingEntries uint64 // how many entries its log keeps
	Version         int    // of the newest command that it knows; default 1
}

// member is a node with its disk, whether it runs or not.
type member struct {
	name    string
	opts    Options
	fs      *vfs.MemFS
	machine *Machine
	cert    []byte
	key     []byte

	// Guarded by the cluster's mutex, as fs and machine are.
	node  *cluster.Node // nil when it does not run
	disk  *disk         // fs as the process sees it
	fatal error         // why it ended itself
}

// Cluster is a number of nodes under test. Its methods belong to one goroutine, but for those of a load.
type Cluster struct {
	t    testing.TB
	rng  *rand.Rand
	ca   *transport.CA
	net  *Network
	opts Options

	mu      sync.Mutex
	members []*member         // guarded by mu
	serial  int               // guarded by mu
	acked   map[string]string // texts by id, acknowledged; guarded by mu
	denied  map[string]string // certainly not appended; guarded by mu
	unsure  map[string]string // unknown outcome; guarded by mu
	ending  sync.WaitGroup    // nodes that are being closed
	load    *load
}

// New makes a cluster without nodes. It must be made in a synctest bubble, and closed in it.
func New(t testing.TB, rng *rand.Rand, opts Options) *Cluster {
	t.Helper()
	ca, err := transport.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	if opts.Version == 0 {
		opts.Version = 1
	}
	return &Cluster{t: t, rng: rng, ca: ca, net: NewNetwork(rand.New(rand.NewPCG(rng.Uint64(), 1))), opts: opts, acked: map[string]string{}, denied: map[string]string{}, unsure: map[string]string{}}
}

// patience is how long anything may take, in the bubble's time.
const patience = 3 * time.Minute

// poll is how often a condition is looked at, in the bubble's time.
const poll = 20 * time.Millisecond

func (c *Cluster) until(what string, good func() bool) error {
	for deadline := time.Now().Add(patience); !good(); time.Sleep(poll) { // polls a condition
		if time.Now().After(deadline) {
			return fmt.Errorf("waited too long until %s", what)
		}
	}
	return nil
}

func (c *Cluster) member(name string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (c *Cluster) names() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		all = append(all, m.name)
	}
	return all
}

// up are the nodes that run.
func (c *Cluster) up() (all []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.node != nil {
			all = append(all, m)
		}
	}
	return all
}

// running is the node and its machine of this moment, nil when it does not run.
func (c *Cluster) running(m *member) (*cluster.Node, *Machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.node, m.machine
}

// create makes a member with an empty disk.
func (c *Cluster) create(name string, opts Options) (*member, error) {
	key, req, err := transport.NewKey()
	if err != nil {
		return nil, err
	}
	cert, err := c.ca.SignNode(req, name)
	if err != nil {
		return nil, err
	}
	m := &member{name: name, opts: opts, fs: vfs.NewCrashableMem(), machine: NewMachine(opts.Version), cert: cert, key: key}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(c.members, m)
	return m, nil
}

// Bootstrap starts nodes n1 to nk as one cluster and waits until all vote.
func (c *Cluster) Bootstrap(k int) error {
	for i := 1; i <= k; i++ {
		name := fmt.Sprintf("n%d", i)
		m, err := c.create(name, c.opts)
		if err != nil {
			return err
		}
		if err := c.boot(m, i > 1); err != nil {
			return err
		}
		if i == 1 {
			err = m.node.Bootstrap()
		} else {
			err = c.add(name)
		}
		if err != nil {
			return err
		}
		if err := c.awaitVoter(name); err != nil {
			return err
		}
	}
	return nil
}

// Join starts a new node that fetches its state first, adds it and waits until it votes.
func (c *Cluster) Join(name string) error {
	m, err := c.create(name, c.opts)
	if err != nil {
		return err
	}
	if err := c.boot(m, true); err != nil {
		return err
	}
	if err := c.add(name); err != nil {
		return err
	}
	return c.awaitVoter(name)
}

func address(name string) string { return name + ":1" }

// boot starts the process of a member; fetch brings the state of another node first.
func (c *Cluster) boot(m *member, fetch bool) error {
	c.net.PowerOn(m.name)
	log := slog.New(slog.DiscardHandler)
	port, err := transport.Open(transport.Config{Listen: address(m.name), CertPEM: m.cert, KeyPEM: m.key, CAPEM: c.ca.PEM(), Logger: log, Network: c.net.Host(m.name)})
	if err != nil {
		return err
	}
	d := newDisk(m.fs)
	if fetch {
		if err := c.fetch(m, port); err != nil {
			port.Close()
			return err
		}
	}
	// What is fatal ends the process, here the goroutine; Open runs in one of its own, for it may be that.
	type opened struct {
		node *cluster.Node
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		o := opened{err: errors.New("the process ended while it started")}
		defer func() { done <- o }()
		o.node, o.err = cluster.Open(c.t.Context(), cluster.Config{ID: cluster.ServerID(m.name), DataDir: "data", Advertise: address(m.name), Machine: m.machine,
			Port: port, Heartbeat: m.opts.Heartbeat, Logger: log, FS: d.FS, SegmentBytes: 64 << 10, SnapshotEntries: m.opts.SnapshotEntries,
			TrailingEntries: m.opts.TrailingEntries, OnFatal: c.onFatal(m, m.fs)})
	}()
	o := <-done
	if o.err != nil {
		port.Close()
		c.net.PowerOff(m.name)
		return o.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.node, m.disk, m.fatal = o.node, d, nil
	return nil
}

// fetch tries each node that runs, as a joining node tries the addresses of its invite.
func (c *Cluster) fetch(m *member, port *transport.Port) error {
	var errs []error
	for _, from := range c.up() {
		ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
		err := cluster.FetchCheckpoint(ctx, port, address(from.name), "data", m.machine, m.fs)
		cancel()
		if err == nil {
			m.machine.restores = 0
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// onFatal ends a process that says that it must end. What it has on its disk is what it wrote: nothing is lost by that.
func (c *Cluster) onFatal(m *member, fs *vfs.MemFS) func(error) {
	return func(err error) {
		c.mu.Lock()
		if m.fs == fs && m.fatal == nil { // else it is a process of before a crash
			m.fatal = err
			c.mu.Unlock()
			c.end(m, vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}, func(int) int { return 0 })
		} else {
			c.mu.Unlock()
		}
		runtime.Goexit()
	}
}

// end ends the process of a member and leaves of its disk what cfg says.
func (c *Cluster) end(m *member, cfg vfs.CrashCloneCfg, lost func(int) int) {
	c.net.PowerOff(m.name) // from here on nobody hears of what it still does
	c.mu.Lock()
	defer c.mu.Unlock()
	node := m.node
	m.node, m.fs, m.machine = nil, m.fs.CrashClone(cfg), m.machine.crashed(lost)
	if node == nil {
		return
	}
	m.disk.end()
	c.ending.Add(1)
	go func() { defer c.ending.Done(); _ = node.Close() }()
}

// Kill ends a process at once; the disk keeps what it wrote.
func (c *Cluster) Kill(name string) {
	m := c.member(name)
	if node, _ := c.running(m); node != nil {
		c.end(m, vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: c.rng}, func(int) int { return 0 })
	}
}

// Crash takes the power from nodes, all at the same moment: their disks keep what was synced, and of the rest as many of a hundred
// pieces as keepPercent says.
func (c *Cluster) Crash(keepPercent int, names ...string) {
	for _, name := range names {
		c.net.PowerOff(name)
	}
	for _, name := range names {
		m := c.member(name)
		if node, _ := c.running(m); node != nil {
			c.end(m, vfs.CrashCloneCfg{UnsyncedDataPercent: keepPercent, RNG: c.rng}, func(n int) int { return n - n*c.rng.IntN(keepPercent+1)/100 })
		}
	}
}

// Restart starts a node that does not run.
func (c *Cluster) Restart(name string) error {
	m := c.member(name)
	if node, _ := c.running(m); node != nil {
		return fmt.Errorf("%s runs", name)
	}
	return c.boot(m, false)
}

// LoseLog empties the folder of a stopped node's log.
func (c *Cluster) LoseLog(name string) error { return c.member(name).fs.RemoveAll("data") }

// Close ends everything.
func (c *Cluster) Close() {
	if c.load != nil {
		c.load.stop()
	}
	c.net.Heal()
	for _, m := range c.up() {
		c.Kill(m.name)
	}
	c.ending.Wait()
	for _, name := range c.names() {
		c.net.PowerOn(name) // resets what still waits on a connection
	}
}

// anywhere does something at whichever node runs and answers, again and again.
func (c *Cluster) anywhere(what string, do func(ctx context.Context, n *cluster.Node) error) error {
	var last error
	err := c.until(what, func() bool {
		for _, m := range c.up() {
			node, _ := c.running(m)
			if node == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
			last = do(ctx, node)
			cancel()
			if last == nil {
				return true
			}
		}
		return false
	})
	return errors.Join(err, last)
}

func (c *Cluster) add(name string) error {
	return c.anywhere(name+" is a member", func(ctx context.Context, n *cluster.Node) error {
		return n.AddNonvoter(ctx, cluster.ServerID(name), address(name))
	})
}

// Remove removes a member for ever.
func (c *Cluster) Remove(name string) error {
	err := c.anywhere(name+" is no member", func(ctx context.Context, n *cluster.Node) error {
		if !n.IsLeader() {
			return cluster.ErrUnavailable
		}
		return n.RemoveServer(ctx, cluster.ServerID(name), n.Configuration().Index)
	})
	if err != nil {
		return err
	}
	c.Kill(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(m *member) bool { return m.name == name })
	return nil
}

// awaitVoter lets a member vote when it has caught up, by whoever leads.
func (c *Cluster) awaitVoter(name string) error {
	return c.until(name+" votes", func() bool {
		return slices.ContainsFunc(c.up(), func(m *member) bool {
			node, _ := c.running(m)
			return node != nil && c.votes(node, name)
		})
	})
}

// votes tells whether a member votes, as one node sees it. If that one leads, it takes the next step towards it.
func (c *Cluster) votes(node *cluster.Node, name string) bool {
	now := node.Configuration()
	if slices.ContainsFunc(now.Servers, func(s cluster.Server) bool { return string(s.ID) == name && s.Voter }) {
		return true
	}
	if !node.IsLeader() {
		return false
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	if node.CaughtUp(ctx, cluster.ServerID(name)) == nil {
		_ = node.AddVoter(ctx, cluster.ServerID(name), address(name), now.Index) // another look shows whether it helped
	}
	return false
}

// Leader waits until a node leads that all running nodes follow, and that can commit: the others may not know yet that it cannot.
func (c *Cluster) Leader() (name string, err error) {
	err = c.until("somebody leads", func() bool {
		for _, m := range c.up() {
			node, _ := c.running(m)
			if node == nil || !node.IsLeader() {
				continue
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			err := node.ReadBarrier(ctx)
			cancel()
			if err == nil && node.IsLeader() {
				name = m.name
				return true
			}
		}
		return false
	})
	return name, err
}

// Lead makes a node the leader.
func (c *Cluster) Lead(name string) error {
	return c.until(name+" leads", func() bool {
		now, err := c.Leader()
		if err != nil || now == name {
			return true
		}
		if node, _ := c.running(c.member(now)); node != nil {
			_ = node.TransferLeadership() // to whom it likes; so again
		}
		return false
	})
}

// outcome says in a word how a proposal or barrier went.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, cluster.ErrUnknownOutcome):
		return "unknown outcome"
	case errors.Is(err, cluster.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, cluster.ErrLostDisk):
		return "lost disk"
	case errors.Is(err, errUnknownCommand):
		return "a command that it does not know"
	case errors.Is(err, errBroken):
		return "its disk is broken"
	case errors.Is(err, raftlog.ErrRot):
		return "damaged log"
	}
	return err.Error()
}

// Propose proposes a text through a node and remembers what became of it.
func (c *Cluster) Propose(name, text string, version int, timeout time.Duration) (id string, err error) {
	m := c.member(name)
	node, _ := c.running(m)
	if node == nil {
		return "", fmt.Errorf("%s does not run", name)
	}
	c.mu.Lock()
	c.serial++
	id = fmt.Sprintf("c%d", c.serial)
	c.unsure[id] = text
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.t.Context(), timeout)
	defer cancel()
	err = node.Propose(ctx, command(version, id, text))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.node != node: // the process died: nobody was told
	case err == nil:
		delete(c.unsure, id)
		c.acked[id] = text
	case errors.Is(err, cluster.ErrUnavailable) && !errors.Is(err, cluster.ErrUnknownOutcome):
		delete(c.unsure, id)
		c.denied[id] = text
	}
	return id, err
}

// Barrier waits until a node has applied all that was committed, and tells what it holds then. Nil when it died meanwhile.
func (c *Cluster) Barrier(name string, timeout time.Duration) (*Machine, error) {
	m := c.member(name)
	node, machine := c.running(m)
	if node == nil {
		return nil, fmt.Errorf("%s does not run", name)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), timeout)
	defer cancel()
	err := node.ReadBarrier(ctx)
	if now, _ := c.running(m); now != node {
		return nil, errors.New("the process died")
	}
	return machine, err
}
