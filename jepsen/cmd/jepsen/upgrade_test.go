package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorumail/quorumail/jepsen/history"
)

// Nodes change their program while clients work. Both programs are the same here, under two names: what two versions say to each other is for
// whoever has an older one.
func TestShortRunOfUpgrades(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	bin, dir := buildProgram(t), t.TempDir()
	old := filepath.Join(t.TempDir(), "old")
	if err := os.Link(bin, old); err != nil {
		t.Fatal(err)
	}
	o := defaults(t, "--bin="+bin, "--old-bin="+old, "--out="+dir, "--workload=deliver", "--nemesis=upgrade", "--repeats=2", "--hold=500ms", "--processes=2", "--accounts=4")
	if _, err := perform(t.Context(), io.Discard, o); err != nil {
		t.Fatal(err)
	}
	h, err := history.Load(filepath.Join(dir, historyName))
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Faults) != 4 {
		t.Errorf("%d faults", len(h.Faults))
	}
	for _, f := range h.Faults { // what went wrong would be part of the detail
		if d := f.Detail; d != "down to the old program" && d != "down to the old program in this order" {
			t.Errorf("%s of %v: %s", f.Name, f.Nodes, d)
		}
	}
}
