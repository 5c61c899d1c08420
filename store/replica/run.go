package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// haveBatch is how many bodies one command reports, and one round fetches.
	haveBatch = 256
	// scrubBytesPerSecond bounds what the scrub reads.
	scrubBytesPerSecond = 4 << 20
	// sweepBatch is how many emails one command sweeps.
	sweepBatch = 1000
)

// Run registers this node and does the work in the background until ctx ends.
func (r *Replica) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){r.watchReady, r.register, r.fetchMissing, r.keepTime, r.collect, r.scrub} {
		wg.Add(1)
		go func() { defer wg.Done(); f(ctx) }()
	}
	wg.Wait()
	return nil
}

// every calls f now and then until ctx ends.
func every(ctx context.Context, d time.Duration, wake <-chan struct{}, f func()) {
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(d):
		}
	}
}

// register says who this node is, until the cluster has heard it.
func (r *Replica) register(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := r.Propose(ctx, func(c *storepb.Command) {
			c.Op = &storepb.Command_RegisterServer{RegisterServer: &storepb.RegisterServer{Server: r.cfg.Server}}
		})
		if err == nil {
			return
		}
		r.cfg.Logger.Info("register this node", "pkg", "replica", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// fetchMissing brings the bodies that this node lacks, and says that it has them (B3).
func (r *Replica) fetchMissing(ctx context.Context) {
	every(ctx, 2*time.Second, r.wakeFetch, func() {
		for ctx.Err() == nil {
			n, err := r.fetchRound(ctx)
			if err != nil {
				r.cfg.Logger.Warn("fetch missing bodies", "pkg", "replica", "err", err)
				return
			}
			if n == 0 {
				return
			}
		}
	})
}

func (r *Replica) fetchRound(ctx context.Context) (int, error) {
	if all, err := r.cfg.Machine.NeedsAllBodies(); err != nil {
		return 0, err
	} else if all {
		if err := r.fetchAll(ctx); err != nil {
			return 0, err
		}
	}
	v := r.View()
	ids, err := v.Missing(r.cfg.Self, haveBatch)
	v.Close()
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	var have [][]byte
	var last error
	for _, id := range ids {
		if err := r.bring(ctx, id); err != nil {
			last = err
			continue
		}
		have = append(have, id[:])
	}
	if len(have) == 0 {
		return 0, last
	}
	_, err = r.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_Have{Have: &storepb.Have{Server: string(r.cfg.Self), Bodies: have}}
	})
	return len(have), err
}

// bring makes sure that a body is here, durably and undamaged.
func (r *Replica) bring(ctx context.Context, id store.BodyID) error {
	if r.cfg.Blobs.Verify(id) == nil {
		return r.cfg.Blobs.Sync()
	}
	return r.fetch(ctx, id)
}

// fetchAll brings every live body after the state came as a checkpoint.
func (r *Replica) fetchAll(ctx context.Context) error {
	var lacking []store.BodyID
	v := r.View()
	var bad error
	err := v.EachBody(func(id store.BodyID, _ store.EmailID) bool {
		has, err := r.cfg.Blobs.Has(id)
		if err == nil && !has {
			lacking = append(lacking, id)
		}
		bad = err
		return err == nil
	})
	v.Close()
	if err := errors.Join(err, bad); err != nil {
		return fmt.Errorf("look which bodies lack: %w", err)
	}
	for _, id := range lacking {
		if err := r.fetch(ctx, id); err != nil {
			v := r.View()
			live, lerr := v.HasBody(id)
			v.Close()
			if lerr != nil || live {
				return errors.Join(err, lerr)
			}
		}
	}
	return r.cfg.Machine.ClearNeedsAllBodies()
}

// Whole tells whether this node holds every live body, by a look at its own store (B4).
func (r *Replica) Whole() (bool, error) {
	v := r.View()
	defer v.Close()
	whole := true
	var bad error
	err := v.EachBody(func(id store.BodyID, _ store.EmailID) bool {
		has, err := r.cfg.Blobs.Has(id)
		whole, bad = has, err
		return has && err == nil
	})
	return whole, errors.Join(err, bad)
}

// keepTime advances the replicated clock and the upload epoch, on the leader only. The clock never runs ahead of time that passed.
func (r *Replica) keepTime(ctx context.Context) {
	last := time.Now()
	ticks := 0
	led := false
	every(ctx, r.cfg.Tick, nil, func() {
		now := time.Now()
		elapsed := now.Sub(last)
		last = now
		if !r.cfg.Peers.IsLeader() {
			led = false
			return
		}
		if !led {
			led = true // what passed before may have been counted by the leader before
			return
		}
		if _, err := r.Propose(ctx, func(c *storepb.Command) {
			c.Op = &storepb.Command_Tick{Tick: &storepb.Tick{Ms: uint64(elapsed.Milliseconds())}}
		}); err != nil {
			return // expiry waits
		}
		if ticks++; ticks%60 == 0 {
			r.advanceEpoch(ctx)
		}
	})
}

func (r *Replica) advanceEpoch(ctx context.Context) {
	v := r.View()
	cr, err := v.Cluster()
	v.Close()
	if err != nil {
		return
	}
	if _, err := r.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_AdvanceEpoch{AdvanceEpoch: &storepb.AdvanceEpoch{From: cr.Epoch}}
	}); err != nil {
		r.cfg.Logger.Info("advance the upload epoch", "pkg", "replica", "err", err)
	}
}

// collect sweeps what nothing shows any longer, drops bodies whose command never came, and compacts (B7).
func (r *Replica) collect(ctx context.Context) {
	every(ctx, r.cfg.Sweep, nil, func() {
		for _, f := range []func(context.Context) error{r.sweep, r.dropOrphans, r.cfg.Blobs.Compact} {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				r.cfg.Logger.Warn("collect garbage", "pkg", "replica", "err", err)
			}
		}
	})
}

func (r *Replica) sweep(ctx context.Context) error {
	if !r.cfg.Peers.IsLeader() {
		return nil
	}
	v := r.View()
	cr, err := v.Cluster()
	if err != nil {
		v.Close()
		return err
	}
	window := uint64(r.cfg.Undelete.Milliseconds())
	if cr.TicksMs < window {
		v.Close()
		return nil
	}
	dead, err := v.Tombstones(cr.TicksMs-window+1, sweepBatch)
	v.Close()
	if err != nil || len(dead) == 0 {
		return err
	}
	op := &storepb.Sweep{}
	for _, id := range dead {
		op.Emails = append(op.Emails, uint64(id))
	}
	_, err = r.Propose(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_Sweep{Sweep: op} })
	return err
}

// dropOrphans deletes bodies of uploads whose command can no longer come: Apply rejects epochs as old as theirs.
func (r *Replica) dropOrphans(context.Context) error {
	v := r.View()
	defer v.Close()
	cr, err := v.Cluster()
	if err != nil {
		return err
	}
	return r.cfg.Blobs.Each(func(id store.BodyID, epoch uint64, _ int64) error {
		if epoch+2 > cr.Epoch {
			return nil
		}
		live, err := v.HasBody(id)
		if err != nil || live {
			return err
		}
		return r.cfg.Blobs.Delete(id)
	})
}

// scrub reads all bodies at a bounded rate and repairs what rotted (B9).
func (r *Replica) scrub(ctx context.Context) {
	every(ctx, r.cfg.Scrub, nil, func() {
		err := r.cfg.Blobs.Scrub(ctx, scrubBytesPerSecond, func(id store.BodyID, bad error) {
			r.cfg.Logger.Error("a body is damaged; it is fetched anew", "pkg", "replica", "body", id, "err", bad)
			r.reportLost(ctx, id)
		})
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("scrub the bodies", "pkg", "replica", "err", err)
		}
	})
}
