package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"sync"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// office answers administrators about queues, traces and keys for signing, from this node's copy of the state.
type office struct {
	store   officeStore
	self    string // this node's id
	secrets *secretsKey
	now     func() time.Time
	log     *slog.Logger

	change sync.Mutex // orders read-then-write changes of keys at this node
}

// officeStore is the node's copy of the state; *replica.Replica is one.
type officeStore interface {
	Propose(ctx context.Context, fill func(*storepb.Command)) (*storepb.Result, error)
	ReadBarrier(ctx context.Context) error
	View() *state.View
}

// officeBarrier is how long an administrator's question waits for the cluster.
const officeBarrier = 5 * time.Second

// register says which methods the office answers.
func (o *office) register(s *admin.Server) {
	admin.Handle(s, "queue.list", o.listQueue)
	admin.Handle(s, "queue.count", o.countQueue)
	admin.Handle(s, "queue.show", o.showQueue)
	admin.Handle(s, "queue.act", o.actOnQueue)
	admin.Handle(s, "trace", o.trace)
	o.registerDKIM(s)
}

// read runs f on the state as the cluster has it now.
func (o *office) read(ctx context.Context, f func(*state.View) error) error {
	ctx, cancel := context.WithTimeout(ctx, officeBarrier)
	defer cancel()
	if err := o.store.ReadBarrier(ctx); err != nil {
		if !errors.Is(err, store.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return fmt.Errorf("ask the cluster for its latest state (has it a majority? see: quorumail status): %w", err)
	}
	v := o.store.View()
	defer v.Close()
	return f(v)
}

// names are what people call the servers that were ever members.
type names map[string]string

func serverNames(v *state.View) (names, error) {
	servers, err := v.EverServers()
	if err != nil {
		return nil, fmt.Errorf("read the nodes' names: %w", err)
	}
	out := names{}
	for _, s := range servers {
		out[s.Id] = s.Name
	}
	return out, nil
}

// of is the name of a server, or its id when it has none any more.
func (n names) of(id string) string {
	if name := n[id]; name != "" {
		return name
	}
	return id
}

// ids are those of the servers that an administrator means by a name or an id.
func (n names) ids(nameOrID string) map[string]bool {
	out := map[string]bool{}
	for id, name := range n {
		if id == nameOrID || name == nameOrID {
			out[id] = true
		}
	}
	return out
}

// addressOf is the address of an account, for people.
func addressOf(v *state.View, id uint64) (string, error) {
	if id == 0 {
		return "", nil
	}
	a, err := v.Account(store.AccountID(id))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Sprintf("account %d (removed)", id), nil
	}
	if err != nil {
		return "", fmt.Errorf("read account %d: %w", id, err)
	}
	return a.Address, nil
}

// who is the operating-system user who runs a command: the audit and the traces name him.
func who() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

// moment is a time of the replicated state; 0 is none.
func moment(unixMs int64) time.Time {
	if unixMs == 0 {
		return time.Time{}
	}
	return time.UnixMilli(unixMs).UTC()
}
