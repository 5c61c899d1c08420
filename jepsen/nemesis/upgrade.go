package nemesis

import (
	"context"
	"fmt"

	"github.com/quorumail/quorumail/jepsen/db"
)

// upgradeFaults change the program of nodes under load, between the one under test and the older one.
func upgradeFaults() []Fault {
	return []Fault{
		{Name: "upgrade or downgrade one", Family: "process", Inject: changeOne},
		{Name: "rolling downgrade and upgrade", Family: "process", Heavy: true, Inject: downAndUp},
	}
}

// changeOne gives a node the other program. It keeps it afterwards, so that what comes next meets a cluster of two versions.
func changeOne(ctx context.Context, t *Target) (Done, error) {
	if t.OldBin == "" {
		return Done{}, errNoOld
	}
	n := t.Cluster.Random(t.Rand)
	bin, text := t.OldBin, "down to the old program"
	if n.Bin() == t.OldBin {
		bin, text = t.Cluster.Bin(), "up to the new program"
	}
	return Done{Nodes: []string{n.Name()}, Detail: text}, n.Upgrade(ctx, bin)
}

// downAndUp takes one node after the other down to the old program, in a random order, and when the fault is over up to the new one, in the
// reverse order.
func downAndUp(ctx context.Context, t *Target) (Done, error) {
	if t.OldBin == "" {
		return Done{}, errNoOld
	}
	nodes := some(t, len(t.Cluster.Nodes()))
	d := Done{Nodes: nameList(nodes), Detail: "down to the old program in this order", Undo: func(ctx context.Context) error {
		for i := len(nodes) - 1; i >= 0; i-- {
			if err := change(ctx, nodes[i], t.Cluster.Bin()); err != nil {
				return err
			}
		}
		return nil
	}}
	for _, n := range nodes {
		if err := change(ctx, n, t.OldBin); err != nil {
			return d, err
		}
	}
	return d, nil
}

// change gives a node a program, if it has another, and waits until it serves.
func change(ctx context.Context, n *db.Node, bin string) error {
	if n.Bin() == bin {
		return nil
	}
	if err := n.Upgrade(ctx, bin); err != nil {
		return err
	}
	return n.WaitReady(ctx)
}

// errNoOld leaves these faults out where there is one version only.
var errNoOld = fmt.Errorf("%w: no old program was named", ErrNotHere)
