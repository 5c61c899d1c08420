package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// script answers each question to a node with the next of its lines: an index and a hash, or an error. The last line is repeated.
type script struct {
	mu    sync.Mutex
	lines map[string][]any // guarded by mu
}

func (s *script) ask(_ context.Context, id string) (admin.StateHash, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.lines[id][0]
	if len(s.lines[id]) > 1 {
		s.lines[id] = s.lines[id][1:]
	}
	if err, ok := line.(error); ok {
		return admin.StateHash{}, err
	}
	return line.(admin.StateHash), nil
}

func TestStatesAreComparedAtOneIndex(t *testing.T) {
	at := func(index uint64, hash string) any { return admin.StateHash{Index: index, Hash: hash} }
	down := errors.New("no answer")
	for name, c := range map[string]struct {
		lines   map[string][]any
		verdict string
		index   uint64
	}{
		"the same at once":                {map[string][]any{"a": {at(5, "x")}, "b": {at(5, "x")}, "c": {at(5, "x")}}, admin.HashesAgree, 5},
		"one is behind for a while":       {map[string][]any{"a": {at(5, "x")}, "b": {at(5, "x")}, "c": {at(3, "u"), at(4, "v"), at(5, "x")}}, admin.HashesAgree, 5},
		"never at the same moment":        {map[string][]any{"a": {at(5, "x"), at(6, "y"), at(7, "z")}, "b": {at(6, "y"), at(7, "z"), at(8, "zz")}, "c": {at(4, "w"), at(5, "x"), at(6, "y")}}, admin.HashesAgree, 6},
		"two of three differ":             {map[string][]any{"a": {at(5, "x")}, "b": {at(5, "y")}, "c": {at(4, "w")}}, admin.HashesDiffer, 5},
		"different after some rounds":     {map[string][]any{"a": {at(5, "x")}, "b": {at(4, "w"), at(5, "other")}, "c": {at(4, "w"), at(5, "x")}}, admin.HashesDiffer, 5},
		"different indexes, other hashes": {map[string][]any{"a": {at(5, "x")}, "b": {at(6, "y")}, "c": {at(7, "z")}}, admin.HashesUnknown, 0},
		"one does not answer":             {map[string][]any{"a": {at(5, "x")}, "b": {at(5, "x")}, "c": {down}}, admin.HashesUnknown, 0},
		"one comes back":                  {map[string][]any{"a": {at(5, "x")}, "b": {at(5, "x")}, "c": {down, down, at(5, "x")}}, admin.HashesAgree, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := time.Minute
			if c.verdict == admin.HashesUnknown {
				limit = 300 * time.Millisecond // it asks until then
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			s := &script{lines: c.lines}
			r := compareHashes(ctx, []admin.NodeHash{{ID: "a"}, {ID: "b"}, {ID: "c"}}, s.ask)
			if r.Verdict != c.verdict || r.Index != c.index || len(r.Nodes) != 3 {
				t.Errorf("%+v, want %s at %d", r, c.verdict, c.index)
			}
		})
	}
}

// sameHash demands that all nodes of a cluster have the same state, by the command that administrators have for it.
func sameHash(t testing.TB, config string) error {
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs([]string{"admin", "state-hash", "--all", "--config", config})
	if err := root.ExecuteContext(t.Context()); err != nil {
		return fmt.Errorf("%w\n%s", err, &out)
	}
	return nil
}
