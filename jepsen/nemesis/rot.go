package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/disk"
	"github.com/quorumail/quorumail/jepsen/history"
)

// rotFaults damage files at rest, on one node: a minority.
func rotFaults() []Fault {
	out := []Fault{{Name: "rot in next leader", Family: "process", Heavy: true, Damages: true, Inject: rotNextLeader}}
	for _, part := range disk.Parts() {
		out = append(out, Fault{Name: "rot in " + string(part), Family: "process", Heavy: true, Damages: true, Inject: func(ctx context.Context, t *Target) (Done, error) {
			return rotOne(ctx, t, t.Cluster.Random(t.Rand), part)
		}})
	}
	return out
}

// rotOne kills a node, damages a file of its disk in a random way, and starts it again. What the node then does is told in the detail: it
// serves, having repaired the damage or not being touched by it, or it refuses with a reason; then the general healing replaces it.
func rotOne(ctx context.Context, t *Target, n *db.Node, part disk.Part) (Done, error) {
	d := Done{Nodes: []string{n.Name()}}
	n.Kill()
	hows := disk.Hows()
	how := hows[t.Rand.IntN(len(hows))]
	err := n.Volume().Content(func(dir string) (err error) {
		d.Detail, err = disk.Rot(dir, part, how, t.Rand)
		return err
	})
	if errors.Is(err, disk.ErrSound) {
		return d, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	if err != nil {
		return d, err
	}
	if err := n.Start(ctx); err != nil {
		return d, err
	}
	verdict, err := afterRot(ctx, t, n)
	d.Detail += "; " + verdict
	return d, err
}

// afterRot waits until a damaged node serves and has verified its whole copy, or has ended with a reason.
func afterRot(ctx context.Context, t *Target, n *db.Node) (string, error) {
	err := n.WaitReady(ctx)
	if err == nil {
		err = n.Admin().Check(ctx)
	}
	switch {
	case err == nil:
		return "it serves, and its copy is good", nil
	case n.Alive():
		return "it runs, but: " + err.Error(), err
	case !n.SaysWhy():
		// That a node ends without a reason that helps is a broken promise, and so told to the checker of logs.
		t.History.Note(history.Note{At: t.History.Now(), Node: n.Name(), Kind: "log", Text: "invariant: a damaged node ended without saying what to do: " + n.LastWords()})
	}
	return "it ended: " + reason(n.LastWords()), nil
}

// reason is the error in a line of a log.
func reason(line string) string {
	if _, text, ok := strings.Cut(line, " err="); ok {
		return text
	}
	return line
}

// rotNextLeader damages the log of a follower, and kills the leader as soon as the follower is back.
func rotNextLeader(ctx context.Context, t *Target) (Done, error) {
	leader, err := t.Cluster.WaitLeader(ctx)
	if err != nil {
		return Done{}, err
	}
	rest := others(t, leader)
	if len(rest) == 0 {
		return Done{}, fmt.Errorf("%w: there is one node", ErrNotHere)
	}
	d, err := rotOne(ctx, t, rest[t.Rand.IntN(len(rest))], disk.Log)
	leader.Kill()
	d.Detail += "; then the leader " + leader.Name() + " was killed"
	return d, err
}
