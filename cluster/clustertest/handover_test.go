package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// A leader that hands over before it ends loses no proposal, and lets nobody wait for an election: not when it hands over, not when it ends.
// The gaps are by the bubble's clock, so they are what the protocol takes, whatever else the machine does.
func TestHandOverIsShort(t *testing.T) {
	Bubble(t, func(t *testing.T) {
		c := New(t, rand.New(rand.NewPCG(1, 1)), Options{})
		defer c.Close()
		if err := c.Bootstrap(3); err != nil {
			t.Fatal(err)
		}
		c.net.Slow(time.Millisecond, 0, 0, 0)
		var mu sync.Mutex
		acked := []time.Time{time.Now()}
		quit := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-quit:
						return
					case <-time.After(time.Millisecond):
					}
					up := c.up()
					_, err := c.Propose(up[i%len(up)].name, fmt.Sprintf("p-%d-%d", i, k), 1, 10*time.Second)
					mu.Lock()
					if err == nil {
						acked = append(acked, time.Now())
					} else {
						t.Errorf("a proposal: %v", err)
					}
					mu.Unlock()
				}
			})
		}
		for range 10 {
			time.Sleep(500 * time.Millisecond) // of the bubble's time, of undisturbed work
			name, err := c.Leader()
			if err != nil {
				t.Fatal(err)
			}
			node, _ := c.running(c.member(name))
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := node.HandOver(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			if node.IsLeader() {
				t.Errorf("%s still leads", name)
			}
			took := time.Since(begin)
			time.Sleep(500 * time.Millisecond) // likewise
			mu.Lock()
			from, _ := slices.BinarySearchFunc(acked, begin, time.Time.Compare)
			gap := time.Duration(0)
			for k := max(from, 1); k < len(acked); k++ {
				gap = max(gap, acked[k].Sub(acked[k-1]))
			}
			mu.Unlock()
			t.Logf("%s handed over in %v; longest gap %v", name, took, gap)
			if gap > 100*time.Millisecond { // some ten messages; an election would take more than 250 ms
				t.Errorf("when %s handed over, no proposal was acknowledged for %v", name, gap)
			}
		}
		close(quit)
		wg.Wait()
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	})
}
