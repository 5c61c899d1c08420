package db

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/disk"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/lab"
)

// Config says how to run the system.
type Config struct {
	Bin     string // the program
	Dir     string // absolute and short: Unix sockets are in it
	Lab     *lab.Lab
	History *history.Recorder
	Logger  *slog.Logger

	Volume          func(name string) (disk.Volume, error) // makes the disk of a node
	Env             []string                               // of the nodes' processes, besides this process's
	LogStore        string                                 // raft.log_store; default "wal"
	Heartbeat       time.Duration                          // raft.heartbeat; default 250 ms, the program's own default
	SnapshotEntries int                                    // raft.snapshot_entries; default 256, so that logs are cut within a run
	MinFreeDisk     string                                 // limits.min_free_disk; default "16MiB"
	NameServer      string                                 // whom the nodes ask where mail for elsewhere goes; "": as the machine says, and there are no sites
	RemotePort      int                                    // with a NameServer, delivery.port; default 25
}

func (c Config) withDefaults() Config {
	if c.LogStore == "" {
		c.LogStore = "wal"
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 250 * time.Millisecond
	}
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = 256
	}
	if c.MinFreeDisk == "" {
		c.MinFreeDisk = "16MiB"
	}
	if c.RemotePort == 0 {
		c.RemotePort = 25
	}
	return c
}

// Cluster is the system under test. Its methods may be called from several goroutines; what is done to one node is done by one at a time.
type Cluster struct {
	cfg Config

	mu    sync.Mutex
	nodes []*Node // in the order of their first starts; those that left are not among them
	gone  []*Node // left or were replaced; closed at the end
}

// New prepares a cluster of as many nodes as the lab has; Setup starts it.
func New(cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg.withDefaults()}
	for _, name := range cfg.Lab.Names() {
		n, err := c.newNode(name)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// Setup founds the cluster and waits until every node votes.
func (c *Cluster) Setup(ctx context.Context) error {
	nodes := c.Nodes()
	if err := nodes[0].start(ctx, "--init"); err != nil {
		return err
	}
	if err := nodes[0].WaitReady(ctx); err != nil {
		return err
	}
	for _, n := range nodes[1:] {
		if err := c.join(ctx, n); err != nil {
			return err
		}
	}
	return c.WaitWhole(ctx)
}

// join lets a node whose data folder is empty become a member and a voter.
func (c *Cluster) join(ctx context.Context, n *Node) error {
	token, err := c.invite(ctx, n)
	if err != nil {
		return err
	}
	if err := n.start(ctx, "--join", token); err != nil {
		return err
	}
	return n.WaitReady(ctx)
}

// invite asks one node after the other for a token until one gives it.
func (c *Cluster) invite(ctx context.Context, but *Node) (string, error) {
	var token string
	err := c.eventually(ctx, "an invite", func(ctx context.Context, n *Node) error {
		if n == but {
			return errSelf
		}
		var err error
		token, err = n.Admin().Invite(ctx, 10*time.Minute)
		return err
	})
	return token, err
}

var errSelf = errors.New("not asked")

// eventually does f at one node after the other until it succeeds.
func (c *Cluster) eventually(ctx context.Context, what string, f func(context.Context, *Node) error) error {
	last := errors.New("no node runs")
	for {
		for _, n := range c.Nodes() {
			if !n.Alive() {
				continue
			}
			try, cancel := context.WithTimeout(ctx, 15*time.Second)
			err := f(try, n)
			cancel()
			if err == nil {
				return nil
			}
			if !errors.Is(err, errSelf) {
				last = fmt.Errorf("%s: %w", n.Name(), err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ask for %s: %w (%w)", what, ctx.Err(), last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Bin is the program under test, which new nodes run.
func (c *Cluster) Bin() string { return c.cfg.Bin }

// Nodes are the members, as far as they are started or may be started again.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// Node finds a member by its name.
func (c *Cluster) Node(name string) (*Node, error) {
	for _, n := range c.Nodes() {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s", name)
}

// Clients says where clients reach the nodes.
func (c *Cluster) Clients() []client.Node {
	var out []client.Node
	for _, n := range c.Nodes() {
		if cn := n.Client(); cn.TLS != nil {
			out = append(out, cn)
		}
	}
	return out
}

// LogKeeps is how many entries a node's log holds at most, about: what lacks more needs a checkpoint.
func (c *Cluster) LogKeeps() uint64 { return uint64(6 * c.cfg.SnapshotEntries) }

// Leader is the node that says it leads, in the highest term of those that do. Nodes that do not answer within a second are not asked again.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	nodes := c.Nodes()
	terms := make([]uint64, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if st, err := n.Status(ctx); err == nil && st.State == "leader" {
				terms[i] = st.Term
			}
		})
	}
	wg.Wait()
	at := slices.Index(terms, slices.Max(terms))
	if terms[at] == 0 {
		return nil, errors.New("no node says that it leads")
	}
	return nodes[at], nil
}

// WaitLeader waits until one leads.
func (c *Cluster) WaitLeader(ctx context.Context) (*Node, error) {
	for {
		n, err := c.Leader(ctx)
		if err == nil {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a leader: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// WaitWhole waits until every node serves, votes, and lacks no body.
func (c *Cluster) WaitWhole(ctx context.Context) error {
	for _, n := range c.Nodes() {
		err := n.waitStatus(ctx, "be whole", func(s client.Status) bool {
			voters := 0
			for _, m := range s.Members {
				if m.Voter {
					voters++
				}
			}
			return s.Ready && s.Missing == 0 && voters == len(c.Nodes()) && len(s.Members) == voters
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Heal starts every node that does not run, lets those that stand still go on, and waits until all of them serve. A node that ends by itself
// because its data is damaged is replaced, as its message asks; the names of these come back. When so many end that the rest is no majority,
// nothing can replace them: that is an error at once.
func (c *Cluster) Heal(ctx context.Context) (replaced []string, err error) {
	for _, n := range c.Nodes() {
		n.Resume()
	}
	for _, n := range c.Nodes() {
		if err := n.Start(ctx); err != nil {
			return nil, err
		}
	}
	// A node that stood still, or met damage only now, may end once more after it served: whoever runs it starts it again.
	for tries := 0; ; tries++ {
		lost, err := settle(ctx, c.Nodes())
		if err != nil {
			return replaced, err
		}
		for _, n := range lost {
			replaced = append(replaced, n.name)
			if err := c.Replace(ctx, n); err != nil {
				return replaced, err
			}
		}
		if err := c.WaitWhole(ctx); !errors.Is(err, ErrEnded) || tries == maxTries {
			return replaced, err
		}
	}
}

// maxTries is how often a node that ends by itself is started again.
const maxTries = 2

// settle waits until each node serves or has ended by itself for good, and tells which did.
func settle(ctx context.Context, nodes []*Node) (lost []*Node, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var words []string
	for i, n := range nodes {
		wg.Go(func() {
			if errs[i] = n.revive(waiting); !errors.Is(errs[i], ErrEnded) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			lost, words = append(lost, n), append(words, errs[i].Error())
			errs[i] = nil
			if 2*len(lost) >= len(nodes) {
				cancel() // the others wait for a majority that cannot be
			}
		})
	}
	wg.Wait()
	if 2*len(lost) >= len(nodes) && len(nodes) > 0 {
		return nil, fmt.Errorf("%d of %d nodes have ended by themselves, and the rest is no majority: %s", len(lost), len(nodes), strings.Join(words, "; "))
	}
	return lost, errors.Join(errs...)
}

// Replace kills a node, wipes its disk, removes it from the cluster, and lets it join anew under the same name, with a new id. When it breaks
// off, it can be called again.
func (c *Cluster) Replace(ctx context.Context, n *Node) error {
	id := n.ID()
	n.Kill()
	if err := n.wipe(); err != nil {
		return err
	}
	if err := c.removeID(ctx, id, n); err != nil {
		return err
	}
	n.forget()
	if err := c.join(ctx, n); err != nil {
		return err
	}
	c.cfg.History.Note(history.Note{At: c.cfg.History.Now(), Node: n.name, Kind: "info", Text: "was replaced under a new id"})
	return nil
}

// removeID takes a member out of the cluster and waits until it is.
func (c *Cluster) removeID(ctx context.Context, id string, but *Node) error {
	if id == "" {
		return nil // it never was a member
	}
	return c.eventually(ctx, "the removal of "+id, func(ctx context.Context, n *Node) error {
		if n == but {
			return errSelf
		}
		r, err := n.Admin().RemoveNode(ctx, id)
		if err == nil && !r.Done {
			err = fmt.Errorf("it waits: %s", r.Waiting)
		}
		return err
	})
}

// Leave stops a node and takes it out of the cluster.
func (c *Cluster) Leave(ctx context.Context, n *Node) error {
	id := n.ID()
	if err := n.Stop(ctx); err != nil {
		return err
	}
	if err := c.removeID(ctx, id, n); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = slices.DeleteFunc(c.nodes, func(m *Node) bool { return m == n })
	c.gone = append(c.gone, n)
	return nil
}

// Prepare makes a node that is not started: on a place of its own in the lab. Join makes it a member.
func (c *Cluster) Prepare() (*Node, error) {
	name, err := c.cfg.Lab.Add()
	if err != nil {
		return nil, err
	}
	return c.newNode(name)
}

// Join lets a new node become a member.
func (c *Cluster) Join(ctx context.Context) (*Node, error) {
	n, err := c.Prepare()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	c.mu.Unlock()
	return n, c.join(ctx, n)
}

// CutPower takes the power from nodes, all at the same moment, and brings their disks back as a restart would find them. The nodes are not started.
func (c *Cluster) CutPower(nodes ...*Node) error {
	volumes := make([]disk.Volume, len(nodes))
	for i, n := range nodes {
		n.Resume() // a process that stands still cannot end
		volumes[i] = n.volume
	}
	if _, err := disk.CutAll(volumes); err != nil {
		return err
	}
	for _, n := range nodes {
		n.signalKill()
	}
	for _, n := range nodes {
		n.Kill()
		loss, err := n.volume.Restore()
		if err != nil {
			return fmt.Errorf("mount the disk of %s after the power loss: %w", n.name, err)
		}
		c.cfg.History.Note(history.Note{At: c.cfg.History.Now(), Node: n.name, Kind: "info", Text: fmt.Sprintf("power loss: %v", loss)})
	}
	return nil
}

// Random picks one of the nodes that run.
func (c *Cluster) Random(r *rand.Rand) *Node {
	alive := slices.DeleteFunc(c.Nodes(), func(n *Node) bool { return !n.Alive() })
	if len(alive) == 0 {
		alive = c.Nodes()
	}
	return alive[r.IntN(len(alive))]
}

// CollectLogs turns suspicious lines of all logs into notes, and copies the logs to a folder.
func (c *Cluster) CollectLogs(to string) error {
	c.mu.Lock()
	nodes := append(slices.Clone(c.nodes), c.gone...)
	c.mu.Unlock()
	for _, n := range nodes {
		raw, err := os.ReadFile(n.logPath())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the log of %s: %w", n.name, err)
		}
		for _, line := range suspicious(raw) {
			c.cfg.History.Note(history.Note{At: c.cfg.History.Now(), Node: n.name, Kind: "log", Text: line})
		}
		if to == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, n.name+".log"), raw, 0o600); err != nil {
			return fmt.Errorf("keep the log of %s: %w", n.name, err)
		}
	}
	return nil
}

// Close kills all processes and removes all disks.
func (c *Cluster) Close() error {
	c.mu.Lock()
	nodes := append(slices.Clone(c.nodes), c.gone...)
	c.mu.Unlock()
	var errs []error
	for _, n := range nodes {
		n.Kill()
		errs = append(errs, n.volume.Close())
	}
	return errors.Join(errs...)
}
