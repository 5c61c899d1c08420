package blob

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// slowSync holds each fsync of a segment until it may go on.
type slowSync struct{ wait func() }

func (s *slowSync) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, "seg-") {
		s.wait()
	}
	return nil
}
func (s *slowSync) String() string { return "slow fsync" }

func TestConcurrentPutsShareFsyncs(t *testing.T) {
	const puts = 64
	slow := &slowSync{wait: func() {}}
	c := small(t, errorfs.Wrap(vfs.NewMem(), slow))
	c.SegmentBytes = 1 << 20
	d := openDisk(t, c)
	defer closeDisk(t, d)
	// The first fsync lasts until all bodies are appended, as a slow disk's would.
	slow.wait = func() {
		for d.AppendedPos() < puts {
			runtime.Gosched()
		}
	}
	var group sync.WaitGroup
	for i := range byte(puts) {
		s := makeSample(t, i, 1000)
		group.Go(func() {
			if err := s.put(d, true); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := d.Stats().Fsyncs; n > 2 {
		t.Errorf("%d fsyncs for %d concurrent Puts, want at most 2", n, puts)
	}
	if d.SyncedPos() != puts {
		t.Errorf("synced up to %d, want %d", d.SyncedPos(), puts)
	}
}

func TestCancelledPutDoesNotWaitForTheFsync(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := &slowSync{wait: func() {}}
	d := openDisk(t, small(t, errorfs.Wrap(vfs.NewMem(), slow)))
	defer closeDisk(t, d)
	slow.wait = func() { once.Do(func() { close(entered) }); <-release }
	first := make(chan error, 1)
	a, b := makeSample(t, 1, 100), makeSample(t, 2, 100)
	go func() { first <- a.put(d, true) }()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for d.AppendedPos() < 2 {
			runtime.Gosched()
		}
		cancel()
	}()
	if err := putWith(ctx, d, b); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v, want the context's error", err)
	}
	close(release)
	must(t, <-first)
	must(t, d.Sync())
	must(t, b.check(d))
}

// TestAcknowledgedIsOnTheDisk looks at the disk after each acknowledgement, as a crash would leave it.
func TestAcknowledgedIsOnTheDisk(t *testing.T) {
	fs := vfs.NewCrashableMem()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	for i, size := range []int{10, 3000, 40_000, 10, 20_000, 15_000, 15_000} {
		s := makeSample(t, byte(i), size)
		must(t, s.put(d, true))
		after := openDisk(t, small(t, fs.CrashClone(vfs.CrashCloneCfg{})))
		if err := s.check(after); err != nil {
			t.Errorf("body %d: %v", i, err)
		}
		closeDisk(t, after)
	}
}

func TestOneProcessOwnsTheFolder(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	if other, err := Open(small(t, fs)); err == nil {
		t.Error("the folder was opened twice")
		closeDisk(t, other)
	}
	closeDisk(t, d)
	closeDisk(t, openDisk(t, small(t, fs)))
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Dir: "x", BufferBytes: 1, LargeBytes: 2}, {Dir: "x", SegmentBytes: -1}} {
		c.FS = vfs.NewMem()
		if _, err := Open(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestCompactionGivesSpaceBack(t *testing.T) {
	d := openDisk(t, small(t, vfs.NewMem()))
	defer closeDisk(t, d)
	var live []sample
	for i := range 200 {
		s := encodeSample(t, byte(i), makeSample(t, byte(i), 3000).raw)
		must(t, s.put(d, false))
		if i%10 == 0 {
			live = append(live, s)
		} else {
			must(t, d.Delete(s.id))
		}
	}
	before := d.Stats()
	for range 3 {
		must(t, d.Compact(context.Background()))
	}
	after := d.Stats()
	if after.TotalBytes > 3*after.LiveBytes+2*d.config.SegmentBytes || after.TotalBytes > before.TotalBytes/3 {
		t.Errorf("%d bytes for %d live ones; %d before", after.TotalBytes, after.LiveBytes, before.TotalBytes)
	}
	checkAll(t, d, live, nil)
	checkIndex(t, d)
}

func TestCorruptBodyPinsItsSegment(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	bad := makeSample(t, 0, 3000)
	must(t, bad.put(d, true))
	where := place(t, d, bad.id)
	for i := range byte(30) {
		s := makeSample(t, i+1, 3000)
		must(t, s.put(d, true))
		must(t, d.Delete(s.id))
	}
	flip(t, fs, d.segmentPath(where.at.segment), where.at.offset+500)
	must(t, d.Compact(context.Background()))
	if _, err := fs.Stat(d.segmentPath(where.at.segment)); err != nil {
		t.Fatalf("the only copy of a corrupt body was removed: %v", err)
	}
	must(t, bad.put(d, true))
	must(t, d.Compact(context.Background()))
	if _, err := fs.Stat(d.segmentPath(where.at.segment)); !isGone(err) {
		t.Errorf("the segment is still there after the repair: %v", err)
	}
	must(t, bad.check(d))
}

func TestUnreadableSegmentIsPutAside(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	s := makeSample(t, 1, 3000)
	must(t, s.put(d, true))
	closeDisk(t, d)
	must(t, fs.RemoveAll("/data/blob/index"))
	for _, at := range []int64{3, segmentHeaderBytes + 3} {
		flip(t, fs, "/data/blob/"+segmentName(1), at)
	}
	d = openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	if err := s.check(d); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := fs.Stat(fmt.Sprintf("/data/blob/%s%016d", lostPrefix, 1)); err != nil {
		t.Errorf("the file was not kept: %v", err)
	}
	must(t, s.put(d, true))
	must(t, s.check(d))
}

func TestMissingSegmentIsNoticed(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	s := makeSample(t, 1, 3000)
	must(t, s.put(d, true))
	closeDisk(t, d)
	must(t, fs.Remove("/data/blob/"+segmentName(1)))
	d = openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	if has, err := d.Has(s.id); has || err != nil {
		t.Errorf("Has = %v, %v", has, err)
	}
	checkIndex(t, d)
	must(t, s.put(d, true))
	must(t, s.check(d))
}
