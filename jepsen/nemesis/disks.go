package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/disk"
)

// diskFaults spoil the disks of running nodes.
func diskFaults() []Fault {
	return []Fault{
		onLeaderDisk("leader's log hangs", disk.HangSync(disk.Log)),
		onLeaderDisk("leader's disk hangs", disk.Hang(disk.All)),
		onLeaderDisk("fsync of leader's log fails", disk.ForgetSync(disk.Log)),
		onOneDisk("fsync of the state fails", disk.ForgetSync(disk.State)),
		onOneDisk("fsync of the bodies fails", disk.ForgetSync(disk.Bodies)),
		onOneDisk("writes fail", disk.FailWrite(disk.All)),
		onOneDisk("reads of bodies fail", disk.FailRead(disk.Bodies)),
		onOneDisk("no space at all", disk.NoSpace(disk.All)),
		onOneDisk("slow disk", disk.SlowSync(disk.All, 200*time.Millisecond)),
		onOneDisk("reads of bodies get bits wrong", disk.FlipRead(disk.Bodies, 0.2)),
		{Name: "disk full on one", Family: "disk", Ends: true, Inject: func(_ context.Context, t *Target) (Done, error) {
			return fill(t.Cluster.Random(t.Rand))
		}},
		{Name: "disk full on all", Family: "disk", Heavy: true, Ends: true, Inject: func(_ context.Context, t *Target) (Done, error) {
			return fill(t.Cluster.Nodes()...)
		}},
	}
}

func onLeaderDisk(name string, f disk.Fault) Fault {
	return Fault{Name: name, Family: "disk", Damages: damages(f), Ends: true, Inject: func(ctx context.Context, t *Target) (Done, error) {
		n, err := t.Cluster.WaitLeader(ctx)
		if err != nil {
			return Done{}, err
		}
		return inject(t, n, f)
	}}
}

func onOneDisk(name string, f disk.Fault) Fault {
	return Fault{Name: name, Family: "disk", Damages: damages(f), Ends: true, Inject: func(_ context.Context, t *Target) (Done, error) {
		return inject(t, t.Cluster.Random(t.Rand), f)
	}}
}

// damages: what a disk forgot, or wrote by half, may cost the node its data; one that is slow, full, or cannot be read for a while may not.
func damages(f disk.Fault) bool { return f.Rule.Forget || f.Rule.Short }

// inject spoils a node's disk. A node that ended of it loses what was not synced; and so does one that goes on although its disk forgot
// something, for only then it shows whether it noticed. The general healing starts it again.
func inject(t *Target, n *db.Node, f disk.Fault) (Done, error) {
	d := Done{Nodes: []string{n.Name()}, Detail: f.Name}
	undo, err := n.Volume().Inject(f)
	if err != nil {
		return d, notHere(err)
	}
	d.Undo = func(context.Context) error {
		undo()
		if n.Alive() && !f.Rule.Forget {
			return nil
		}
		return t.Cluster.CutPower(n)
	}
	return d, nil
}

// notHere tells of what a kind of disk cannot do that the fault cannot be caused here.
func notHere(err error) error {
	if errors.Is(err, disk.ErrNotHere) {
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	return err
}

// fill leaves less space than the program wants to have free.
func fill(nodes ...*db.Node) (Done, error) {
	d := Done{Nodes: nameList(nodes)}
	var undo []func() error
	d.Undo = func(context.Context) error {
		var errs []error
		for _, f := range undo {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	for _, n := range nodes {
		back, err := n.Volume().Fill(4 << 20)
		if err != nil {
			return d, notHere(err)
		}
		undo = append(undo, back)
	}
	return d, nil
}
