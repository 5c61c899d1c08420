package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Config says who this node is.
type Config struct {
	ID        string // the server id
	Name      string
	Listen    string // host:port, UDP and TCP; port 0 takes a free one
	Advertise string // host:port at which the others reach it; empty: what it listens on
	Keys      Keys
	Logger    *slog.Logger
	// Self is how this node is now. It must not block.
	Self func() Health
	// Seeds are addresses of nodes to greet, given those that are alive already.
	Seeds func(ctx context.Context, alive map[string]bool) []string
	// Deliver takes news of another node, once each. It must not block.
	Deliver func(news []byte)
	// Refuse tells why a node may not be heard, such as one that was removed; nil when it may. Default: all may.
	Refuse func(id string) error
	// Probe is how often another node is probed. Default 200 ms; the timeout is half of it.
	Probe time.Duration
}

// How often things happen.
const (
	beatEvery  = 500 * time.Millisecond
	staleAfter = 4 * time.Second // without a beat a node is suspected although it answers probes
	greetEvery = 2 * time.Second
	leaveWait  = 500 * time.Millisecond
)

// Gossip is this node's part in it.
type Gossip struct {
	cfg  Config
	list *memberlist.Memberlist
	ring *memberlist.Keyring
	out  *memberlist.TransmitLimitedQueue
	run  uint64

	mu       sync.Mutex
	seq      uint64             // of the beats; guarded by mu
	told     uint64             // number of the last news; guarded by mu
	peers    map[string]*peer   // guarded by mu
	senders  map[uint64]*window // by run; guarded by mu
	keys     Keys               // guarded by mu
	warned   time.Time          // guarded by mu
	refusals int                // since then; guarded by mu
}

// Start listens. Run must be called next; it ends what Start began.
func Start(ctx context.Context, cfg Config) (*Gossip, error) {
	if cfg.Probe == 0 {
		cfg.Probe = 200 * time.Millisecond
	}
	if cfg.Refuse == nil {
		cfg.Refuse = func(string) error { return nil }
	}
	if err := cfg.Keys.check(); err != nil {
		return nil, err
	}
	g := &Gossip{cfg: cfg, run: rand.Uint64() | 1, peers: map[string]*peer{}, senders: map[uint64]*window{}, keys: cfg.Keys}
	g.out = &memberlist.TransmitLimitedQueue{NumNodes: g.alive, RetransmitMult: 3}
	mc, err := g.memberlistConfig(ctx)
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("listen for gossip at %s, UDP and TCP (is another program there?): %w", cfg.Listen, err)
	}
	return g, nil
}

func (g *Gossip) memberlistConfig(ctx context.Context) (*memberlist.Config, error) {
	bind, port, err := hostPort(ctx, g.cfg.Listen)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.BindAddr, c.BindPort, c.AdvertisePort = g.cfg.ID, bind, port, port
	if g.cfg.Advertise != "" {
		if c.AdvertiseAddr, c.AdvertisePort, err = hostPort(ctx, g.cfg.Advertise); err != nil {
			return nil, err
		}
	}
	if g.ring, err = memberlist.NewKeyring(g.cfg.Keys.Keys, g.cfg.Keys.Keys[0]); err != nil {
		return nil, fmt.Errorf("take the keys of the gossip: %w", err)
	}
	c.Keyring = g.ring
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = g.cfg.Probe, g.cfg.Probe/2, 3
	c.GossipInterval, c.GossipToTheDeadTime = 100*time.Millisecond, 10*time.Second
	c.PushPullInterval, c.TCPTimeout = 10*time.Second, 2*time.Second
	c.DeadNodeReclaimTime = time.Millisecond // a node that is dead may come back at another address at once
	c.Logger = log.New(logs{g}, "", 0)
	c.Delegate, c.Events, c.Ping, c.Alive = (*delegate)(g), (*events)(g), (*pings)(g), (*filter)(g)
	return c, nil
}

// hostPort resolves the host to the address that memberlist wants.
func hostPort(ctx context.Context, address string) (string, int, error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("read the address of the gossip: %w", err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return "", 0, fmt.Errorf("read the address of the gossip: %w", err)
	}
	if host == "" {
		return "0.0.0.0", port, nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, port, nil
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", 0, fmt.Errorf("find the address of %s for the gossip: %w", host, err)
	}
	return ips[0], port, nil
}

// Address is where the others reach this node.
func (g *Gossip) Address() string { return g.list.LocalNode().Address() }

// Run says how this node is, and greets nodes that it does not hear of, until ctx ends. Then it says goodbye.
func (g *Gossip) Run(ctx context.Context) error {
	g.talk(ctx)
	return g.leave()
}

func (g *Gossip) talk(ctx context.Context) {
	beats, greet := time.NewTicker(beatEvery), time.NewTimer(0)
	defer beats.Stop()
	defer greet.Stop()
	greeted := make(chan struct{}, 1)
	var greeting sync.WaitGroup
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-beats.C:
			g.beat(false)
			g.suspectStale()
		case <-greet.C:
			greeting.Add(1)
			go func() { defer greeting.Done(); g.greet(ctx); greeted <- struct{}{} }()
		case <-greeted:
			greet.Reset(greetEvery)
		}
	}
	greeting.Wait()
}

func (g *Gossip) leave() error {
	g.beat(true)
	if err := g.list.Leave(leaveWait); err != nil {
		g.cfg.Logger.Debug("leave the gossip", "pkg", "gossip", "err", err)
	}
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("stop the gossip: %w", err)
	}
	return nil
}

func (g *Gossip) greet(ctx context.Context) {
	alive := map[string]bool{}
	for _, m := range g.list.Members() {
		alive[m.Name] = true
	}
	seeds := g.cfg.Seeds(ctx, alive)
	if len(seeds) == 0 || ctx.Err() != nil {
		return
	}
	if _, err := g.list.Join(seeds); err != nil {
		g.cfg.Logger.Debug("greet nodes", "pkg", "gossip", "err", err)
	}
}

// beat says how this node is.
func (g *Gossip) beat(bye bool) {
	h := g.cfg.Self()
	g.mu.Lock()
	g.seq++
	h.Keys = g.keys.Generation
	b := beat{ID: g.cfg.ID, Name: g.cfg.Name, Run: g.run, Seq: g.seq, Bye: bye, Health: h}
	p := g.peerOf(b.ID)
	p.newer(b, time.Now())
	g.mu.Unlock()
	g.pass(b)
}

func (g *Gossip) pass(b beat) {
	raw, err := b.encode()
	if err != nil || len(raw) > maxBeatBytes {
		g.cfg.Logger.Warn("a node says more of itself than fits", "pkg", "gossip", "node", b.ID, "err", err)
		return
	}
	g.queue(broadcast{of: b.ID, raw: append([]byte{kindBeat}, raw...)})
}

func (g *Gossip) takeBeat(raw []byte) {
	b, ok := decodeBeat(raw)
	if !ok || b.ID == g.cfg.ID || g.cfg.Refuse(b.ID) != nil {
		return
	}
	g.mu.Lock()
	p := g.peerOf(b.ID)
	isNew := p.newer(b, time.Now())
	g.mu.Unlock()
	if isNew {
		g.pass(b)
	}
}

// maxPeers bounds the nodes that are remembered.
const maxPeers = 256

// peerOf needs g.mu.
func (g *Gossip) peerOf(id string) *peer {
	p := g.peers[id]
	if p == nil {
		if len(g.peers) >= maxPeers {
			for old, o := range g.peers {
				if o.member.State != Alive && old != g.cfg.ID {
					delete(g.peers, old)
					break
				}
			}
		}
		p = &peer{member: Member{ID: id, State: Unknown}}
		g.peers[id] = p
	}
	return p
}

// alive is how many nodes there are, this one included.
func (g *Gossip) alive() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, p := range g.peers {
		if p.member.State == Alive || p.member.State == Suspect {
			n++
		}
	}
	return max(1, n)
}

// Members are the nodes that this one knows of, itself included, by id.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Member
	for _, p := range g.peers {
		out = append(out, p.member)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Member is a node as this one sees it; its state is Unknown if it never heard of it.
func (g *Gossip) Member(id string) Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.peers[id]; p != nil {
		return p.member
	}
	return Member{ID: id, State: Unknown}
}

// turn notes a change of a node's state, and says so.
func (g *Gossip) turn(id string, from []State, to State) {
	g.mu.Lock()
	p := g.peerOf(id)
	was := p.member.State
	if was == to || from != nil && !slices.Contains(from, was) {
		g.mu.Unlock()
		return
	}
	p.member.State, p.member.Since = to, time.Now()
	name := p.member.Name
	g.mu.Unlock()
	if id == g.cfg.ID {
		return
	}
	text := map[State]string{Suspect: "a node is suspected: it does not answer", Dead: "a node is held for dead", Left: "a node has stopped", Alive: "a node is alive"}[to]
	if to == Alive && was != Unknown {
		text = "a node is back"
	}
	g.cfg.Logger.Info(text, "pkg", "gossip", "node", id, "name", name)
}

func (g *Gossip) suspect(id string) { g.turn(id, []State{Alive}, Suspect) }

// suspectStale suspects nodes that answer probes, and say nothing.
func (g *Gossip) suspectStale() {
	var stale []string
	g.mu.Lock()
	for id, p := range g.peers {
		if p.member.State == Alive && id != g.cfg.ID && time.Since(latest(p.member.Heard, p.member.Since)) > staleAfter {
			stale = append(stale, id)
		}
	}
	g.mu.Unlock()
	for _, id := range stale {
		g.suspect(id)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SetKeys takes other keys into use, at once and without a gap: what was sent with a key that both sets hold is still read.
func (g *Gossip) SetKeys(k Keys) error {
	if err := k.check(); err != nil {
		return err
	}
	for _, key := range k.Keys {
		if err := g.ring.AddKey(key); err != nil {
			return fmt.Errorf("install a key of the gossip: %w", err)
		}
	}
	if err := g.ring.UseKey(k.Keys[0]); err != nil {
		return fmt.Errorf("use a key of the gossip: %w", err)
	}
	for _, key := range g.ring.GetKeys() {
		if !slices.ContainsFunc(k.Keys, func(x []byte) bool { return string(x) == string(key) }) {
			if err := g.ring.RemoveKey(key); err != nil {
				return fmt.Errorf("remove a key of the gossip: %w", err)
			}
		}
	}
	g.mu.Lock()
	g.keys = k
	g.mu.Unlock()
	return nil
}

// Generation is that of the keys in use.
func (g *Gossip) Generation() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.keys.Generation
}

// delegate carries beats and news.
type delegate Gossip

func (*delegate) NodeMeta(int) []byte { return nil } // beats carry all

func (d *delegate) NotifyMsg(raw []byte) {
	if len(raw) == 0 {
		return
	}
	g := (*Gossip)(d)
	switch raw[0] {
	case kindBeat:
		g.takeBeat(raw[1:])
	case kindNews:
		g.takeNews(slices.Clone(raw)) // memberlist uses the buffer again
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return (*Gossip)(d).out.GetBroadcasts(overhead, limit)
}

// LocalState is every beat that this node knows, for one that it meets.
func (d *delegate) LocalState(bool) []byte {
	g := (*Gossip)(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []beat
	for id, p := range g.peers {
		if p.run != 0 {
			all = append(all, beat{ID: id, Name: p.member.Name, Run: p.run, Seq: p.seq, Health: p.member.Health})
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return nil // a load that is no number; the beats come anyway
	}
	return raw
}

// maxStateBytes bounds what a node may say when it is met.
const maxStateBytes = 1 << 20

func (d *delegate) MergeRemoteState(raw []byte, _ bool) {
	var all []json.RawMessage
	if len(raw) > maxStateBytes || json.Unmarshal(raw, &all) != nil {
		return
	}
	for _, one := range all {
		(*Gossip)(d).takeBeat(one)
	}
}

// events hears from memberlist who comes and goes. It is called under memberlist's lock.
type events Gossip

func (e *events) NotifyJoin(n *memberlist.Node) { (*Gossip)(e).turn(n.Name, nil, Alive) }

func (e *events) NotifyLeave(n *memberlist.Node) {
	g, to := (*Gossip)(e), Dead
	g.mu.Lock()
	if g.peerOf(n.Name).bye {
		to = Left
	}
	g.mu.Unlock()
	g.turn(n.Name, nil, to)
}

func (e *events) NotifyUpdate(*memberlist.Node) {}

// pings hears of answered probes.
type pings Gossip

func (*pings) AckPayload() []byte { return nil }

func (p *pings) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	g := (*Gossip)(p)
	g.mu.Lock()
	x := g.peerOf(n.Name)
	silent := x.member.State == Suspect && time.Since(x.member.Heard) > staleAfter
	g.mu.Unlock()
	if !silent {
		g.turn(n.Name, []State{Suspect}, Alive)
	}
}

// filter keeps out nodes that may not be heard.
type filter Gossip

// NotifyAlive is asked about every node, this one included.
func (f *filter) NotifyAlive(n *memberlist.Node) error {
	g := (*Gossip)(f)
	if n.Name == g.cfg.ID {
		return nil
	}
	if err := g.cfg.Refuse(n.Name); err != nil {
		return errors.Join(errors.New("refused"), err)
	}
	return nil
}
