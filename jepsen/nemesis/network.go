package nemesis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/net"
)

// network is the lab's switch, or ErrNotHere.
func (t *Target) network() (*net.Switch, error) {
	sw, err := t.Lab.Switch()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	return sw, nil
}

// upTo is a random time of up to so many milliseconds.
func (t *Target) upTo(ms int) time.Duration { return time.Duration(t.Rand.IntN(ms)) * time.Millisecond }

// networkFaults cut and spoil links. The switch does it, so that nodes meet silence, not errors.
func networkFaults() []Fault {
	return []Fault{
		onNetwork("halves", func(t *Target, names []string) net.Plan {
			return net.Split(net.Halves(t.Rand, names))
		}),
		onNetwork("bridge", func(t *Target, names []string) net.Plan {
			mid := len(names) / 2
			return net.Bridge(names[:mid], names[mid], names[mid+1:])
		}),
		onNetwork("ring", func(t *Target, names []string) net.Plan {
			if len(names) < 4 {
				// With three a ring cuts nothing: a chain is the nearest thing.
				return net.Split(names[:1], names[len(names)-1:])
			}
			return net.Ring(names)
		}),
		onNetwork("one way", func(t *Target, names []string) net.Plan {
			return net.OneWay(names[:1], names[1:])
		}),
		onNetwork("isolate one", func(t *Target, names []string) net.Plan {
			return net.Isolate(names[0], append(names[1:], lab.Clients), net.Both)
		}),
		onLeaderLinks("isolate leader", func(t *Target, leader string, rest []string) net.Plan {
			return net.Isolate(leader, append(rest, lab.Clients), net.Both)
		}),
		onLeaderLinks("isolate leader from peers", func(t *Target, leader string, rest []string) net.Plan {
			return net.Isolate(leader, rest, net.Both)
		}),
		onLeaderLinks("leader hears nobody", func(t *Target, leader string, rest []string) net.Plan {
			return net.Isolate(leader, rest, net.In)
		}),
		onLeaderLinks("nobody hears leader", func(t *Target, leader string, rest []string) net.Plan {
			return net.Isolate(leader, rest, net.Out)
		}),
		onNetwork("lossy", func(t *Target, names []string) net.Plan {
			return net.Mesh(append(names, lab.Clients), net.Rule{Loss: 0.05, Duplicate: 0.05})
		}),
		onNetwork("jitter", func(t *Target, names []string) net.Plan {
			return net.Mesh(names, net.Rule{Delay: 5 * time.Millisecond, Jitter: 40 * time.Millisecond, Reorder: true})
		}),
		onNetwork("slow network", func(t *Target, names []string) net.Plan {
			return net.Mesh(names, net.Rule{Delay: 20 * time.Millisecond, BytesPerSecond: 2 << 20})
		}),
		onNetwork("slow follower", func(t *Target, names []string) net.Plan {
			return net.Merge(net.Between(names[:1], names[1:], net.Rule{Delay: 100 * time.Millisecond, BytesPerSecond: 128 << 10}),
				net.Between(names[1:], names[:1], net.Rule{Delay: 100 * time.Millisecond, BytesPerSecond: 128 << 10}))
		}),
		onNetwork("slow clients", func(t *Target, names []string) net.Plan {
			return net.Between([]string{lab.Clients}, names, net.Rule{Delay: 50 * time.Millisecond, BytesPerSecond: 64 << 10})
		}),
		onNetwork("grey: no Raft", func(t *Target, names []string) net.Plan {
			return net.Isolate(names[0], names[1:], net.Both).On(db.PortCluster)
		}),
		onNetwork("grey: no gossip", func(t *Target, names []string) net.Plan {
			return net.Isolate(names[0], names[1:], net.Both).On(db.PortGossip)
		}),
		{Name: "flapping links", Family: "network", Inject: flap},
	}
}

// onNetwork is a fault of links among nodes in random order.
func onNetwork(name string, plan func(*Target, []string) net.Plan) Fault {
	return Fault{Name: name, Family: "network", Inject: func(_ context.Context, t *Target) (Done, error) {
		sw, err := t.network()
		if err != nil {
			return Done{}, err
		}
		names := nameList(some(t, len(t.Cluster.Nodes())))
		if len(names) < 2 {
			return Done{}, fmt.Errorf("%w: there is one node", ErrNotHere)
		}
		return apply(sw, plan(t, names))
	}}
}

// onLeaderLinks is a fault of the links of whoever leads.
func onLeaderLinks(name string, plan func(t *Target, leader string, rest []string) net.Plan) Fault {
	return Fault{Name: name, Family: "network", Inject: func(ctx context.Context, t *Target) (Done, error) {
		sw, err := t.network()
		if err != nil {
			return Done{}, err
		}
		leader, err := t.Cluster.WaitLeader(ctx)
		if err != nil {
			return Done{}, err
		}
		d, err := apply(sw, plan(t, leader.Name(), nameList(others(t, leader))))
		d.Nodes = []string{leader.Name()}
		return d, err
	}}
}

func apply(sw *net.Switch, p net.Plan) (Done, error) {
	if err := sw.Replace(p); err != nil {
		return Done{}, err
	}
	return Done{Nodes: ends(p), Detail: links(p), Undo: func(context.Context) error { sw.Heal(); return nil }}, nil
}

// ends are the nodes of a plan's links.
func ends(p net.Plan) []string {
	var out []string
	for l := range p {
		for _, e := range []string{l.From, l.To} {
			if e != lab.Clients && !slices.Contains(out, e) {
				out = append(out, e)
			}
		}
	}
	slices.Sort(out)
	return out
}

// links are a plan's links for people.
func links(p net.Plan) string {
	var out []string
	for l := range p {
		out = append(out, l.From+">"+l.To)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// flap cuts and heals random halves quickly, so that leaders change again and again.
func flap(ctx context.Context, t *Target) (Done, error) {
	sw, err := t.network()
	if err != nil {
		return Done{}, err
	}
	rounds := 3 + t.Rand.IntN(4)
	for range rounds {
		majority, minority := net.Halves(t.Rand, nameList(t.Cluster.Nodes()))
		if err := sw.Replace(net.Split(majority, minority)); err != nil {
			return Done{}, err
		}
		pause(ctx, 300*time.Millisecond+t.upTo(1200))
		sw.Heal()
		pause(ctx, t.upTo(400))
	}
	return Done{Nodes: nameList(t.Cluster.Nodes()), Detail: fmt.Sprintf("%d times", rounds)}, nil
}
