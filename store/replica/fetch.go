package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	fetchWorkers = 8
	// fetchBatch is how many bodies are fetched before the cluster is told; a `have` or `lost` names no more.
	fetchBatch = 512
	// fetchDelay lets copies that are on their way arrive by themselves.
	fetchDelay = 200 * time.Millisecond
	// maxFetchWait bounds the wait between fruitless attempts.
	maxFetchWait = 30 * time.Second
	// maxSuspects bounds what is remembered; the scrub finds the others again.
	maxSuspects = 1 << 16
)

// suspects are bodies that this node should have and may not.
type suspects struct {
	mu     sync.Mutex
	ids    map[store.BodyID]struct{} // guarded by mu
	repair chan struct{}             // closed when the repair has next got further; nil: nobody waits for it; guarded by mu
}

// Suspect notes that this node's copy of a body may be absent or corrupt: it is looked at, and if so, declared lost and fetched from a peer.
func (r *Replica) Suspect(id store.BodyID) { r.suspect(id) }

func (r *Replica) suspect(id store.BodyID) {
	r.suspects.add(id)
	poke(r.fetchNow)
}

func (s *suspects) add(id store.BodyID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) < maxSuspects {
		s.ids[id] = struct{}{}
	}
}

// further returns what is closed when the repair has next brought bodies.
func (s *suspects) further() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repair == nil {
		s.repair = make(chan struct{})
	}
	return s.repair
}

// gotFurther wakes those that wait for the repair.
func (s *suspects) gotFurther() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repair != nil {
		close(s.repair)
		s.repair = nil
	}
}

func (s *suspects) take() map[store.BodyID]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.ids
	s.ids = map[store.BodyID]struct{}{}
	return ids
}

// repairLoop brings the bodies that this node lacks, and tells the cluster.
func (r *Replica) repairLoop(ctx context.Context) error {
	wait, now := r.cfg.Intervals.Fetch, r.fetchNow
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-now:
			t.Stop()
			if !pause(ctx, min(fetchDelay, r.cfg.Intervals.Fetch)) {
				return nil
			}
		case <-t.C:
		}
		if err := r.repair(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("bring missing bodies", "err", err)
			// A node that is behind cannot tell of what it brought, and would bring the same with each batch that it applies, and stay behind.
			wait, now = min(2*wait, maxFetchWait), nil
			continue
		}
		wait, now = r.cfg.Intervals.Fetch, r.fetchNow
	}
}

// repair does all that it can: what fails does not keep the rest from being repaired, and is tried again at the next look.
func (r *Replica) repair(ctx context.Context) error {
	defer r.suspects.gotFurther()
	lost := r.declareLost(ctx)
	missing := r.fetchMissing(ctx) // before the bodies of a checkpoint, which may take hours
	var all error
	if r.cfg.Machine.NeedsAllBodies() {
		if all = r.fetchAll(ctx); all != nil {
			all = fmt.Errorf("fetch the bodies of a checkpoint: %w", all)
		}
	}
	return errors.Join(lost, missing, all)
}

// fetchMissing brings what the state notes as missing here.
func (r *Replica) fetchMissing(ctx context.Context) error {
	v := r.View()
	missing, err := v.Missing(r.cfg.Self, maxMissing)
	v.Close()
	if err != nil {
		return fmt.Errorf("list missing bodies: %w", err)
	}
	var failed failures
	for batch := range slices.Chunk(missing, fetchBatch) {
		if err := r.bring(ctx, batch, true); failed.end(ctx, err) {
			break
		}
	}
	return failed.err()
}

// failures counts the batches that failed, and keeps one reason: the others are mostly the same.
type failures struct {
	n     int
	first error
}

// end notes the error of a batch, and tells whether further batches are in vain.
func (f *failures) end(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	if f.n++; f.first == nil {
		f.first = err
	}
	return ctx.Err() != nil || errors.Is(err, errNobody)
}

func (f *failures) err() error {
	if f.n == 0 {
		return nil
	}
	return fmt.Errorf("%d batches of bodies, the first: %w", f.n, f.first)
}

// declareLost says which bodies this node was thought to hold and does not, before it repairs them: until it has, nobody may count on
// its copy.
func (r *Replica) declareLost(ctx context.Context) error {
	ids := r.suspects.take()
	var lost [][]byte
	causes := map[store.BodyID]string{}
	var failed error
	for id := range ids {
		cause, err := r.whyLost(id)
		if err != nil {
			failed = err
			r.suspects.add(id)
		}
		if cause != "" {
			lost = append(lost, id[:])
			causes[id] = cause
		}
	}
	for len(lost) > 0 {
		n := min(fetchBatch, len(lost))
		op := &storepb.Lost{Server: string(r.cfg.Self), Bodies: lost[:n]}
		if err := r.maintain(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_Lost{Lost: op} }); err != nil {
			for _, id := range lost {
				r.suspects.add(store.BodyID(id)) // for the next look: no poke, which would make it come at once
			}
			return fmt.Errorf("declare %d bodies lost: %w", len(lost), err)
		}
		r.cfg.Logger.Warn("bodies are absent or corrupt on this node and will be fetched again", "count", n)
		for _, id := range lost[:n] {
			r.cfg.Metrics.Lost.WithLabelValues(causes[store.BodyID(id)]).Inc()
		}
		lost = lost[n:]
	}
	return failed
}

// Why a body is lost.
const (
	lostAbsent  = "absent"
	lostCorrupt = "corrupt"
)

// whyLost tells why a live body is not readable here, if the cluster does not know it yet; "" for a body that is not lost so.
func (r *Replica) whyLost(id store.BodyID) (string, error) {
	v := r.View()
	defer v.Close()
	if _, err := v.BodyEmail(id); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return "", nil // swept, or never named by a command
		}
		return "", err
	}
	if known, err := v.IsMissing(r.cfg.Self, id); err != nil || known {
		return "", err
	}
	err := r.cfg.Blobs.Verify(id)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, blob.ErrNotFound):
		return lostAbsent, nil
	case errors.Is(err, blob.ErrCorrupt):
		return lostCorrupt, nil
	}
	return "", fmt.Errorf("verify body %v: %w", id, err)
}

// bring fetches bodies that are not here, makes all of them durable and, if tell, says so to the cluster. It reports the failures after
// it has told of the successes. When no peer can be reached it gives up early, with errNobody.
func (r *Replica) bring(ctx context.Context, ids []store.BodyID, tell bool) error {
	defer r.suspects.gotFurther()
	var mu sync.Mutex
	var have [][]byte
	var failures []error
	var nobody atomic.Bool
	var g errgroup.Group
	g.SetLimit(fetchWorkers)
	for _, id := range ids {
		if nobody.Load() || ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			err := r.bringOne(ctx, id)
			if errors.Is(err, errNobody) {
				nobody.Store(true)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
				r.cfg.Metrics.FetchFailures.Inc()
			} else {
				have = append(have, id[:])
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := r.cfg.Blobs.Sync(); err != nil { // also for those that were here, of which it is not known that they are durable
		return fmt.Errorf("sync fetched bodies: %w", err)
	}
	if tell && len(have) > 0 {
		op := &storepb.Have{Server: string(r.cfg.Self), Bodies: have}
		if err := r.maintain(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_Have{Have: op} }); err != nil {
			failures = append(failures, fmt.Errorf("tell of %d fetched bodies: %w", len(have), err))
		}
	}
	if nobody.Load() {
		failures = []error{errNobody}
	} else if err := ctx.Err(); err != nil {
		failures = append(failures, err)
	}
	if len(failures) > 0 {
		return fmt.Errorf("%d of %d bodies were brought: %w", len(have), len(ids), failures[0])
	}
	return nil
}

// bringOne fetches one body. It may take as long as it comes forward: a large one on a slow line needs its time, and a stream that stands
// still fails by itself.
func (r *Replica) bringOne(ctx context.Context, id store.BodyID) error {
	if has, err := r.cfg.Blobs.Has(id); err != nil || has {
		return err
	}
	if err := r.pace.begin(ctx); err != nil {
		return err
	}
	s, err := r.fetch(ctx, id, r.pace)
	if err != nil {
		return err
	}
	defer s.Close()
	epoch, err := r.currentEpoch()
	if err != nil {
		return err
	}
	if err := r.cfg.Blobs.Put(ctx, id, epoch, s.Open(), s.size, true); err != nil {
		return err
	}
	r.cfg.Metrics.Fetched.Inc()
	return nil
}

// fetchAll brings every live body after a checkpoint, which holds references only, those of inline bodies too. It is not over before the
// state counts this node among the members: what came until then was sent to the members only, and nobody noted that this node lacks it.
func (r *Replica) fetchAll(ctx context.Context) error {
	generation := r.cfg.Machine.Generation()
	member, err := r.isMember() // before the walk: what comes behind the walk from here on is noted
	if err != nil {
		return err
	}
	var failed failures
	for from, more := (store.BodyID{}), true; more; {
		var ids []store.BodyID
		if ids, from, more, err = r.absentFrom(from, fetchBatch); err != nil {
			return err
		}
		if len(ids) == 0 {
			continue
		}
		r.cfg.Logger.Info("fetching bodies of a checkpoint", "count", len(ids), "bytes_per_second", int64(r.pace.limiter.Limit()))
		if err := r.bring(ctx, ids, false); failed.end(ctx, err) {
			break
		}
	}
	if err := failed.err(); err != nil || !member {
		return err // and again at the next look
	}
	if err := r.cfg.Blobs.Sync(); err != nil {
		return err
	}
	return r.cfg.Machine.ClearNeedsAllBodies(generation)
}

// ToFetch counts, up to limit, the bodies that this node knows it has to bring. After a checkpoint, of which nothing is noted one by one,
// it compares its store with the state.
func (r *Replica) ToFetch(limit int) (int, error) {
	v := r.View()
	defer v.Close()
	noted, err := v.Missing(r.cfg.Self, limit)
	if err != nil || !r.cfg.Machine.NeedsAllBodies() {
		return len(noted), err
	}
	absent, err := r.absent(v, limit)
	return max(len(absent), len(noted)), err
}

const (
	// maxMissing is how many missing bodies are listed at once.
	maxMissing = 1 << 16
	// maxAwaited is how many missing bodies are waited for: more are not here within seconds.
	maxAwaited = 8 * fetchBatch
)

// answerMissing counts and names the bodies that were live at a barrier and are not durable on this node (B4). Under load some body always is on its
// way, so it waits for the repair of those that lacked at the barrier. What comes later is not its matter: a change of the voters that rests
// on this count makes later bodies go to a majority of the new voters too.
func (r *Replica) answerMissing(ctx context.Context, _ store.ServerID, _ []byte) ([]byte, error) {
	if err := r.barrier(ctx, r.cfg.Intervals.Barrier); err != nil {
		return nil, err
	}
	ids, err := r.lacking()
	if err != nil {
		return nil, err
	}
	if n := len(ids); n > 0 && n <= maxAwaited {
		if ids, err = r.awaitBodies(ctx, ids); err != nil {
			return nil, err
		}
	}
	return encodeMissing(ids), nil
}

// lacking lists the live bodies that are absent here or are noted as missing, and has them repaired.
func (r *Replica) lacking() ([]store.BodyID, error) {
	v := r.View()
	defer v.Close()
	ids, err := r.absent(v, maxMissing)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r.suspect(id) // of those that are noted too nothing comes
	}
	noted, err := v.Missing(r.cfg.Self, maxMissing)
	if err != nil {
		return nil, fmt.Errorf("list missing bodies: %w", err)
	}
	absent := make(map[store.BodyID]bool, len(ids))
	for _, id := range ids {
		absent[id] = true
	}
	for _, id := range noted {
		if !absent[id] {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// awaitBodies waits for the repair, up to Intervals.Missing, and returns those of ids that are live and not durable here even then.
func (r *Replica) awaitBodies(ctx context.Context, ids []store.BodyID) ([]store.BodyID, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Intervals.Missing)
	defer cancel()
	for {
		further := r.suspects.further() // before the look
		left, err := r.stillLacking(ids)
		if err != nil || len(left) == 0 {
			return left, err
		}
		ids = left
		poke(r.fetchNow)
		select {
		case <-further:
		case <-ctx.Done():
			return r.stillLacking(ids)
		}
	}
}

// stillLacking returns those of ids that are live and not here. The others are durable when it returns.
func (r *Replica) stillLacking(ids []store.BodyID) (left []store.BodyID, err error) {
	v := r.View()
	defer v.Close()
	for _, id := range ids {
		has, err := r.cfg.Blobs.Has(id)
		if err != nil {
			return nil, fmt.Errorf("look for body %v: %w", id, err)
		}
		if has {
			continue
		}
		_, err = v.BodyEmail(id)
		if errors.Is(err, store.ErrNotFound) {
			continue // swept meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("look for body %v: %w", id, err)
		}
		left = append(left, id)
	}
	if err := r.cfg.Blobs.Sync(); err != nil {
		return nil, fmt.Errorf("sync bodies: %w", err)
	}
	return left, nil
}

// MissingAt asks a server to compare its store with the state, at a read barrier, and returns how many live bodies it lacks (B4), after some
// seconds for their repair, and the first of these: all, unless they are very many. It reads the whole index, so it is for rare occasions.
func (r *Replica) MissingAt(ctx context.Context, server store.ServerID) (total int64, ids []store.BodyID, err error) {
	var res []byte
	if server == r.cfg.Self {
		res, err = r.answerMissing(ctx, server, nil)
	} else {
		res, err = r.cfg.Peers.Call(ctx, server, methodMissing, nil)
	}
	if err == nil {
		total, ids, err = decodeMissing(res)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s for missing bodies: %w", server, err)
	}
	return total, ids, nil
}

// maxNamed is how many missing bodies an answer names.
const maxNamed = 1024

func encodeMissing(ids []store.BodyID) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(len(ids)))
	for _, id := range ids[:min(len(ids), maxNamed)] {
		out = append(out, id[:]...)
	}
	return out
}

func decodeMissing(b []byte) (total int64, ids []store.BodyID, err error) {
	if len(b) < 8 || (len(b)-8)%store.BodyIDBytes != 0 {
		return 0, nil, fmt.Errorf("an answer of %d bytes: %w", len(b), store.ErrInvalid)
	}
	n := binary.BigEndian.Uint64(b)
	for raw := range slices.Chunk(b[8:], store.BodyIDBytes) {
		ids = append(ids, store.BodyID(raw))
	}
	if n > math.MaxInt64 || uint64(len(ids)) > n {
		return 0, nil, fmt.Errorf("%d bodies of %d: %w", len(ids), n, store.ErrInvalid)
	}
	return int64(n), ids, nil
}
