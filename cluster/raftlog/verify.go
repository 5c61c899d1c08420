package raftlog

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// Verify reads every entry from index on. ErrRot when one is damaged.
func (l *Log) Verify(index uint64) error {
	first, last, err := l.bounds()
	if err != nil || last == 0 {
		return err
	}
	for i := max(first, index); i <= last; i++ {
		var e raft.Log
		if err := l.read(i, &e); err != nil {
			return err
		}
		l.size.count([]*raft.Log{&e})
	}
	return nil
}

// Scrub reads the whole log once in each interval, at no more than bytesPerSecond, until ctx ends: what is damaged must be found while
// other nodes still hold it. A finding ends the process.
func (l *Log) Scrub(ctx context.Context, interval time.Duration, bytesPerSecond int64) {
	for l.scrubOnce(ctx, bytesPerSecond) && pause(ctx, interval) {
	}
}

// scrubOnce tells whether it came to the end.
func (l *Log) scrubOnce(ctx context.Context, bytesPerSecond int64) bool {
	index, last, err := l.bounds()
	read := int64(0)
	for ; err == nil && index <= last && last > 0; index++ {
		var e raft.Log
		err = l.read(index, &e)
		if err == raft.ErrLogNotFound {
			var first uint64 // the log was truncated meanwhile
			if first, last, err = l.bounds(); index < first {
				index = first - 1
			}
			continue
		}
		// A pause for each piece, so that the rate holds in the small, too.
		if read += int64(len(e.Data)) + 64; read >= scrubPiece {
			if !pause(ctx, time.Duration(read*int64(time.Second)/bytesPerSecond)) {
				return false
			}
			read = 0
		}
	}
	if err != nil {
		_ = l.fail(err)
		return false
	}
	return ctx.Err() == nil
}

const scrubPiece = 256 << 10

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
