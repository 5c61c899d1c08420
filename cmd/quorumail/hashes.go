package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store"
)

const (
	// methodStateHash is the call by which nodes ask each other for the digest of their states.
	methodStateHash = "node/state-hash"
	// hashRounds is the pause between two rounds of questions.
	hashRounds = 50 * time.Millisecond
)

func stateHashCommand() *cobra.Command {
	wait := time.Minute
	c := withJSON(&cobra.Command{Use: "state-hash", Short: "The digest of the replicated state, of this node or of all; nodes at the same index must agree", Args: cobra.NoArgs,
		Long: "Prints the digest of this node's replicated state and the index of the log that it is of.\n" +
			"With --all it asks every member, again and again while commands arrive, until all have answered for one index, and says whether they agree.\n" +
			"The exit code is 1 when they differ, and 75 when they could not be compared, because a member does not answer or is too far behind.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all, _ := cmd.Flags().GetBool("all"); all {
				return showHashes(cmd, wait)
			}
			h, err := call[admin.StateHash](cmd, "state-hash", admin.Empty{})
			if err != nil {
				return err
			}
			return show(cmd, h, "INDEX HASH", [][]string{{strconv.FormatUint(h.Index, 10), h.Hash}})
		}})
	c.Flags().Bool("all", false, "ask every member of the cluster and compare")
	c.Flags().DurationVar(&wait, "wait", wait, "with --all: how long to ask until all answer for one index")
	return c
}

func showHashes(cmd *cobra.Command, wait time.Duration) error {
	if wait <= 0 {
		return usageError{fmt.Errorf("--wait %v: name a time such as 30s", wait)}
	}
	r, err := call[admin.StateHashes](cmd, "state-hash.all", admin.StateHashesRequest{WaitMs: wait.Milliseconds()})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, h := range r.Nodes {
		if h.Error != "" {
			rows = append(rows, []string{h.Name, h.ID, "-", h.Error})
			continue
		}
		rows = append(rows, []string{h.Name, h.ID, strconv.FormatUint(h.Index, 10), h.Hash})
	}
	if err := show(cmd, r, "NODE ID INDEX HASH", rows); err != nil {
		return err
	}
	switch r.Verdict {
	case admin.HashesAgree:
		say(cmd, "\nall nodes have the same state at index %d", r.Index)
		return nil
	case admin.HashesDiffer:
		return fmt.Errorf("the nodes have different states at index %d: at least one of them is wrong", r.Index)
	}
	return fmt.Errorf("the nodes did not answer for one index within %v: %w", wait, store.ErrUnavailable)
}

func (n *node) stateHash(context.Context, admin.Empty) (admin.StateHash, error) {
	index, hash, err := n.machine.Hash()
	return admin.StateHash{Index: index, Hash: hash}, err
}

// answerStateHash is stateHash for other nodes.
func (n *node) answerStateHash(ctx context.Context, _ cluster.ServerID, _ []byte) ([]byte, error) {
	h, err := n.stateHash(ctx, admin.Empty{})
	if err != nil {
		return nil, err
	}
	return json.Marshal(h)
}

// stateHashes compares the states of all members.
func (n *node) stateHashes(ctx context.Context, r admin.StateHashesRequest) (admin.StateHashes, error) {
	st, err := memberState{n.replica}.Servers()
	if err != nil {
		return admin.StateHashes{}, err
	}
	names := map[string]string{}
	for _, s := range st {
		names[s.Id] = s.Name
	}
	var nodes []admin.NodeHash
	for _, m := range n.cluster.Configuration().Servers {
		nodes = append(nodes, admin.NodeHash{ID: string(m.ID), Name: names[string(m.ID)]})
	}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(r.WaitMs)*time.Millisecond, time.Hour))
	defer cancel()
	return compareHashes(ctx, nodes, func(ctx context.Context, id string) (h admin.StateHash, err error) {
		raw, err := n.cluster.Call(ctx, cluster.ServerID(id), methodStateHash, nil)
		if err == nil {
			err = json.Unmarshal(raw, &h)
		}
		return h, err
	}), nil
}

// compareHashes asks all nodes at once, round by round, until it has an answer of each for one index, or two different ones for one index, or
// ctx ends. Answers of earlier rounds count too: while commands arrive, the nodes are seldom asked at the same moment of the log.
func compareHashes(ctx context.Context, nodes []admin.NodeHash, ask func(context.Context, string) (admin.StateHash, error)) admin.StateHashes {
	seen := map[uint64]map[string]string{} // by index and node
	for {
		askRound(ctx, nodes, ask)
		for _, n := range nodes {
			if n.Error != "" {
				continue
			}
			if seen[n.Index] == nil {
				seen[n.Index] = map[string]string{}
			}
			at := seen[n.Index]
			at[n.ID] = n.Hash
			if verdict := judge(at, len(nodes)); verdict != admin.HashesUnknown {
				return verdictAt(nodes, n.Index, at, verdict)
			}
		}
		select {
		case <-ctx.Done():
			return admin.StateHashes{Verdict: admin.HashesUnknown, Nodes: nodes}
		case <-time.After(hashRounds):
		}
	}
}

// askRound fills in what each node answers now. A question that the end of ctx cut off does not replace an answer.
func askRound(ctx context.Context, nodes []admin.NodeHash, ask func(context.Context, string) (admin.StateHash, error)) {
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			n := &nodes[i]
			h, err := ask(ctx, n.ID)
			switch {
			case err == nil:
				n.StateHash, n.Error = h, ""
			case n.Hash == "" || !errors.Is(err, context.DeadlineExceeded):
				n.StateHash, n.Error = admin.StateHash{}, err.Error()
			}
		})
	}
	wg.Wait()
}

// judge compares the answers for one index.
func judge(at map[string]string, nodes int) string {
	first, any := "", false
	for _, hash := range at {
		if any && hash != first {
			return admin.HashesDiffer
		}
		first, any = hash, true
	}
	if len(at) == nodes {
		return admin.HashesAgree
	}
	return admin.HashesUnknown
}

// verdictAt shows for each node what it answered for the index that decides, if it did.
func verdictAt(nodes []admin.NodeHash, index uint64, at map[string]string, verdict string) admin.StateHashes {
	for i := range nodes {
		if hash, ok := at[nodes[i].ID]; ok {
			nodes[i].StateHash, nodes[i].Error = admin.StateHash{Index: index, Hash: hash}, ""
		}
	}
	return admin.StateHashes{Verdict: verdict, Index: index, Nodes: nodes}
}
