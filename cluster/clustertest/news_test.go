package clustertest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A lone client at a follower waits for the network and no longer: not until the leader speaks again by itself, which is after CommitTimeout (10 to
// 20 ms). The times are the bubble's.
func TestLoneClientWaitsForTheNetworkOnly(t *testing.T) {
	Bubble(t, func(t *testing.T) {
		c := New(t, rand.New(rand.NewPCG(1, 1)), Options{})
		defer c.Close()
		if err := c.Bootstrap(3); err != nil {
			t.Fatal(err)
		}
		const delay = time.Millisecond
		c.net.Slow(delay, 0, 0, 0)
		leader, err := c.Leader()
		if err != nil {
			t.Fatal(err)
		}
		var followers []string
		for _, name := range c.names() {
			if name != leader {
				followers = append(followers, name)
			}
		}
		for k := range 50 {
			time.Sleep(time.Duration(k) * time.Millisecond) // at any moment between two messages of the leader
			writer, reader := followers[k%2], followers[(k+1)%2]
			begin := time.Now()
			if _, err := c.Propose(writer, fmt.Sprintf("p-%d", k), 1, time.Second); err != nil {
				t.Fatal(err)
			}
			proposed := time.Since(begin)
			_, there := c.running(c.member(leader))
			_, here := c.running(c.member(writer))
			time.Sleep(3 * delay) // of the bubble's time
			if at, want := here.Position().Index, there.Position().Index; at < want {
				t.Errorf("%v after its command was committed, %s is at entry %d, and the leader at %d", 3*delay, writer, at, want)
			}
			begin = time.Now()
			if _, err := c.Barrier(reader, time.Second); err != nil {
				t.Fatal(err)
			}
			read := time.Since(begin)
			// To the leader, from it to a voter, and both back: four ways, and up to two until an earlier message of the leader was answered. The
			// first use of a connection makes it, too.
			if k > 1 && max(proposed, read) > 6*delay {
				t.Errorf("a proposal at a follower took %v, a read at the other one %v: more than the network makes them take", proposed, read)
			}
		}
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	})
}
