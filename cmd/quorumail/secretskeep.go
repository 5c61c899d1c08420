package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	// secretKeyID names the id of the cluster's key in the replicated state: what a node has under another id is not the cluster's.
	secretKeyID = "secrets.id"
	// methodSecretsKey is the call by which a member that lacks the key gets it from one that has it.
	methodSecretsKey = "node/secrets-key"
	// secretsKeyEvery is how often a node without the key looks for it; secretsKeyCall bounds one question.
	secretsKeyEvery = 2 * time.Second
	secretsKeyCall  = 5 * time.Second
)

// secretsKeeper brings a node the cluster's key, if the file from its founding or its joining is not there: programs of the time before it
// made none.
//
// Invariant: nothing is sealed under a key before the replicated state holds its id, so of several that nodes made at the same time all but
// one can go.
type secretsKeeper struct {
	dataDir string
	store   officeStore
	key     *secretsKey
	others  func() []cluster.ServerID
	call    func(ctx context.Context, to cluster.ServerID, method string, req []byte) ([]byte, error)
	found   func() // the key is there: what could not be opened before can be now
	log     *slog.Logger

	trouble atomic.Pointer[error] // why the key is not there; nil: it is
}

// keepSecretsKey makes the keeper of a node. The cluster's node is set when it is asked anything.
func (n *node) keepSecretsKey() {
	n.keeper = &secretsKeeper{dataDir: n.cfg.DataDir, store: n.replica, key: &n.secrets, log: n.log, found: n.readRules,
		call: func(ctx context.Context, to cluster.ServerID, method string, req []byte) ([]byte, error) {
			return n.cluster.Call(ctx, to, method, req)
		},
		others: func() (ids []cluster.ServerID) {
			for _, s := range n.cluster.Configuration().Servers {
				if s.ID != n.id.ID {
					ids = append(ids, s.ID)
				}
			}
			return ids
		}}
}

// run looks for the key until this node has it, or ctx ends.
func (k *secretsKeeper) run(ctx context.Context) error {
	tick := time.NewTicker(secretsKeyEvery)
	defer tick.Stop()
	for {
		err := k.settle(ctx)
		if err == nil {
			k.trouble.Store(nil)
			k.found()
			return nil
		}
		if k.trouble.Swap(&err) == nil {
			k.log.Info("this node looks for the cluster's key for secrets", "pkg", "main", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// settle takes the file's key into use if it is the cluster's, or gets the one that is. Without any in the whole cluster it makes one.
func (k *secretsKeeper) settle(ctx context.Context) error {
	mine, err := readSecretsKey(k.dataDir)
	if err != nil {
		return err
	}
	id, err := k.clusterID(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return k.propose(ctx, mine)
	case err != nil:
		return err
	case mine != nil && bytes.Equal(mine.id[:], id):
		k.key.key.Store(mine)
		return nil
	}
	return k.fetch(ctx, id)
}

// clusterID is the id of the key that the cluster has agreed on.
func (k *secretsKeeper) clusterID(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretsKeyCall)
	defer cancel()
	if err := k.store.ReadBarrier(ctx); err != nil {
		return nil, fmt.Errorf("ask the cluster which key it has: %w", err)
	}
	v := k.store.View()
	defer v.Close()
	id, err := v.Secret(secretKeyID)
	return bytes.Clone(id), err
}

// propose offers this node's key, made if need be, as the cluster's. Which one counts is found out the next time.
func (k *secretsKeeper) propose(ctx context.Context, mine *keyMaterial) error {
	if mine == nil {
		if err := makeSecretsKey(k.dataDir); err != nil {
			return err
		}
		var err error
		if mine, err = readSecretsKey(k.dataDir); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, secretsKeyCall)
	defer cancel()
	_, err := k.store.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: secretKeyID, Value: mine.id[:], Create: true}}
	})
	switch {
	case err == nil:
		k.key.key.Store(mine)
		return nil
	case errors.Is(err, store.ErrExists):
		return fmt.Errorf("another node's key was first: %w", err)
	}
	return fmt.Errorf("note which key the cluster has: %w", err)
}

// fetch asks the other nodes for the key with an id.
func (k *secretsKeeper) fetch(ctx context.Context, id []byte) error {
	var errs []error
	for _, other := range k.others() {
		raw, err := k.ask(ctx, other)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", other, err))
			continue
		}
		got, err := newKeyMaterial(raw)
		if err != nil || !bytes.Equal(got.id[:], id) {
			errs = append(errs, fmt.Errorf("node %s has another key (%v)", other, err))
			continue
		}
		if err := writeSecretsKey(k.dataDir, raw); err != nil {
			return err
		}
		k.key.key.Store(got)
		k.log.Info("this node has the cluster's key for secrets, from another one", "pkg", "main", "node", other)
		return nil
	}
	return fmt.Errorf("%w (its id is %x), and no other node gives it: DKIM keys and passwords of smarthosts cannot be used here; put the file into the data folder, from a node that has it or from where it was kept: %w",
		errNoSecretsKey, id, errors.Join(errs...))
}

func (k *secretsKeeper) ask(ctx context.Context, other cluster.ServerID) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretsKeyCall)
	defer cancel()
	return k.call(ctx, other, methodSecretsKey, nil)
}

// answer gives the key to another member, who has shown a certificate of the cluster's.
func (k *secretsKeeper) answer(_ context.Context, from cluster.ServerID, _ []byte) ([]byte, error) {
	key, err := k.key.material()
	if err != nil {
		return nil, err
	}
	k.log.Info("a node asked for the cluster's key for secrets", "pkg", "main", "node", from)
	return key.raw, nil
}

// warning is what an administrator must know of the key; "" when it is there.
func (k *secretsKeeper) warning() string {
	if err := k.trouble.Load(); err != nil && errors.Is(*err, errNoSecretsKey) { // the rest passes, or others tell of it
		return (*err).Error()
	}
	return ""
}
