package main

import (
	"context"
	"net/netip"
	"time"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/imap/imapd"
)

func (n *node) imapAuth(ctx context.Context, remote netip.Addr, user, password string) (imapd.Identity, error) {
	id, err := n.directory.Authenticate(ctx, remote, user, password)
	return imapd.Identity{Account: id.Account, Address: id.Address}, err
}

// registerAdmin says who answers which method.
func (n *node) registerAdmin() {
	n.directory.Register(n.admin)
	n.registerBackup()
	(&office{store: n.replica, self: string(n.id.ID), secrets: &n.secrets, now: time.Now, log: n.log}).register(n.admin)
	admin.Handle(n.admin, "status", n.status)
	admin.Handle(n.admin, "invite", n.makeInvite)
	// These read everything that this node's state holds: with a million messages that takes minutes.
	admin.HandleLong(n.admin, "state-hash", n.stateHash)
	admin.HandleLong(n.admin, "state-hash.all", n.stateHashes)
	admin.HandleLong(n.admin, "check", func(context.Context, admin.Empty) (admin.Empty, error) { return admin.Empty{}, n.machine.Check() })
	admin.Handle(n.admin, "node.remove", n.removeNode)
	admin.Handle(n.admin, "cluster.rotate-keys", func(ctx context.Context, _ admin.Empty) (admin.Empty, error) {
		return admin.Empty{}, n.talker.RotateKeys(ctx)
	})
	admin.Handle(n.admin, "profile", admin.TakeProfile)
	admin.Handle(n.admin, "spent", n.spent)
	admin.Handle(n.admin, "log-level", n.logLevel)
}

func (n *node) status(ctx context.Context, _ admin.Empty) (admin.Status, error) {
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
	queues, err := queueCounts(v)
	if err != nil {
		return admin.Status{}, err
	}
	missing, err := n.replica.ToFetch(10000)
	if err != nil {
		return admin.Status{}, err
	}
	out := admin.Status{Name: n.cfg.Name, ID: string(n.id.ID), State: s.State, Leader: names[s.Leader], Term: s.Term, Last: s.Last, Commit: s.Commit, Applied: s.Applied,
		Missing: missing, Queues: queues, Listeners: n.listeners.all(), Version: version, Ready: true}
	if err := n.ready(); err != nil {
		out.Ready, out.NotReady = false, err.Error()
	}
	out.Members = n.memberList(ctx, names)
	out.Warnings = n.warnings(ctx, s.Leader)
	return out, nil
}
