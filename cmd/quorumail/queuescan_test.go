package main

import (
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store/storepb"
)

// What came by a clock that is ahead of this node's is there all the same: lists show it, and it can be retried.
func TestEntriesOfAClockAheadAreChosen(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	e := &storepb.QueueEntry{Address: "x@far.test", SinceUnixMs: now.Add(time.Hour).UnixMilli()}
	for _, tc := range []struct {
		olderThan time.Duration
		want      bool
	}{{0, true}, {time.Minute, false}} {
		s := &queueScan{now: now, filter: admin.QueueFilter{OlderThanMs: tc.olderThan.Milliseconds()}}
		if got := s.entryChosen(e); got != tc.want {
			t.Errorf("older than %v: chosen %v", tc.olderThan, got)
		}
	}
}

// A node that was lost before it had a name owns nothing, and hides nothing of the others'.
func TestNamelessNodeHidesNothing(t *testing.T) {
	servers := names{"0123456789abcdef": "", "fedcba9876543210": "n1"}
	e := &storepb.QueueEntry{Address: "x@far.test", Owner: "fedcba9876543210"}
	for owner, want := range map[string]bool{"": true, "n1": true, "fedcba9876543210": true, "0123456789abcdef": false} {
		s, err := newQueueScan(nil, admin.QueueFilter{Owner: owner}, servers, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.entryChosen(e); got != want {
			t.Errorf("of %q: chosen %v", owner, got)
		}
	}
}
