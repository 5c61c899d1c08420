package replica

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Replica is this node's copy of the mail. All methods may be called concurrently.
type Replica struct {
	cfg         Config
	incarnation [16]byte // of this process's proposals

	proposals proposals
	watches   watches
	uploads   uploads
	receive   *semaphore.Weighted // bytes of bodies coming in
	pools     pools
	health    atomic.Pointer[healthReport]
	disk      disk
	clock     clock
	clocks    atomic.Pointer[error] // that the nodes' clocks disagree, as the leader last found; nil: they do not, as far as this node knows
	suspects  suspects
	pace      *pacer
	deletes   deletes

	registered chan struct{} // closed when the cluster knows of this start

	epoch   atomic.Uint64 // the upload epoch as applied here; 0: read it
	version atomic.Uint32 // of commands, as the cluster's record says

	fetchNow, deleteNow chan struct{} // capacity 1: something to do

	hookMu      sync.Mutex
	credentials []func(store.AccountID)           // guarded by hookMu
	revoked     []func(store.AccountID)           // guarded by hookMu
	settings    []func()                          // guarded by hookMu
	rules       []func()                          // guarded by hookMu
	queued      func([]*storepb.QueueEntry, bool) // guarded by hookMu

	wg sync.WaitGroup // of goroutines that may outlive the call that began them
}

// New makes a Replica and registers its handlers with Peers and Machine; call it before the machine applies anything.
func New(cfg Config) (*Replica, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Replica{cfg: cfg, fetchNow: make(chan struct{}, 1), deleteNow: make(chan struct{}, 1), registered: make(chan struct{})}
	if _, err := rand.Read(r.incarnation[:]); err != nil {
		return nil, fmt.Errorf("choose the incarnation: %w", err)
	}
	r.proposals = proposals{max: cfg.Limits.Proposals, maxBytes: cfg.Limits.ProposalBytes, waiting: map[uint64]*waiter{}}
	r.watches.of = map[state.MailboxRef]map[*Watch]struct{}{}
	r.uploads = uploads{max: cfg.Limits.Uploads, maxBytes: cfg.Limits.UploadBytes}
	r.receive = semaphore.NewWeighted(cfg.Limits.ReceiveBytes)
	r.pools = pools{r: r, of: map[poolKey]*pool{}}
	r.clock.now = cfg.Now
	r.pace = newPacer(func(ctx context.Context) error { return r.barrier(ctx, cfg.Intervals.Barrier) }, cfg.Intervals.Stream/5)
	r.suspects.ids = map[store.BodyID]struct{}{}
	r.health.Store(&healthReport{lost: make(chan struct{}), err: fmt.Errorf("the node has not asked for the quorum yet: %w", store.ErrUnavailable)})
	cfg.Machine.OnApplied(r.onApplied)
	cfg.Peers.HandleStream(methodPut, r.servePut)
	cfg.Peers.HandleStream(methodGet, r.serveGet)
	cfg.Peers.Handle(methodClock, r.answerClock)
	cfg.Peers.Handle(methodMissing, r.answerMissing)
	return r, nil
}

// Close ends what outlives a call: copies that are still under way, and idle streams. Run must have returned, and the sessions must have
// ended.
func (r *Replica) Close() error {
	r.pools.close()
	r.wg.Wait()
	return nil
}

// View is a consistent snapshot of the state. Close it soon.
func (r *Replica) View() *state.View { return r.cfg.Machine.View() }

// OnCredentials registers who is told when an account's credentials, suspension or existence changed, on whatever node. f runs where
// commands are applied: it must be fast.
func (r *Replica) OnCredentials(f func(store.AccountID)) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.credentials = append(r.credentials, f)
}

// OnRevoked registers who is told when logins to an account that were right may be right no longer, because a password was changed or
// removed, or the account suspended or removed, on whatever node; 0 stands for every account. f runs where commands are applied: it must be fast.
func (r *Replica) OnRevoked(f func(store.AccountID)) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.revoked = append(r.revoked, f)
}

// OnSettings registers who is told when a setting, domain or alias changed. f runs where commands are applied: it must be fast.
func (r *Replica) OnSettings(f func()) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.settings = append(r.settings, f)
}

// OnRules registers who is told when a rule or a route changed. f runs where commands are applied: it must be fast.
func (r *Replica) OnRules(f func()) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.rules = append(r.rules, f)
}

// OnQueued registers who works on this node's queue entries. It is told which ones became this node's, or changed while they were; all: that
// there may be any number of others. f runs where commands are applied: it must be fast, and must not change the entries.
func (r *Replica) OnQueued(f func(entries []*storepb.QueueEntry, all bool)) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.queued = f
}

// onApplied runs in the applying goroutine after each batch. It only hands over.
func (r *Replica) onApplied(a state.Applied) {
	if a.Cluster || a.Restored {
		r.clusterChanged()
	}
	if a.Restored { // waiters find their results by themselves
		r.restored(&a)
	}
	r.watches.wake(a.Changed)
	r.tellHooks(a) // before the results: whoever changed a password finds the old one forgotten
	for _, res := range a.Results {
		if res.Incarnation == r.incarnation {
			r.proposals.complete(res.Seq, res.Result)
		}
	}
	if len(a.Dropped) > 0 {
		r.deletes.add(a.Dropped)
		poke(r.deleteNow)
	}
	if a.Missing {
		poke(r.fetchNow)
	}
}

// restored treats everything as changed, because a checkpoint does not say what did.
func (r *Replica) restored(a *state.Applied) {
	r.watches.wakeAll()
	v := r.cfg.Machine.View()
	defer v.Close()
	err := v.Accounts(0, func(account *storepb.Account) bool {
		a.Credentials = append(a.Credentials, store.AccountID(account.GetId()))
		return true
	})
	if err != nil {
		r.cfg.Logger.Error("list the accounts of a checkpoint", "err", err)
	}
	a.Revoked, a.Settings = []store.AccountID{0}, true
}

func (r *Replica) tellHooks(a state.Applied) {
	r.hookMu.Lock()
	credentials, revoked, settings, rules, queued := r.credentials, r.revoked, r.settings, r.rules, r.queued
	r.hookMu.Unlock()
	for _, id := range a.Credentials {
		for _, f := range credentials {
			f(id)
		}
	}
	for _, id := range a.Revoked {
		for _, f := range revoked {
			f(id)
		}
	}
	if a.Settings {
		for _, f := range settings {
			f()
		}
	}
	if a.Rules || a.Restored {
		for _, f := range rules {
			f()
		}
	}
	if queued != nil && (a.Restored || len(a.Queued) > 0) {
		queued(a.Queued, a.Restored)
	}
}

// poke leaves word that there is something to do.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting to be received
	}
}

// clusterChanged follows the upload epoch and the replicated clock.
func (r *Replica) clusterChanged() {
	v := r.cfg.Machine.View()
	defer v.Close()
	c, err := v.Cluster()
	if err != nil {
		r.cfg.Logger.Error("read the cluster's record", "err", err)
		return
	}
	r.clock.applied(c.TicksMs)
	r.epoch.Store(c.Epoch)
	r.version.Store(c.Version)
}
