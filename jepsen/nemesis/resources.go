package nemesis

import (
	"context"
	"fmt"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/lab"
)

// resourceFaults leave a process less than it needs.
func resourceFaults() []Fault {
	return []Fault{
		onResources("CPU starved", lab.Limits{CPU: 0.1}, false),
		onResources("memory limited", lab.Limits{MemoryBytes: 48 << 20}, true), // the kernel may kill it
		onResources("few file descriptors", lab.Limits{OpenFiles: 64}, true),
		{Name: "CPU of leader starved", Family: "resources", Inject: func(ctx context.Context, t *Target) (Done, error) {
			n, err := t.Cluster.WaitLeader(ctx)
			if err != nil {
				return Done{}, err
			}
			return limit(t, n, lab.Limits{CPU: 0.1})
		}},
	}
}

func onResources(name string, what lab.Limits, ends bool) Fault {
	return Fault{Name: name, Family: "resources", Ends: ends, Inject: func(_ context.Context, t *Target) (Done, error) {
		return limit(t, t.Cluster.Random(t.Rand), what)
	}}
}

func limit(t *Target, n *db.Node, what lab.Limits) (Done, error) {
	d := Done{Nodes: []string{n.Name()}, Detail: fmt.Sprintf("%+v", what)}
	pid := n.PID()
	if pid == 0 {
		return d, fmt.Errorf("%s does not run", n.Name())
	}
	undo, err := t.Lab.Limit(pid, what)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	d.Undo = func(context.Context) error { return undo() }
	return d, nil
}
