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
