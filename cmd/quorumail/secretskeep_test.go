package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/cluster"
	"github.com/quorumail/quorumail/store"
)

// keepers are nodes of one cluster, as far as the key for secrets goes.
type keepers struct {
	*stateAlone
	list map[cluster.ServerID]*secretsKeeper
}

func newKeepers(t *testing.T, ids ...cluster.ServerID) *keepers {
	k := &keepers{stateAlone: newStateAlone(t), list: map[cluster.ServerID]*secretsKeeper{}}
	for _, id := range ids {
		k.list[id] = &secretsKeeper{dataDir: t.TempDir(), store: k, key: &secretsKey{}, log: slog.New(slog.DiscardHandler), found: func() {},
			others: func() (others []cluster.ServerID) {
				for _, o := range ids {
					if o != id {
						others = append(others, o)
					}
				}
				return others
			},
			call: func(ctx context.Context, to cluster.ServerID, method string, req []byte) ([]byte, error) {
				if method != methodSecretsKey {
					t.Errorf("%s was asked for %s", to, method)
				}
				return k.list[to].answer(ctx, id, req)
			}}
	}
	return k
}

func (k *keepers) id(id cluster.ServerID) string {
	if m := k.list[id].key.key.Load(); m != nil {
		return m.idHex()
	}
	return ""
}

// A founder's key becomes the cluster's; a node that has none, or another, gets it, and loses nothing.
func TestNodesAgreeOnTheFoundersKey(t *testing.T) {
	k := newKeepers(t, "a", "b", "c")
	a, b, c := k.list["a"], k.list["b"], k.list["c"]
	if err := makeSecretsKey(a.dataDir); err != nil {
		t.Fatal(err)
	}
	if err := writeSecretsKey(c.dataDir, randomKey()); err != nil {
		t.Fatal(err)
	}
	wrong, err := os.ReadFile(filepath.Join(c.dataDir, secretsKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*secretsKeeper{a, b, c} {
		if err := n.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text := n.warning(); text != "" {
			t.Error(text)
		}
	}
	if k.id("a") == "" || k.id("b") != k.id("a") || k.id("c") != k.id("a") {
		t.Errorf("the keys are %s, %s and %s", k.id("a"), k.id("b"), k.id("c"))
	}
	if info, err := os.Stat(filepath.Join(b.dataDir, secretsKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v (%v)", info, err)
	}
	if old, err := os.ReadFile(filepath.Join(c.dataDir, secretsKeyFile+".replaced")); err != nil || string(old) != string(wrong) {
		t.Errorf("the key that was there is lost (%v)", err)
	}
}

// In a cluster of the time before the key, each node would make one: the first to be noted counts, for all.
func TestOneOfSeveralNewKeysCounts(t *testing.T) {
	k := newKeepers(t, "a", "b")
	a, b := k.list["a"], k.list["b"]
	for _, n := range []*secretsKeeper{a, b} {
		if err := makeSecretsKey(n.dataDir); err != nil {
			t.Fatal(err)
		}
	}
	mine, err := readSecretsKey(b.dataDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.propose(t.Context(), mine); !errors.Is(err, store.ErrExists) { // it saw no key yet when it began
		t.Errorf("the second key: %v", err)
	}
	if k.id("b") != "" {
		t.Error("a key is used that is not the cluster's")
	}
	if err := b.settle(t.Context()); err != nil || k.id("b") != k.id("a") {
		t.Errorf("the keys are %s and %s (%v)", k.id("a"), k.id("b"), err)
	}
}

func TestKeyThatNobodyHasIsMissed(t *testing.T) {
	k := newKeepers(t, "a", "b")
	a := k.list["a"]
	if err := a.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(a.dataDir, secretsKeyFile)); err != nil {
		t.Fatal(err)
	}
	a.key.key.Store(nil) // it starts again
	err := a.settle(t.Context())
	if !errors.Is(err, errNoSecretsKey) || !strings.Contains(err.Error(), "put the file into the data folder") {
		t.Errorf("no key anywhere: %v", err)
	}
	if _, err := os.Stat(filepath.Join(a.dataDir, secretsKeyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("another key was made (%v)", err)
	}
	k.barrier = store.ErrUnavailable
	if err := a.settle(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a majority: %v", err)
	}
}
