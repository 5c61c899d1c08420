package workload

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// Workload is one kind of work. Its methods may be called from several goroutines, Process with another p in each.
type Workload interface {
	// Name is what the workload is called in histories and on the command line.
	Name() string
	// Setup makes what the work needs, while the cluster is well.
	Setup(ctx context.Context, env *Env) error
	// Process is one client: it works until ctx ends, completes the operation that it is in, and returns.
	Process(ctx context.Context, env *Env, p int)
	// Final reads every mailbox at every node, after everything was healed. It tries until each was read, or Env.FinalWait has passed, which
	// is an error; what the reads show is for the checkers.
	Final(ctx context.Context, env *Env) error
}

// Account is an account of the system under test.
type Account struct{ Address, Password string }

// Env is what a workload works with.
type Env struct {
	Nodes    func() []client.Node // as they are now
	Dialer   client.Dialer
	Admin    func(node string) *client.Admin // by the node's name; nil where there is none
	History  *history.Recorder
	Seed     uint64
	Accounts []Account // at least one; that of index 0 names the domain

	Boxes       int           // mailboxes that the IMAP workloads work in, each; 50
	Pause       time.Duration // mean time between two operations of a process; 0: none
	DialTimeout time.Duration // see client.Options
	Timeout     time.Duration // see client.Options
	FinalWait   time.Duration // for all final reads of a workload; 3 min
	Elsewhere   []string      // domains whose mail goes to sites of the harness's, which note what comes; none: there are no sites
	Log         *slog.Logger  // nil: none

	sessions    atomic.Int64
	ids         atomic.Int64
	tagOnce     sync.Once
	tagged      string
	inboxesOnce sync.Once
	inboxesErr  error // guarded by inboxesOnce
}

// All makes one of each workload.
func All() []Workload {
	return []Workload{NewDeliver(), NewFlags(), NewAppendExpunge(), NewMove(), NewSession(), NewAccounts(), NewQueueRemote(), NewResend()}
}

// ByName makes a workload; nil: there is none of that name.
func ByName(name string) Workload {
	for _, w := range All() {
		if w.Name() == name {
			return w
		}
	}
	return nil
}

func (e *Env) boxes() int { return cmp.Or(e.Boxes, 50) }

func (e *Env) finalWait() time.Duration { return cmp.Or(e.FinalWait, 3*time.Minute) }

func (e *Env) options() client.Options {
	return client.Options{Dialer: e.Dialer, DialTimeout: e.DialTimeout, Timeout: e.Timeout}
}

// elsewhere tells whether an address is at one of the harness's sites.
func (e *Env) elsewhere(address string) bool {
	_, domain, _ := strings.Cut(address, "@")
	return slices.Contains(e.Elsewhere, domain)
}

func (e *Env) log() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}

// tag tells this run's mailboxes, messages and accounts from those of earlier ones on the same cluster.
func (e *Env) tag() string {
	e.tagOnce.Do(func() { e.tagged = strconv.FormatInt(e.History.History().Run.Began.UnixMilli(), 36) })
	return e.tagged
}

// box names a mailbox in the history.
func box(account, mailbox string) string { return account + "/" + mailbox }
