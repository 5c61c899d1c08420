package main

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/imap/imapd"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

func (n *node) imapAuth(ctx context.Context, remote netip.Addr, user, password string) (imapd.Identity, error) {
	id, err := n.directory.Authenticate(ctx, remote, user, password)
	return imapd.Identity{Account: id.Account, Address: id.Address}, err
}

// registerAdmin says who answers which method.
func (n *node) registerAdmin() {
	n.directory.Register(n.admin)
	admin.Handle(n.admin, "status", n.status)
	admin.Handle(n.admin, "invite", n.makeInvite)
	admin.Handle(n.admin, "state-hash", func(context.Context, admin.Empty) (admin.StateHash, error) {
		index, hash, err := n.machine.Hash()
		return admin.StateHash{Index: index, Hash: hash}, err
	})
	admin.Handle(n.admin, "check", func(context.Context, admin.Empty) (admin.Empty, error) { return admin.Empty{}, n.machine.Check() })
	admin.Handle(n.admin, "node.remove", n.removeNode)
	admin.Handle(n.admin, "profile", admin.TakeProfile)
	admin.Handle(n.admin, "spent", n.spent)
	admin.Handle(n.admin, "log-level", n.logLevel)
}

func (n *node) status(context.Context, admin.Empty) (admin.Status, error) {
	s := n.cluster.Status()
	v := n.replica.View()
	defer v.Close()
	known, err := v.Servers()
	if err != nil {
		return admin.Status{}, err
	}
	names := map[cluster.ServerID]string{}
	for _, x := range known {
		names[cluster.ServerID(x.Id)] = x.Name
	}
	missing, err := v.Missing(store.ServerID(n.id.ID), 10000)
	if err != nil {
		return admin.Status{}, err
	}
	out := admin.Status{Name: n.cfg.Name, ID: string(n.id.ID), State: s.State, Leader: names[s.Leader], Term: s.Term, Last: s.Last, Commit: s.Commit, Applied: s.Applied,
		Missing: len(missing), Listeners: n.listeners.all(), Version: version, Ready: true}
	if err := n.replica.Ready(); err != nil {
		out.Ready, out.NotReady = false, err.Error()
	}
	for _, m := range n.cluster.Configuration().Servers {
		out.Members = append(out.Members, admin.Member{ID: string(m.ID), Name: names[m.ID], Address: m.Address, Voter: m.Voter})
	}
	return out, nil
}

// removeNode removes a member for ever, if the rest still holds everything on a majority.
func (n *node) removeNode(ctx context.Context, r admin.NodeRequest) (admin.Empty, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := n.restIsWhole(ctx, cluster.ServerID(r.ID)); err != nil {
		return admin.Empty{}, err
	}
	if err := n.cluster.Remove(ctx, cluster.ServerID(r.ID)); err != nil {
		return admin.Empty{}, err
	}
	_, err := n.replica.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_RemoveServer{RemoveServer: &storepb.RemoveServer{Id: r.ID}}
	})
	return admin.Empty{}, err
}

// restIsWhole asks every voter that would stay whether it holds every live body, by its own look (B4).
func (n *node) restIsWhole(ctx context.Context, leaving cluster.ServerID) error {
	found := false
	for _, m := range n.cluster.Configuration().Servers {
		if m.ID == leaving {
			found = true
			continue
		}
		if m.Voter && !n.mayPromote(ctx, m.ID) {
			return errors.Join(errors.New("node "+string(m.ID)+" does not answer, or does not hold every message yet: wait, and try again"), store.ErrConflict)
		}
	}
	if !found {
		return errors.Join(errors.New("there is no node "+string(leaving)), store.ErrNotFound)
	}
	return nil
}
