package main

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/quorumail/quorumail/cluster"
)

const (
	// methodWarnings is the call by which nodes ask the leader what it warns of.
	methodWarnings = "node/warnings"
	// warningsTimeout bounds it: a status without them is better than none.
	warningsTimeout = time.Second
)

// ownWarnings are what this node knows that someone must act on, and that does not keep it from serving.
func (n *node) ownWarnings() (out []string) {
	if err := n.replica.ClocksDisagree(); err != nil {
		out = append(out, err.Error())
	}
	if text := n.keeper.warning(); text != "" {
		out = append(out, text)
	}
	return append(out, n.unopened()...)
}

func (n *node) answerWarnings(context.Context, cluster.ServerID, []byte) ([]byte, error) {
	return json.Marshal(n.ownWarnings())
}

// warnings are this node's and the leader's, which alone knows some things.
func (n *node) warnings(ctx context.Context, leader cluster.ServerID) []string {
	out := n.ownWarnings()
	if n.flow.queue.Untold() {
		out = append(out, "mail was not delivered, and neither its sender nor a postmaster can be told: \"quorumail queue list\" shows it; make an account or an alias for postmaster")
	}
	if leader == "" || leader == n.id.ID {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, warningsTimeout)
	defer cancel()
	raw, err := n.cluster.Call(ctx, leader, methodWarnings, nil)
	var of []string
	if err == nil {
		err = json.Unmarshal(raw, &of)
	}
	if err != nil {
		n.log.Debug("ask the leader what it warns of", "pkg", "main", "err", err)
	}
	for _, w := range of {
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}
