package replica

import (
	"errors"
	"testing"

	"github.com/quorumail/quorumail/store"
)

// writeUpTo writes n bytes in small pieces and returns how many were taken.
func writeUpTo(u *Upload, n int) (int, error) {
	piece := message(16 << 10)
	for taken := 0; taken < n; taken += len(piece) {
		if _, err := u.Write(piece); err != nil {
			return taken, err
		}
	}
	return n, nil
}

// TestDiskRunsLowWhileABodyComes: nobody fills the disk with a body that began when there was room.
func TestDiskRunsLowWhileABodyComes(t *testing.T) {
	c := newTestCluster(t)
	n := c.nodes[0]
	u, err := n.NewBody()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Abort()
	if _, err := writeUpTo(u, 1<<20); err != nil {
		t.Fatal(err)
	}
	n.free.Store(n.cfg.MinFreeBytes - 1)
	taken, err := writeUpTo(u, 4<<20)
	if !errors.Is(err, store.ErrNoSpace) || taken > spoolStep {
		t.Errorf("%d bytes were taken on a full disk, then %v", taken, err)
	}
	if _, err := n.NewBody(); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("a new body: %v", err)
	}
	n.free.Store(1 << 40)
	if _, err := writeUpTo(u, 1<<20); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

// TestSpoolLimit: all bodies that come in together have a limit; small ones and a single large one always find room, and all room comes back.
func TestSpoolLimit(t *testing.T) {
	c := newTestCluster(t, func(c *Config) { c.Limits.SpoolBytes = 2 << 20 })
	account := c.account()
	n := c.nodes[0]
	begin := func() *Upload {
		t.Helper()
		u, err := n.NewBody()
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	first, second, small := begin(), begin(), begin()
	if _, err := writeUpTo(first, 4<<20); err != nil {
		t.Errorf("a single large body: %v", err)
	}
	if taken, err := writeUpTo(second, 4<<20); !errors.Is(err, store.ErrUnavailable) || taken > spoolStep {
		t.Errorf("a second one: %d bytes were taken, then %v", taken, err)
	}
	if _, err := writeUpTo(small, spoolStep); err != nil {
		t.Errorf("a small body: %v", err)
	}
	first.Abort()
	if _, err := writeUpTo(second, 1<<20); err != nil {
		t.Errorf("when the first is gone: %v", err)
	}
	room := n.NewRoom() // for what does not go into a body yet
	if err := room.Take(4 << 20); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a spool beside it: %v", err)
	}
	second.Abort()
	if err := room.Take(4 << 20); err != nil {
		t.Errorf("a spool alone: %v", err)
	}
	room.Release()
	small.Abort()
	n.mustAdd(account, message(1<<20))
	c.wait("all room", func() bool {
		n.uploads.mu.Lock()
		defer n.uploads.mu.Unlock()
		return n.uploads.spooled == 0
	})
}

// TestSpoolLimitFollowsTheDisk: by default it is a tenth of the free space, up to a limit.
func TestSpoolLimitFollowsTheDisk(t *testing.T) {
	c := newTestCluster(t)
	n := c.nodes[0]
	for _, x := range []struct{ free, want int64 }{{1 << 40, maxSpoolBytes}, {10 << 30, 1 << 30}} {
		n.free.Store(x.free)
		if got, err := n.spoolLimit(); err != nil || got != x.want {
			t.Errorf("%d bytes free: %d, %v; want %d", x.free, got, err, x.want)
		}
	}
}
