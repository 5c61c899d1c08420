package clustertest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Faults in a random order. QUORUMAIL_SEED repeats a run as far as the scheduler lets it; QUORUMAIL_SOAK=1 makes it long.
func TestRandomFaults(t *testing.T) {
	runs, steps := 4, 36
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		runs, steps = 200, 240
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("QUORUMAIL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
		runs = 1
	}
	for i := range uint64(runs) {
		ok := t.Run(strconv.FormatUint(seed+i, 10), func(t *testing.T) {
			Bubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed+i, 0))
				c := New(t, rng, Options{SnapshotEntries: 40, TrailingEntries: uint64(10 + rng.IntN(60))})
				defer c.Close()
				began := time.Now()
				log := func(line string) { t.Logf("%8v %s", time.Since(began).Round(time.Millisecond), line) }
				if err := Random(c, rng, steps, log); err != nil {
					t.Errorf("seed %d: %v", seed+i, err)
				}
			})
		})
		if !ok {
			return
		}
	}
}
