package blob

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Apply puts inline bodies: it must not wait for room that is taken by bodies whose senders have stopped sending.
func TestBodyInMemoryDoesNotWaitForSlowSenders(t *testing.T) {
	c := small(t, vfs.NewMem())
	c.BufferBytes = 32 << 10
	d := openDisk(t, c)
	defer closeDisk(t, d)
	stalled, end := io.Pipe()
	ended := make(chan error, 2)
	for i := range 2 {
		s := makeSample(t, byte(i+1), 15<<10)
		go func() { ended <- d.Put(context.Background(), s.id, 1, stalled, int64(len(s.encoded)), true) }()
	}
	for deadline := time.Now().Add(10 * time.Second); d.buffers.TryAcquire(c.BufferBytes / 2); time.Sleep(time.Millisecond) { // polls a condition
		d.buffers.Release(c.BufferBytes / 2)
		if time.Now().After(deadline) {
			t.Fatal("the room is not taken")
		}
	}
	done := make(chan error, 1)
	inline := makeSample(t, 3, 4<<10)
	go func() { done <- inline.put(d, false) }()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Error("the body in memory waits for senders that send nothing")
	}
	end.CloseWithError(errors.New("gone"))
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a body that did not come was stored")
		}
	}
}
