package directory

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Store is the node's copy of the state; *replica.Replica is one.
type Store interface {
	Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error)
	ReadBarrier(ctx context.Context) error
	View() *state.View
	OnCredentials(func(store.AccountID))
	OnSettings(func())
}

// Config says how a Directory works. Fields without a default are required.
type Config struct {
	Store Store

	// Elsewhere says whether mail may go to an address whose domain is not of this site: nil, store.ErrUnavailable when that is not known now,
	// or an error whose text says why the domain is refused. Nil: it may go anywhere.
	Elsewhere func(context.Context, smtp.Address) error

	// SaltKey is a secret of the whole cluster, from which users that there are not get the salts of their SCRAM keys; nil: one of this
	// node's, until it stops.
	SaltKey func() ([]byte, error)
	// Seal encrypts a secret before it is replicated, bound to a name. Nil: secrets are refused with store.ErrUnavailable.
	Seal func(name string, secret []byte) ([]byte, error)

	// Hashes at once; each holds the memory of one Argon2 (sasl says how much). 0: 2.
	ConcurrentHashes int
	// Barrier is how long a login waits for the cluster. 0: 5 s.
	Barrier time.Duration
	Metrics *Metrics         // nil: none
	Logger  *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
}

// Directory is safe for concurrent use.
type Directory struct {
	cfg        Config
	secrets    *secrets
	ownSaltKey []byte // where there is no Config.SaltKey
	settings   readSettings

	// change orders read-then-write changes of this node. Two administrators at two nodes who change the same domain in the same moment
	// can still overwrite each other's fields: the last one counts. An account's record knows its generation, so that it cannot happen
	// there.
	change sync.Mutex
}

// New makes a Directory.
func New(cfg Config) (*Directory, error) {
	if cfg.Store == nil {
		return nil, fmt.Errorf("directory: no store: %w", store.ErrInvalid)
	}
	if cfg.ConcurrentHashes == 0 {
		cfg.ConcurrentHashes = 2
	}
	if cfg.Barrier == 0 {
		cfg.Barrier = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sec, err := newSecrets(cfg)
	if err != nil {
		return nil, err
	}
	d := &Directory{cfg: cfg, secrets: sec, ownSaltKey: newSaltKey()}
	cfg.Store.OnCredentials(sec.forget)
	cfg.Store.OnSettings(func() { d.settings.changes.Add(1) })
	return d, nil
}

// read runs f on the state as the cluster has it now.
func (d *Directory) read(ctx context.Context, f func(*state.View) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Barrier)
	defer cancel()
	if err := d.cfg.Store.ReadBarrier(ctx); err != nil {
		return fmt.Errorf("read the directory: %w", unavailable(err))
	}
	return d.local(f)
}

// local runs f on the state as this node has it.
func (d *Directory) local(f func(*state.View) error) error {
	v := d.cfg.Store.View()
	defer v.Close()
	d.secrets.tune(v)
	return f(v)
}

// propose makes a change; what names it in errors.
func (d *Directory) propose(ctx context.Context, what string, fill func(*storepb.Command)) (*storepb.Result, error) {
	res, err := d.cfg.Store.Propose(ctx, fill)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return res, nil
}
