package main

import (
	"errors"
	"testing"

	"github.com/quorumail/quorumail/protocol/tally"
)

func ratedNode(t *testing.T) *node {
	t.Helper()
	r, err := newRates()
	if err != nil {
		t.Fatal(err)
	}
	return &node{rates: r}
}

// What one node counts, the others count.
func TestRatesCountAtAllNodes(t *testing.T) {
	here, there := ratedNode(t), ratedNode(t)
	limit := func() int { return 5 }
	if r := (sendRate{here.rates.accounts, limit}); !r.Take("1", 4) || r.Room("1", 2) || !r.Room("1", 1) {
		t.Error("not 5 at this node")
	}
	if r := (sendRate{here.rates.addresses, limit}); !r.Take("192.0.2.1/32", 5) {
		t.Error("accounts and addresses are counted together")
	}
	for _, batch := range [][]byte{here.rates.accounts.Export(batchBytes), here.rates.addresses.Export(batchBytes)} {
		if err := there.hear(batch); err != nil {
			t.Fatal(err)
		}
	}
	if r := (sendRate{there.rates.accounts, limit}); r.Take("1", 2) || !r.Take("1", 1) || r.Take("1", 1) {
		t.Error("the account has not 5 at both nodes")
	}
	if r := (sendRate{there.rates.addresses, limit}); r.Take("192.0.2.1/32", 1) {
		t.Error("the address has not 5 at both nodes")
	}
}

func TestNoLimitCountsNothing(t *testing.T) {
	n := ratedNode(t)
	r := sendRate{n.rates.accounts, func() int { return 0 }}
	if !r.Room("1", 1_000_000) || !r.Take("1", 1_000_000) || n.rates.accounts.Count("1") != 0 {
		t.Error("0 is a limit, or is counted")
	}
}

// A node of a later version may tell of more.
func TestUnknownCountsAreLeft(t *testing.T) {
	if err := ratedNode(t).hear(tally.NewExchange(200, 4).Begin(0)); !errors.Is(err, tally.ErrBatch) {
		t.Error(err)
	}
}
