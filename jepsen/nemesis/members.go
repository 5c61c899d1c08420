package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumail/quorumail/jepsen/lab"
)

// memberFaults change who belongs to the cluster, under load.
func memberFaults() []Fault {
	return []Fault{
		{Name: "wipe and replace", Family: "process", Heavy: true, Inject: wipe},
		{Name: "join and leave", Family: "process", Heavy: true, Inject: joinAndLeave},
		{Name: "kill during join", Family: "process", Heavy: true, Ends: true, Inject: killDuringJoin},
	}
}

// wipe loses the disk of a node, which joins anew under a new id.
func wipe(ctx context.Context, t *Target) (Done, error) {
	n := t.Cluster.Random(t.Rand)
	began := time.Now()
	err := t.Cluster.Replace(ctx, n)
	if err == nil {
		err = t.Cluster.WaitWhole(ctx)
	}
	return Done{Nodes: []string{n.Name()}, Detail: fmt.Sprintf("whole again after %v", time.Since(began).Round(10*time.Millisecond))}, err
}

// joinAndLeave adds a node and takes an old one out.
func joinAndLeave(ctx context.Context, t *Target) (Done, error) {
	if len(t.Lab.Names()) >= lab.MaxNodes {
		return Done{}, fmt.Errorf("%w: the lab is full", ErrNotHere)
	}
	old := t.Cluster.Random(t.Rand)
	n, err := t.Cluster.Join(ctx)
	if n == nil {
		return Done{}, err
	}
	d := Done{Nodes: []string{n.Name(), old.Name()}, Detail: n.Name() + " joined, " + old.Name() + " left"}
	if err != nil {
		return d, err
	}
	if err := t.Cluster.WaitWhole(ctx); err != nil {
		return d, err
	}
	return d, t.Cluster.Leave(ctx, old)
}

// killDuringJoin kills the node that joins, and whoever leads, while it does.
func killDuringJoin(ctx context.Context, t *Target) (Done, error) {
	n := t.Cluster.Random(t.Rand)
	d := Done{Nodes: []string{n.Name()}} // one whose join breaks off may end
	again := make(chan error, 1)
	joining, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	go func() { again <- t.Cluster.Replace(joining, n) }()
	pause(ctx, 300*time.Millisecond+t.upTo(1500))
	if leader, err := t.Cluster.Leader(ctx); err == nil && leader != n {
		d.Detail = "the leader " + leader.Name() + " was killed during the join of " + n.Name()
		leader.Kill()
		if err := leader.Start(ctx); err != nil {
			return d, errors.Join(err, <-again)
		}
	}
	return d, <-again
}
