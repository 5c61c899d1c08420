package main

import (
	"testing"

	"github.com/quorumail/quorumail/jepsen/regress"
)

// What an entry says must be what "jepsen run" takes, or it shows nothing.
func TestEntriesOfRegressCanBeRun(t *testing.T) {
	for _, e := range regress.All() {
		o, err := again(e.Args, options{bin: "x"})
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		if _, faults, err := o.parse(); err != nil || len(faults) == 0 && o.faults != "none" || o.seed == 0 {
			t.Errorf("%s: %d faults, seed %d, %v", e.Name, len(faults), o.seed, err)
		}
	}
}
