package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Run does the background work until ctx ends; then it returns nil. An error means that this node must not go on: its data folder is not
// the one that the cluster knows under its id, or its body store failed. Call it once, when the log takes proposals.
func (r *Replica) Run(ctx context.Context) error {
	r.clusterChanged() // what was applied before
	i := r.cfg.Intervals
	g, ctx := errgroup.WithContext(ctx)
	loop := func(f func(context.Context) error) { g.Go(func() error { return f(ctx) }) }
	loop(r.watchHealth)
	loop(r.register)
	loop(r.repairLoop)
	loop(r.deleteLoop)
	loop(func(ctx context.Context) error {
		return r.every(ctx, i.StreamIdle, i.StreamIdle, "close idle streams", func(context.Context) error { r.pools.reap(i.StreamIdle); return nil })
	})
	for _, l := range []struct {
		what  string
		every time.Duration
		do    func(context.Context) error
	}{
		{"tick", i.Tick, r.tick},
		{"advance the upload epoch", i.Epoch, r.advanceEpoch},
		{"sweep", i.Sweep, r.sweep},
	} {
		loop(func(ctx context.Context) error { return r.every(ctx, l.every, l.every, l.what, r.leading(l.do)) })
	}
	loop(func(ctx context.Context) error {
		return r.every(ctx, i.Reconcile/60, i.Reconcile, "reconcile", r.reconcile)
	})
	loop(func(ctx context.Context) error { return r.every(ctx, i.Compact, i.Compact, "compact", r.compact) })
	loop(func(ctx context.Context) error { return r.every(ctx, i.Scrub/10, i.Scrub, "scrub", r.scrub) })
	return g.Wait()
}

// every does something again and again; what fails is logged and tried again the next time.
func (r *Replica) every(ctx context.Context, first, then time.Duration, what string, do func(context.Context) error) error {
	for wait := first; pause(ctx, wait); wait = then {
		err := do(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, errClocks):
			r.cfg.Logger.Error(what, "err", err)
		default:
			r.cfg.Logger.Warn(what, "err", err)
		}
	}
	return nil
}

// leading does something only where this node leads. Two nodes that both think so do no harm: the commands are checked when applied.
func (r *Replica) leading(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !r.cfg.Peers.IsLeader() {
			return nil
		}
		return do(ctx)
	}
}

// maintain proposes a background command.
func (r *Replica) maintain(ctx context.Context, fill func(*storepb.Command)) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Intervals.Maintenance)
	defer cancel()
	_, err := r.Propose(ctx, fill)
	return err
}

// register tells the cluster who this node is since it started, which also retires what its earlier processes may still have under way. It is
// the first that this process proposes: an earlier one's late word could retire this one only if there were something of it to retire.
func (r *Replica) register(ctx context.Context) error {
	s := &storepb.Server{Id: string(r.cfg.Self), Name: r.cfg.Name, Address: r.cfg.Address, DataIncarnation: r.cfg.DataIncarnation[:],
		MaxVersion: r.cfg.MaxVersion, Boot: r.cfg.Boot}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, r.cfg.Intervals.Ready) {
		err := r.registerOnce(ctx, s)
		if err == nil {
			close(r.registered)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) {
			return fmt.Errorf("register this node: %w", err)
		}
		r.cfg.Logger.Debug("register this node", "err", err)
		if !pause(ctx, wait) {
			return nil
		}
	}
}

func (r *Replica) registerOnce(ctx context.Context, s *storepb.Server) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Intervals.Maintenance)
	defer cancel()
	res, err := r.proposeNow(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: s}}
	})
	if err != nil {
		return err
	}
	return state.ResultError(res)
}
