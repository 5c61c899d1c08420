package replica

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/store"
)

// healthReport is what the last look at the node found.
type healthReport struct {
	err    error         // Ready's answer
	early  bool          // the node has not registered yet, which takes a moment
	quorum error         // why nothing can be proposed or confirmed now; nil: it can, as far as known
	lost   chan struct{} // closed when the quorum is lost, so that what is under way does not hang
}

// disk remembers whether the disk was too full, so that the answer does not flap at the threshold.
type disk struct {
	low  bool        // only the readiness loop uses it
	full atomic.Bool // so little is left that bodies of others are refused too
}

// Ready is nil when this node can serve. Otherwise its error wraps store.ErrUnavailable (no quorum, or too far behind) or
// store.ErrNoSpace (it takes no new mail, but serves readers), and says why. It costs nothing: Run looks every Intervals.Ready.
func (r *Replica) Ready() error { return r.health.Load().err }

// quorumLost says why a request would only hang, so that it can be refused at once. If it would not, lost is closed when that changes.
func (r *Replica) quorumLost() (lost <-chan struct{}, err error) {
	h := r.health.Load()
	return h.lost, h.quorum
}

// watchHealth keeps the answer of Ready fresh. It asks again soon while there is no quorum, or the node has just started.
func (r *Replica) watchHealth(ctx context.Context) error {
	for ctx.Err() == nil {
		h := r.look(ctx)
		if ctx.Err() != nil {
			break
		}
		old := r.report(h)
		if (old.err == nil) != (h.err == nil) {
			if h.err == nil {
				r.cfg.Logger.Info("node is ready")
			} else {
				r.cfg.Logger.Warn("node is not ready", "err", h.err)
			}
		}
		wait := r.cfg.Intervals.Ready
		if h.quorum != nil || h.early {
			wait = min(wait, 50*time.Millisecond)
		}
		pause(ctx, wait)
	}
	return nil
}

// report publishes what was found, and tells those that wait for the loss of the quorum. It returns the report before.
func (r *Replica) report(h *healthReport) *healthReport {
	old := r.health.Load() // nobody else writes it
	h.lost = old.lost
	if h.quorum == nil && old.quorum != nil {
		h.lost = make(chan struct{})
	}
	r.health.Store(h)
	if h.quorum != nil && old.quorum == nil {
		close(old.lost)
	}
	return old
}

func (r *Replica) look(ctx context.Context) *healthReport {
	space := r.checkDisk()
	if err := r.barrier(ctx, r.cfg.Intervals.ReadyLimit); err != nil {
		err = fmt.Errorf("no quorum, or this node is far behind: %w", err)
		return &healthReport{err: err, quorum: err}
	}
	select {
	case <-r.registered:
	default:
		return &healthReport{early: true, err: fmt.Errorf("this node has not registered yet: %w", store.ErrUnavailable)}
	}
	if r.cfg.Lag != nil {
		if lag := r.cfg.Lag(); lag > r.cfg.MaxLag {
			return &healthReport{err: fmt.Errorf("%d entries behind, limit %d: %w", lag, r.cfg.MaxLag, store.ErrUnavailable)}
		}
	}
	return &healthReport{err: space}
}

// checkDisk compares the free space with the threshold: it must rise 10 % above it to count as enough again.
func (r *Replica) checkDisk() error {
	if r.cfg.FreeBytes == nil {
		return nil
	}
	free, err := r.cfg.FreeBytes()
	if err != nil {
		r.cfg.Logger.Error("ask for the free disk space", "err", err)
		return nil // not a reason to refuse mail
	}
	limit := r.cfg.MinFreeBytes
	if r.disk.low {
		limit += limit / 10
	}
	r.disk.low = free < limit
	r.disk.full.Store(free < r.cfg.MinFreeBytes/2)
	if !r.disk.low {
		return nil
	}
	return fmt.Errorf("%d MiB free, limit %d MiB: %w", free>>20, r.cfg.MinFreeBytes>>20, store.ErrNoSpace)
}
