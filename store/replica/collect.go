package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// sweepBatch is how many emails one sweep names.
	sweepBatch = 1000
	// maxDeletes bounds what is remembered; reconcile finds the others.
	maxDeletes = 1 << 17
)

// deletes are bodies that a sweep dropped and whose copies here can go.
type deletes struct {
	mu  sync.Mutex
	ids []store.BodyID // guarded by mu
}

func (d *deletes) add(ids []store.BodyID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ids)+len(ids) <= maxDeletes {
		d.ids = append(d.ids, ids...)
	}
}

func (d *deletes) take() []store.BodyID {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.ids
	d.ids = nil
	return ids
}

// deleteLoop deletes this node's copies of swept bodies. If the process dies first, reconcile finds them.
func (r *Replica) deleteLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.deleteNow:
		}
		for _, id := range r.deletes.take() {
			if err := r.cfg.Blobs.Delete(id); err != nil {
				return fmt.Errorf("delete body %v: %w", id, err)
			}
		}
	}
}

// sweep is the leader's: it proposes to drop what nothing has referred to for the undelete window. The state checks again.
func (r *Replica) sweep(ctx context.Context) error {
	window := uint64(max(0, r.cfg.Undelete()).Milliseconds())
	for {
		emails, err := r.expired(window)
		if err != nil || len(emails) == 0 {
			return err
		}
		op := &storepb.Sweep{WindowMs: window}
		for _, e := range emails {
			op.Emails = append(op.Emails, uint64(e))
		}
		err = r.maintain(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_Sweep{Sweep: op} })
		if errors.Is(err, store.ErrConflict) {
			return nil // a backup holds sweeps (B8)
		}
		if err != nil {
			return fmt.Errorf("sweep %d emails: %w", len(emails), err)
		}
		if len(emails) < sweepBatch {
			return nil
		}
	}
}

// expired lists emails whose undelete window has passed, by the replicated clock.
func (r *Replica) expired(window uint64) ([]store.EmailID, error) {
	v := r.View()
	defer v.Close()
	c, err := v.Cluster()
	if err != nil {
		return nil, fmt.Errorf("read the cluster's record: %w", err)
	}
	if c.TicksMs < window {
		return nil, nil
	}
	emails, err := v.Tombstones(c.TicksMs-window+1, sweepBatch)
	if err != nil {
		return nil, fmt.Errorf("list what can be swept: %w", err)
	}
	return emails, nil
}

// advanceEpoch is the leader's: it begins a new upload epoch.
func (r *Replica) advanceEpoch(ctx context.Context) error {
	epoch, err := r.currentEpoch()
	if err != nil {
		return err
	}
	op := &storepb.AdvanceEpoch{From: epoch}
	err = r.maintain(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_AdvanceEpoch{AdvanceEpoch: op} })
	if errors.Is(err, store.ErrConflict) {
		return nil // somebody else has
	}
	return err
}

// reconcile compares this node's bodies with the state. What it lacks is fetched: a file of bodies may be lost, which no scrub and no reader
// notices. And it deletes bodies that nothing refers to and that no command can name any more: Apply rejects an upload epoch older than
// current-1, so what is of current-2 or older and not referred to in the state never will be (B7).
func (r *Replica) reconcile(ctx context.Context) error {
	v := r.View()
	defer v.Close()
	c, err := v.Cluster()
	if err != nil {
		return fmt.Errorf("read the cluster's record: %w", err)
	}
	var page []stored
	flush := func() error {
		defer func() { page = page[:0] }()
		return r.dropUnreferenced(page)
	}
	err = r.compare(v, func(id store.BodyID) error {
		r.suspect(id)
		return ctx.Err()
	}, func(b stored) error {
		if b.epoch+2 > c.Epoch {
			return ctx.Err()
		}
		if page = append(page, b); len(page) < fetchBatch {
			return ctx.Err()
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("compare the bodies with the state: %w", err)
	}
	return nil
}

// dropUnreferenced deletes those of a page that a view taken now does not know. It is at least as new as the epoch that made them old.
func (r *Replica) dropUnreferenced(page []stored) error {
	v := r.View()
	defer v.Close()
	for _, o := range page {
		_, err := v.BodyEmail(o.id)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		r.cfg.Logger.Info("dropping a body that nothing refers to", "body", o.id.String(), "epoch", o.epoch)
		if err := r.cfg.Blobs.Delete(o.id); err != nil {
			return err
		}
	}
	return nil
}

// scrub reads every body of this node (B9).
func (r *Replica) scrub(ctx context.Context) error {
	err := r.cfg.Blobs.Scrub(ctx, r.cfg.ScrubBytesPerSecond, func(id store.BodyID, err error) {
		r.cfg.Logger.Error("a stored body is corrupt and will be repaired from a peer", "body", id.String(), "err", err)
		r.suspect(id)
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("scrub: %w", err)
	}
	return nil
}

func (r *Replica) compact(ctx context.Context) error {
	if err := r.cfg.Blobs.Compact(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}
