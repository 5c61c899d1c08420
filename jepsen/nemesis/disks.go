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
		{Name: "disk full on one", Family: "disk", Inject: func(_ context.Context, t *Target) (Done, error) {
			return fill(t.Cluster.Random(t.Rand))
		}},
		{Name: "disk full on all", Family: "disk", Heavy: true, Inject: func(_ context.Context, t *Target) (Done, error) {
			return fill(t.Cluster.Nodes()...)
		}},
	}
}

func onLeaderDisk(name string, f disk.Fault) Fault {
	return Fault{Name: name, Family: "disk", Damages: true, Inject: func(ctx context.Context, t *Target) (Done, error) {
		n, err := t.Cluster.WaitLeader(ctx)
		if err != nil {
			return Done{}, err
		}
		return inject(n, f)
	}}
}

func onOneDisk(name string, f disk.Fault) Fault {
	return Fault{Name: name, Family: "disk", Damages: true, Inject: func(_ context.Context, t *Target) (Done, error) {
		return inject(t.Cluster.Random(t.Rand), f)
	}}
}

// inject spoils a node's disk. When a node's disk failed, whatever its files held in the kernel's memory is of no more worth: undoing it is
// killing the process, losing what was not synced, and letting the general healing start it again.
func inject(n *db.Node, f disk.Fault) (Done, error) {
	d := Done{Nodes: []string{n.Name()}, Detail: f.Name}
	undo, err := n.Volume().Inject(f)
	if err != nil {
		return d, notHere(err)
	}
	d.Undo = func(context.Context) error {
		undo()
		if n.Alive() {
			return nil
		}
		_, err := n.Volume().Restore()
		return err
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
