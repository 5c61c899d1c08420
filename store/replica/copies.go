package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/broken"
	"github.com/quorumail/quorumail/store/storepb"
)

// copyResult is how one server's copy of a body ended.
type copyResult struct {
	server      store.ServerID
	incarnation [16]byte // of the server's data, if err is nil
	err         error
}

// replicate streams a body to all members, and to this node if it is none, and fills in ref's quorum once a majority of the voters has
// acknowledged its fsync (B1), and while the voters are being changed, a majority of those that are to vote too (B4). For the others it
// waits Intervals.Straggler; their copies may go on for Intervals.Abandon. A member that does not vote counts towards no majority, but its
// acknowledgement spares it a repair: one that always lacked the latest bodies would not become a voter.
func (r *Replica) replicate(ctx context.Context, u *Upload, id store.BodyID, ref *storepb.BodyRef) error {
	lost, err := r.quorumLost()
	if err != nil {
		return err
	}
	voters, configuration := r.cfg.Peers.Voters()
	if len(voters) == 0 {
		return fmt.Errorf("no voters are known: %w", store.ErrUnavailable)
	}
	sets := [][]store.ServerID{voters}
	future, err := r.targetVoters()
	if err != nil {
		return err
	}
	if len(future) > 0 {
		sets = append(sets, future)
	}
	targets := slices.Concat(voters, future, r.cfg.Peers.Servers(), []store.ServerID{r.cfg.Self})
	slices.Sort(targets)
	targets = slices.Compact(targets)
	if broken.On(broken.QuorumSet) {
		targets, sets = []store.ServerID{r.cfg.Self}, [][]store.ServerID{{r.cfg.Self}}
	}
	if err := r.uploads.load(ref.EncodedBytes); err != nil {
		return err
	}
	r.cfg.Metrics.UploadBytes.Add(float64(ref.EncodedBytes))
	// The copies outlive this call: one that is nearly done spares the cluster a repair.
	copying, cancel := context.WithCancel(context.WithoutCancel(ctx))
	results := make(chan copyResult, len(targets))
	var left atomic.Int32
	left.Store(int32(len(targets)))
	for _, to := range targets {
		u.retain()
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			res := copyResult{server: to}
			res.incarnation, res.err = r.copyTo(copying, to, id, ref.Epoch, u)
			u.release()
			results <- res
			if left.Add(-1) == 0 {
				r.uploads.unload(ref.EncodedBytes)
				cancel()
			}
		}()
	}
	ref.Configuration = configuration
	acks, err := r.gather(ctx, sets, len(targets), results, lost)
	if err != nil {
		cancel()
		return err
	}
	ref.Quorum = acks
	time.AfterFunc(r.cfg.Intervals.Abandon, cancel)
	return nil
}

// copyTo makes one copy durable on one server and returns its data's mark.
func (r *Replica) copyTo(ctx context.Context, to store.ServerID, id store.BodyID, epoch uint64, u *Upload) ([16]byte, error) {
	if to != r.cfg.Self {
		return r.put(ctx, to, id, epoch, u.encoded)
	}
	err := r.cfg.Blobs.Put(ctx, id, epoch, u.encoded.Open(), u.encoded.CompressedBytes, true)
	return r.cfg.DataIncarnation, err
}

// targetVoters are those that are to vote when the change under way has ended; none when there is no change.
func (r *Replica) targetVoters() (ids []store.ServerID, err error) {
	v := r.View()
	defer v.Close()
	c, err := v.Cluster()
	if err != nil {
		return nil, fmt.Errorf("read the cluster's record: %w", err)
	}
	for _, id := range c.TargetVoters {
		ids = append(ids, store.ServerID(id))
	}
	return ids, nil
}

// tally counts the acknowledgements of one set of voters.
type tally struct {
	voters     []store.ServerID
	have, open int
}

func (t *tally) need() int { return len(t.voters)/2 + 1 }

func (t *tally) count(id store.ServerID, ok bool) {
	if !slices.Contains(t.voters, id) {
		return
	}
	t.open--
	if ok {
		t.have++
	}
}

// gather collects acknowledgements until a majority of each set of voters has given one, and a little longer.
func (r *Replica) gather(ctx context.Context, sets [][]store.ServerID, targets int, results <-chan copyResult, lost <-chan struct{}) ([]*storepb.Ack, error) {
	var acks []*storepb.Ack
	var failures []error
	var tallies []*tally
	for _, voters := range sets {
		tallies = append(tallies, &tally{voters: voters, open: len(voters)})
	}
	var straggler <-chan time.Time
	for answered := 0; answered < targets; {
		select {
		case res := <-results:
			answered++
			if res.err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", res.server, res.err))
			} else {
				acks = append(acks, &storepb.Ack{Server: string(res.server), DataIncarnation: res.incarnation[:]})
			}
			for _, t := range tallies {
				t.count(res.server, res.err == nil)
			}
		case <-straggler:
			return acks, nil
		case <-lost:
			return nil, tooFew(tallies[0].have, len(sets[0]), append(failures, errors.New("the quorum was lost")))
		case <-ctx.Done():
			return nil, tooFew(tallies[0].have, len(sets[0]), append(failures, ctx.Err()))
		}
		enough := true
		for _, t := range tallies {
			if t.have+t.open < t.need() {
				return nil, tooFew(t.have, len(t.voters), failures)
			}
			enough = enough && t.have >= t.need()
		}
		if enough && straggler == nil {
			t := time.NewTimer(r.cfg.Intervals.Straggler)
			defer t.Stop()
			straggler = t.C
		}
	}
	return acks, nil
}

// tooFew is the error of a body that is not on a majority. Nothing refers to it, so nothing happened.
func tooFew(have, voters int, failures []error) error {
	cause := errors.Join(failures...)
	if errors.Is(cause, store.ErrNoSpace) {
		return fmt.Errorf("on %d of %d voters: %w: %v", have, voters, store.ErrNoSpace, cause)
	}
	return fmt.Errorf("on %d of %d voters: %w: %v", have, voters, store.ErrUnavailable, cause)
}

// encodedBody is a container that can be read more than once.
type encodedBody interface {
	Open() *io.SectionReader
}

// put streams a body to a peer and waits until it is durable there. A connection that was used before may have died since: then once more
// on a new one, which is harmless because the peer knows the body by its id.
func (r *Replica) put(ctx context.Context, to store.ServerID, id store.BodyID, epoch uint64, body encodedBody) (incarnation [16]byte, err error) {
	for {
		s, err := r.pools.get(ctx, to, methodPut)
		if err != nil {
			return incarnation, err
		}
		incarnation, status, err := s.put(ctx, id, epoch, body.Open())
		s.release(err == nil)
		if err == nil {
			return incarnation, statusError(status)
		}
		if !s.reused || ctx.Err() != nil {
			return incarnation, fmt.Errorf("send body %v: %w", id, err)
		}
	}
}
