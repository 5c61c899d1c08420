package nemesis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/disk"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/net"
)

// aimedFaults are sequences that hit what is known to be delicate.
func aimedFaults() []Fault {
	return []Fault{
		{Name: "pause leader until deposed", Family: "process", Inject: pauseUntilDeposed},
		{Name: "snapshot sender killed", Family: "network", Heavy: true, Inject: snapshotSenderKilled},
		{Name: "log loses its end", Family: "network", Heavy: true, Damages: true, Inject: forgetful},
		{Name: "power loss of all and a disk lost", Family: "process", Heavy: true, Inject: oneDiskOfAllLost},
		{Name: "laggard must lead", Family: "network", Heavy: true, Inject: laggardLeads},
		{Name: ownerKilledName, Family: "process", Inject: ownerKilled},
	}
}

// pauseUntilDeposed makes the leader stand still until another leads, and lets it go on: until it hears of the other it believes that it
// leads, and clients that are connected to it must not be shown what is old.
func pauseUntilDeposed(ctx context.Context, t *Target) (Done, error) {
	n, err := t.Cluster.WaitLeader(ctx)
	if err != nil {
		return Done{}, err
	}
	d := Done{Nodes: []string{n.Name()}}
	n.Pause()
	defer n.Resume()
	next, err := waitOther(ctx, t, n)
	if err != nil {
		return d, err
	}
	d.Detail = next.Name() + " led meanwhile"
	pause(ctx, t.upTo(1000))
	return d, nil
}

// waitOther waits until another node leads.
func waitOther(ctx context.Context, t *Target, but *db.Node) (*db.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		n, err := t.Cluster.WaitLeader(ctx)
		if err != nil {
			return nil, err
		}
		if n != but {
			return n, nil
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// snapshotSenderKilled cuts a follower off until the leader has cut its log beyond what it has, heals, and kills the leader while it sends the
// checkpoint.
func snapshotSenderKilled(ctx context.Context, t *Target) (Done, error) {
	leader, follower, undo, err := leaveBehind(ctx, t)
	if err != nil {
		return Done{Undo: undo}, err
	}
	d := Done{Nodes: []string{leader.Name(), follower.Name()}, Undo: undo, Detail: "leader " + leader.Name() + ", follower " + follower.Name()}
	if err := undo(ctx); err != nil {
		return d, err
	}
	pause(ctx, 100*time.Millisecond+t.upTo(700))
	leader.Kill()
	return d, leader.Start(ctx)
}

// laggardLeads cuts a follower off until it is far behind, heals, and at once kills the two others in turn.
func laggardLeads(ctx context.Context, t *Target) (Done, error) {
	leader, follower, undo, err := leaveBehind(ctx, t)
	if err != nil {
		return Done{Undo: undo}, err
	}
	d := Done{Nodes: []string{leader.Name(), follower.Name()}, Undo: undo, Detail: follower.Name() + " was behind"}
	if err := undo(ctx); err != nil {
		return d, err
	}
	for _, n := range others(t, follower) {
		n.Kill()
		pause(ctx, t.upTo(500))
		if err := n.Start(ctx); err != nil {
			return d, err
		}
	}
	return d, nil
}

// leaveBehind cuts a follower off until the log it lacks must have been cut: the leader has taken more entries than a log keeps. It is an
// error when the clients do too little for that.
func leaveBehind(ctx context.Context, t *Target) (leader, follower *db.Node, undo func(context.Context) error, err error) {
	sw, err := t.network()
	if err != nil {
		return nil, nil, nil, err
	}
	if leader, err = t.Cluster.WaitLeader(ctx); err != nil {
		return nil, nil, nil, err
	}
	rest := others(t, leader)
	if len(rest) == 0 {
		return nil, nil, nil, fmt.Errorf("%w: there is one node", ErrNotHere)
	}
	follower = rest[t.Rand.IntN(len(rest))]
	if err = sw.Apply(net.Isolate(follower.Name(), nameList(others(t, follower)), net.Both)); err != nil {
		return nil, nil, nil, err
	}
	undo = func(context.Context) error { sw.Heal(); return nil }
	before, err := leader.Status(ctx)
	if err != nil {
		return leader, follower, undo, err
	}
	enough := before.Last + t.Cluster.LogKeeps()
	last := before.Last
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
		if st, err := leader.Status(ctx); err == nil {
			last = st.Last
		}
		if last > enough {
			return leader, follower, undo, nil
		}
	}
	return leader, follower, undo, fmt.Errorf("%s was not left behind: the log grew by %d entries, and keeps %d", follower.Name(), last-before.Last, t.Cluster.LogKeeps())
}

// forgetful is about a node that lost the end of its log and must not vote as if it had not: one follower is cut off and falls behind, the
// other one's log loses its end while it is down, and then the leader dies as the first comes back. The two that are left are a majority in
// number, and do not have what was acknowledged last.
func forgetful(ctx context.Context, t *Target) (Done, error) {
	sw, err := t.network()
	if err != nil {
		return Done{}, err
	}
	leader, err := t.Cluster.WaitLeader(ctx)
	if err != nil {
		return Done{}, err
	}
	rest := others(t, leader)
	if len(rest) != 2 {
		return Done{}, fmt.Errorf("%w: it is about three nodes", ErrNotHere)
	}
	behind, damaged := rest[0], rest[1]
	d := Done{Nodes: []string{leader.Name(), behind.Name(), damaged.Name()}, Undo: func(context.Context) error { sw.Heal(); return nil }}
	if err := sw.Apply(net.Isolate(behind.Name(), []string{leader.Name(), damaged.Name(), lab.Clients}, net.Both)); err != nil {
		return d, err
	}
	pause(ctx, time.Second+t.upTo(2000))
	damaged.Kill()
	err = damaged.Volume().Content(func(dir string) (err error) {
		d.Detail, err = disk.Rot(dir, disk.Log, disk.Truncate, t.Rand)
		return err
	})
	if err != nil {
		return d, err
	}
	leader.Kill()
	sw.Heal()
	d.Detail += "; " + behind.Name() + " was behind, the leader " + leader.Name() + " died"
	if err := damaged.Start(ctx); err != nil {
		return d, err
	}
	pause(ctx, 3*time.Second)
	return d, leader.Start(ctx)
}

// oneDiskOfAllLost is about what counts as a majority of disks: while two nodes are slow to make bodies safe, all lose power, and the third
// one's disk does not come back.
func oneDiskOfAllLost(ctx context.Context, t *Target) (Done, error) {
	n := t.Cluster.Random(t.Rand)
	d := Done{Nodes: nameList(t.Cluster.Nodes()), Detail: "the disk of " + n.Name() + " is lost"}
	var undo []func()
	quicker := func() {
		for _, back := range undo {
			back()
		}
	}
	d.Undo = func(context.Context) error { quicker(); return nil } // if it does not come to the end
	for _, o := range others(t, n) {
		back, err := o.Volume().Inject(disk.SlowSync(disk.Bodies, time.Second))
		if err != nil {
			return d, notHere(err)
		}
		undo = append(undo, back)
	}
	pause(ctx, 2*time.Second+t.upTo(2000))
	if _, err := power(t, t.Cluster.Nodes()...); err != nil {
		return d, err
	}
	quicker()
	for _, o := range others(t, n) {
		if err := o.Start(ctx); err != nil {
			return d, err
		}
	}
	if err := haveAllBodies(ctx, others(t, n)); err != nil {
		return d, err
	}
	return d, t.Cluster.Replace(ctx, n)
}

// haveAllBodies waits until nodes that are a majority serve and have fetched from each other what they lacked: what was acknowledged is on
// the disks of some of them.
func haveAllBodies(ctx context.Context, nodes []*db.Node) error {
	for _, n := range nodes {
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	var lack []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); pause(ctx, 100*time.Millisecond) {
		lack = nil
		for _, n := range nodes {
			if st, err := n.Status(ctx); err != nil || st.Missing > 0 {
				lack = append(lack, fmt.Sprintf("%s lacks %d messages (%v)", n.Name(), st.Missing, err))
			}
		}
		if lack == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: a majority of the disks does not hold every message: %s", ErrLost, strings.Join(lack, ", "))
}
