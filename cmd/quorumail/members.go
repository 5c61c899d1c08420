package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/cluster/gossip"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/membership"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// openMembership joins ops/membership to the cluster and the state. The node's cluster is there, and serves nobody yet.
func (n *node) openMembership() {
	st := memberState{n.replica}
	n.members = membership.New(membership.Config{Self: n.id.ID, Cluster: n.cluster, State: st, Bodies: n.replica, Calls: n.cluster, Logger: n.log})
	n.members.Register()
	n.talker = membership.NewTalker(membership.TalkConfig{Self: n.id.ID, Name: n.cfg.Name, Listen: n.cfg.Cluster.GossipListen, Advertise: n.cfg.Cluster.GossipAdvertise,
		Members: n.cluster, Keys: st, Calls: n.cluster, Logger: n.log, Health: n.health, Refuse: func(id string) error { return n.refuse(cluster.ServerID(id)) },
		Deliver: func(news []byte) {
			if err := n.hear(news); err != nil {
				n.log.Debug("news of another node", "pkg", "main", "err", err)
			}
		}})
	n.talker.Register()
}

// refuse tells that a server was removed from the cluster.
func (n *node) refuse(id cluster.ServerID) error {
	v := n.replica.View()
	defer v.Close()
	s, err := v.Server(store.ServerID(id))
	if err == nil && s.Removed {
		return fmt.Errorf("the node %s was removed from the cluster", id)
	}
	return nil // one that is not known may have joined while this node was away
}

// health is what this node says of itself.
func (n *node) health() gossip.Health {
	h := gossip.Health{Version: version, ClientAddresses: n.clientAddresses(), Load: loadAverage(), Applied: n.cluster.Status().Applied, Ready: true}
	if err := n.ready(); err != nil {
		h.Ready, h.NotReady = false, err.Error()
	}
	return h
}

// clientAddresses are the listeners for mail clients, as "imap=host:port".
func (n *node) clientAddresses() string {
	var out []string
	for name, address := range n.cfg.Listeners.ByName() {
		if address != "" && name != "admin" && name != "metrics" {
			out = append(out, name+"="+address)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// loadAverage is that of the last minute for each processor; 0 where the system does not tell it.
func loadAverage() float64 {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load / float64(runtime.NumCPU())
}

// memberState makes the replica a membership.State and a membership.KeyStore.
type memberState struct{ *replica.Replica }

func (s memberState) Cluster() (*storepb.ClusterRecord, error) {
	v := s.View()
	defer v.Close()
	return v.Cluster()
}

func (s memberState) Servers() ([]*storepb.Server, error) {
	v := s.View()
	defer v.Close()
	return v.EverServers()
}

func (s memberState) Propose(ctx context.Context, fill func(*storepb.Command)) error {
	_, err := s.Replica.Propose(ctx, fill)
	return err
}

func (s memberState) Keys() (gossip.Keys, error) {
	v := s.View()
	defer v.Close()
	raw, err := v.Secret(secretGossipKeys)
	if err != nil {
		return gossip.Keys{}, err
	}
	return gossip.ParseKeys(bytes.Clone(raw))
}

func (s memberState) SaveKeys(ctx context.Context, k gossip.Keys, create bool) error {
	raw, err := k.Marshal()
	if err != nil {
		return err
	}
	return s.Propose(ctx, func(c *storepb.Command) {
		c.Op = &storepb.Command_PutSecret{PutSecret: &storepb.PutSecret{Name: secretGossipKeys, Value: raw, Create: create}}
	})
}

// memberList is the membership with what the gossip and the leader say of each member.
func (n *node) memberList(ctx context.Context, names map[cluster.ServerID]string) (out []admin.Member) {
	waits, err := n.members.Waits(ctx)
	if err != nil {
		n.log.Debug("ask the leader what it waits for", "pkg", "main", "err", err)
	}
	commit := n.cluster.Status().Commit
	for _, m := range n.cluster.Configuration().Servers {
		g := n.talker.Member(m.ID)
		out = append(out, admin.Member{ID: string(m.ID), Name: names[m.ID], Address: m.Address, Voter: m.Voter, Waiting: waits[m.ID],
			Alive: g.State == gossip.Alive, State: string(g.State), Version: g.Version, Load: g.Load, Lag: commit - min(commit, g.Applied),
			Ready: g.Ready && g.State == gossip.Alive, NotReady: g.NotReady, Clients: g.ClientAddresses})
	}
	return out
}

// memberRow is a member as "status" prints it.
func memberRow(m admin.Member) []string {
	health := "ready"
	switch {
	case m.State != string(gossip.Alive):
		health = "-"
	case !m.Ready:
		health = "not ready: " + m.NotReady
	}
	if m.Waiting != "" {
		health += "; waits: " + m.Waiting
	}
	version := m.Version
	if version == "" {
		version = "-"
	}
	return []string{m.Name, m.ID, m.Address, strconv.FormatBool(m.Voter), m.State, version, strconv.FormatUint(m.Lag, 10), strconv.FormatFloat(m.Load, 'f', 2, 64), health}
}

// removeNode asks for the removal of a member, and tells how far it is.
func (n *node) removeNode(ctx context.Context, r admin.NodeRequest) (admin.Removal, error) {
	id, err := n.serverID(r.ID)
	if err != nil {
		return admin.Removal{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p, err := n.members.Remove(ctx, id)
	return admin.Removal{ID: string(id), Done: p.Done, Waiting: p.Waiting}, err
}

// serverID finds a server by its id, or by its name where only one that is not removed has it.
func (n *node) serverID(text string) (cluster.ServerID, error) {
	servers, err := memberState{n.replica}.Servers()
	if err != nil {
		return "", err
	}
	var named []string
	for _, s := range servers {
		if s.Id == text {
			return cluster.ServerID(text), nil
		}
		if s.Name == text && !s.Removed {
			named = append(named, s.Id)
		}
	}
	switch len(named) {
	case 0:
		return cluster.ServerID(text), nil // the leader may know it already
	case 1:
		return cluster.ServerID(named[0]), nil
	}
	return "", fmt.Errorf("several nodes are called %s: name one of the ids %s: %w", text, strings.Join(named, ", "), store.ErrConflict)
}

func nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Members of the cluster"}
	c.AddCommand(&cobra.Command{Use: "remove ID", Short: "Remove a node for ever, such as one whose disk is lost; its replacement joins under a new id", Args: cobra.ExactArgs(1),
		Long: "Remove a node for ever, by its id or its name. It waits until the other nodes hold every message on a majority of them, and says what it waits for.\n" +
			"Interrupt it to give up. A node that was removed does not come back: empty its data folder and let it join anew with an invite.\n" +
			"If somebody else may have its keys, follow with \"quorumail cluster rotate-keys\".",
		RunE: func(cmd *cobra.Command, args []string) error { return removeUntilDone(cmd, args[0]) }})
	return c
}

// removeUntilDone asks again and again: the wish is forgotten when nobody repeats it. A leader that changes meanwhile is asked next.
func removeUntilDone(cmd *cobra.Command, id string) error {
	said, failures := "", 0
	for {
		res, err := call[admin.Removal](cmd, "node.remove", admin.NodeRequest{ID: id})
		switch {
		case err == nil && res.Done:
			fmt.Fprintf(cmd.OutOrStdout(), "node %s is removed\n", id)
			return nil
		case errors.Is(err, store.ErrUnavailable) && failures < 60:
			failures++
			res.Waiting = err.Error()
		case err != nil:
			return err
		default:
			id, failures = res.ID, 0 // from now on by its id: the name is free once it is removed
		}
		if res.Waiting != said {
			said = res.Waiting
			fmt.Fprintf(cmd.ErrOrStderr(), "waiting: %s\n", said)
		}
		select {
		case <-cmd.Context().Done():
			return fmt.Errorf("given up while waiting: %s", said)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func clusterCommand() *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "What concerns all nodes together"}
	c.AddCommand(&cobra.Command{Use: "rotate-keys", Short: "Replace the key with which the nodes' gossip is encrypted", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if _, err := call[admin.Empty](cmd, "cluster.rotate-keys", admin.Empty{}); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "every node uses the new key, and the old one is forgotten")
		return nil
	}})
	return c
}
