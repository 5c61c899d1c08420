package nemesis

import (
	"context"
	"fmt"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/net"
)

// powerFaults take the power from nodes: the process dies and the disk forgets what was not synced.
func powerFaults() []Fault {
	return []Fault{
		{Name: "power loss of one", Family: "process", Inject: func(_ context.Context, t *Target) (Done, error) {
			return power(t, t.Cluster.Random(t.Rand))
		}},
		{Name: "power loss of the leader", Family: "process", Inject: func(ctx context.Context, t *Target) (Done, error) {
			n, err := t.Cluster.WaitLeader(ctx)
			if err != nil {
				return Done{}, err
			}
			return power(t, n)
		}},
		{Name: "power loss of all", Family: "process", Heavy: true, Inject: func(_ context.Context, t *Target) (Done, error) {
			return power(t, t.Cluster.Nodes()...)
		}},
		{Name: "power loss of a minority behind a partition", Family: "process", Heavy: true, Inject: powerBehindPartition},
	}
}

func power(t *Target, nodes ...*db.Node) (Done, error) {
	d := Done{Nodes: nameList(nodes)}
	return d, notHere(t.Cluster.CutPower(nodes...))
}

// powerBehindPartition cuts a minority off, lets it go on for a moment with what it has, and takes its power.
func powerBehindPartition(ctx context.Context, t *Target) (Done, error) {
	sw, err := t.network()
	if err != nil {
		return Done{}, err
	}
	majority, minority := net.Halves(t.Rand, nameList(t.Cluster.Nodes()))
	if len(minority) == 0 {
		return Done{}, fmt.Errorf("%w: there is no minority", ErrNotHere)
	}
	if err := sw.Apply(net.Split(majority, minority)); err != nil {
		return Done{}, err
	}
	undo := func(context.Context) error { sw.Heal(); return nil }
	pause(ctx, t.upTo(2000))
	var nodes []*db.Node
	for _, n := range t.Cluster.Nodes() {
		for _, name := range minority {
			if n.Name() == name {
				nodes = append(nodes, n)
			}
		}
	}
	d, err := power(t, nodes...)
	d.Undo = undo
	return d, err
}
