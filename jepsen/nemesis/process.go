package nemesis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/quorumail/quorumail/jepsen/db"
)

// processFaults kill, stop and starve processes.
func processFaults() []Fault {
	return []Fault{
		{Name: "kill one", Family: "process", Inject: func(_ context.Context, t *Target) (Done, error) {
			return kill(t.Cluster.Random(t.Rand)), nil
		}},
		{Name: "kill leader", Family: "process", Inject: func(ctx context.Context, t *Target) (Done, error) {
			n, err := t.Cluster.WaitLeader(ctx)
			if err != nil {
				return Done{}, err
			}
			return kill(n), nil
		}},
		{Name: "kill two", Family: "process", Heavy: true, Inject: func(_ context.Context, t *Target) (Done, error) {
			return kill(some(t, 2)...), nil
		}},
		{Name: "kill all", Family: "process", Heavy: true, Inject: func(_ context.Context, t *Target) (Done, error) {
			return kill(t.Cluster.Nodes()...), nil
		}},
		{Name: "kill again and again", Family: "process", Inject: killLoop},
		{Name: "pause one", Family: "process", Inject: func(_ context.Context, t *Target) (Done, error) {
			return stand(t.Cluster.Random(t.Rand)), nil
		}},
		{Name: "pause leader", Family: "process", Inject: func(ctx context.Context, t *Target) (Done, error) {
			n, err := t.Cluster.WaitLeader(ctx)
			if err != nil {
				return Done{}, err
			}
			return stand(n), nil
		}},
		{Name: "restart one", Family: "process", Inject: func(ctx context.Context, t *Target) (Done, error) {
			n := t.Cluster.Random(t.Rand)
			return restart(ctx, n)
		}},
		{Name: "restart leader", Family: "process", Inject: func(ctx context.Context, t *Target) (Done, error) {
			n, err := t.Cluster.WaitLeader(ctx)
			if err != nil {
				return Done{}, err
			}
			return restart(ctx, n)
		}},
		{Name: "rolling restart", Family: "process", Heavy: true, Inject: rolling},
	}
}

func nameList(nodes []*db.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name())
	}
	return out
}

// some picks so many members at random.
func some(t *Target, count int) []*db.Node {
	nodes := t.Cluster.Nodes()
	t.Rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes[:min(count, len(nodes))]
}

func others(t *Target, but *db.Node) []*db.Node {
	return slices.DeleteFunc(t.Cluster.Nodes(), func(n *db.Node) bool { return n == but })
}

// kill ends nodes by SIGKILL; the general healing starts them again.
func kill(nodes ...*db.Node) Done {
	for _, n := range nodes {
		n.Kill()
	}
	return Done{Nodes: nameList(nodes)}
}

// killLoop kills a node in the middle of each start: while it recovers.
func killLoop(ctx context.Context, t *Target) (Done, error) {
	n := t.Cluster.Random(t.Rand)
	rounds := 3 + t.Rand.IntN(4)
	for range rounds {
		n.Kill()
		if err := n.Start(ctx); err != nil {
			return Done{Nodes: []string{n.Name()}}, err
		}
		pause(ctx, time.Duration(t.Rand.IntN(600))*time.Millisecond)
	}
	n.Kill()
	return Done{Nodes: []string{n.Name()}, Detail: fmt.Sprintf("%d times", rounds)}, nil
}

func stand(n *db.Node) Done {
	n.Pause()
	return Done{Nodes: []string{n.Name()}, Undo: func(context.Context) error { n.Resume(); return nil }}
}

// restart stops nodes politely, one after the other, and starts each again at once. The general healing waits for the last one: beside
// another fault it may not be ready before.
func restart(ctx context.Context, nodes ...*db.Node) (Done, error) {
	d := Done{Nodes: nameList(nodes)}
	for i, n := range nodes {
		if err := n.Stop(ctx); err != nil {
			return d, err
		}
		if err := n.Start(ctx); err != nil {
			return d, err
		}
		if i == len(nodes)-1 {
			break
		}
		if err := n.WaitReady(ctx); err != nil {
			return d, err
		}
	}
	return d, nil
}

// rolling restarts every node in turn, as an upgrade does.
func rolling(ctx context.Context, t *Target) (Done, error) {
	return restart(ctx, t.Cluster.Nodes()...)
}
