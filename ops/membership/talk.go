package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/gossip"
	"github.com/quorumail/quorumail/store"
)

// Members is the membership, as far as the gossip needs it.
type Members interface {
	IsLeader() bool
	Status() cluster.Status
	Configuration() cluster.Configuration
}

// KeyStore keeps the keys of the gossip in the replicated state.
type KeyStore interface {
	// Keys wraps store.ErrNotFound as long as there are none.
	Keys() (gossip.Keys, error)
	// SaveKeys returns when they are applied here. With create it wraps store.ErrExists if there are some already.
	SaveKeys(ctx context.Context, k gossip.Keys, create bool) error
}

// TalkConfig says what a Talker works with.
type TalkConfig struct {
	Self              cluster.ServerID
	Name              string
	Listen, Advertise string // host:port
	Members           Members
	Keys              KeyStore
	Calls             Calls
	Logger            *slog.Logger
	Health            func() gossip.Health  // how this node is; must not block
	Deliver           func(news []byte)     // takes news of others; must not block
	Refuse            func(id string) error // as gossip.Config has it
	Every             time.Duration         // how often the keys are looked at; default 500 ms
	RotateTimeout     time.Duration         // how long a step may wait for all members; default 30 s
}

// Talker runs the gossip with the keys that the state holds.
type Talker struct {
	cfg      TalkConfig
	rotating sync.Mutex

	mu sync.Mutex
	g  *gossip.Gossip // nil until there are keys; guarded by mu
}

// NewTalker makes a talker; Register and Run it.
func NewTalker(cfg TalkConfig) *Talker {
	if cfg.Every == 0 {
		cfg.Every = 500 * time.Millisecond
	}
	if cfg.RotateTimeout == 0 {
		cfg.RotateTimeout = 30 * time.Second
	}
	return &Talker{cfg: cfg}
}

// hello is the answer to methodGossip.
type hello struct {
	Address    string `json:"address"` // empty while the node does not gossip
	Generation uint64 `json:"generation"`
}

// Register says who answers the other nodes. Call it before any traffic.
func (t *Talker) Register() {
	t.cfg.Calls.Handle(methodGossip, func(context.Context, cluster.ServerID, []byte) ([]byte, error) {
		h := hello{}
		if g := t.gossip(); g != nil {
			h = hello{g.Address(), g.Generation()}
		}
		return json.Marshal(h)
	})
	t.cfg.Calls.Handle(methodRotate, func(ctx context.Context, _ cluster.ServerID, _ []byte) ([]byte, error) {
		return resultOf(Progress{}, t.rotate(ctx))
	})
}

func (t *Talker) gossip() *gossip.Gossip {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.g
}

// Run gossips until ctx ends, as soon as the state holds keys; the leader makes the first ones.
func (t *Talker) Run(ctx context.Context) error {
	g, err := t.start(ctx)
	if err != nil || g == nil {
		return err
	}
	t.mu.Lock()
	t.g = g
	t.mu.Unlock()
	talking := make(chan error, 1)
	go func() { talking <- g.Run(ctx) }()
	for pause(ctx, t.cfg.Every) {
		if err := t.takeKeys(g); err != nil {
			t.cfg.Logger.Warn("take the keys of the gossip from the state", "pkg", "membership", "err", err)
		}
	}
	return <-talking
}

// start returns nil when ctx ends first.
func (t *Talker) start(ctx context.Context) (*gossip.Gossip, error) {
	said := false
	for {
		k, err := t.firstKeys(ctx)
		if err == nil {
			g, err := gossip.Start(ctx, gossip.Config{ID: string(t.cfg.Self), Name: t.cfg.Name, Listen: t.cfg.Listen, Advertise: t.cfg.Advertise, Keys: k,
				Logger: t.cfg.Logger, Self: t.cfg.Health, Seeds: t.seeds, Deliver: t.cfg.Deliver, Refuse: t.cfg.Refuse})
			var unresolved *net.DNSError
			if !errors.As(err, &unresolved) {
				return g, err
			}
			if !said {
				t.cfg.Logger.Warn("the gossip waits for the name service", "pkg", "membership", "err", err)
				said = true
			}
		}
		if !pause(ctx, t.cfg.Every) {
			return nil, nil
		}
	}
}

func (t *Talker) firstKeys(ctx context.Context) (gossip.Keys, error) {
	k, err := t.cfg.Keys.Keys()
	if !errors.Is(err, store.ErrNotFound) || !t.cfg.Members.IsLeader() {
		return k, err
	}
	if err := t.cfg.Keys.SaveKeys(ctx, gossip.NewKeys(), true); err != nil && !errors.Is(err, store.ErrExists) {
		return k, err
	}
	return t.cfg.Keys.Keys()
}

func (t *Talker) takeKeys(g *gossip.Gossip) error {
	k, err := t.cfg.Keys.Keys()
	if err != nil || k.Generation == g.Generation() {
		return err
	}
	return g.SetKeys(k)
}

// pause is false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// helloTimeout bounds the question to one member.
const helloTimeout = 2 * time.Second

// seeds asks members that are not heard where their gossip is.
func (t *Talker) seeds(ctx context.Context, alive map[string]bool) (out []string) {
	for _, m := range t.cfg.Members.Configuration().Servers {
		if alive[string(m.ID)] || m.ID == t.cfg.Self {
			continue
		}
		if h, err := t.ask(ctx, m.ID); err == nil && h.Address != "" {
			out = append(out, h.Address)
		}
	}
	return out
}

func (t *Talker) ask(ctx context.Context, id cluster.ServerID) (h hello, err error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	raw, err := t.cfg.Calls.Call(ctx, id, methodGossip, nil)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("read the answer of %s: %w", id, err)
	}
	return h, nil
}

// Member is how a node seems to be.
func (t *Talker) Member(id cluster.ServerID) gossip.Member {
	if g := t.gossip(); g != nil {
		return g.Member(string(id))
	}
	return gossip.Member{ID: string(id), State: gossip.Unknown}
}

// Tell spreads news. They may be lost, and are while this node does not gossip yet.
func (t *Talker) Tell(news []byte) error {
	if g := t.gossip(); g != nil {
		return g.Tell(news)
	}
	return nil
}

// RotateKeys makes the leader replace the key of the gossip: the new one is installed everywhere, then used, then the old one forgotten.
// When a member does not take a step in time, the keys stay as they are, both good, and the next call goes on from there.
func (t *Talker) RotateKeys(ctx context.Context) error {
	raw, err := askLeader(ctx, t.cfg.Calls, t.cfg.Members.Status().Leader, methodRotate, nil)
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the leader's answer: %w", err)
	}
	return r.err()
}

func (t *Talker) rotate(ctx context.Context) error {
	if !t.rotating.TryLock() {
		return fmt.Errorf("the keys are being rotated already: %w", store.ErrConflict)
	}
	defer t.rotating.Unlock()
	k, err := t.cfg.Keys.Keys()
	if err != nil {
		return fmt.Errorf("read the keys of the gossip: %w", err)
	}
	if !k.Rotating() {
		if k, err = t.save(ctx, k.Install()); err != nil {
			return err
		}
	}
	for k.Rotating() {
		if err := t.awaitAll(ctx, k.Generation); err != nil {
			return err
		}
		next := k.Use
		if k.Used {
			next = k.Drop
		}
		if k, err = t.save(ctx, next()); err != nil {
			return err
		}
	}
	return t.awaitAll(ctx, k.Generation)
}

func (t *Talker) save(ctx context.Context, k gossip.Keys) (gossip.Keys, error) {
	if !t.cfg.Members.IsLeader() {
		return k, fmt.Errorf("the lead moved: run it again: %w", store.ErrUnavailable)
	}
	if err := t.cfg.Keys.SaveKeys(ctx, k, false); err != nil {
		return k, fmt.Errorf("save the keys of the gossip: %w", err)
	}
	return k, nil
}

// awaitAll waits until every member has taken a generation of the keys.
func (t *Talker) awaitAll(ctx context.Context, generation uint64) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.RotateTimeout)
	defer cancel()
	for {
		behind := t.behind(ctx, generation)
		if len(behind) == 0 {
			return nil
		}
		if !pause(ctx, t.cfg.Every/2) {
			return fmt.Errorf("node %s has not taken the keys of generation %d; until all have, old and new keys stay good: run it again when that node is back, or remove the node: %w",
				behind[0], generation, store.ErrUnavailable)
		}
	}
}

func (t *Talker) behind(ctx context.Context, generation uint64) (ids []cluster.ServerID) {
	for _, m := range t.cfg.Members.Configuration().Servers {
		if h, err := t.ask(ctx, m.ID); err != nil || h.Generation < generation {
			ids = append(ids, m.ID)
		}
	}
	return ids
}
