package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/quorumail/quorumail/store"
)

// small makes segments small enough that tests have several.
func small(t testing.TB, fs vfs.FS) Config {
	return Config{Dir: "/data/blob", FS: fs, SegmentBytes: 32 << 10, LargeBytes: 16 << 10,
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

func openDisk(t testing.TB, c Config) *Disk {
	t.Helper()
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDisk(t testing.TB, d *Disk) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// sample is a body for tests inside the package.
type sample struct {
	id      store.BodyID
	raw     []byte
	encoded []byte
}

// makeSample makes an incompressible body, so that every byte of its container counts.
func makeSample(t testing.TB, seed byte, size int) sample {
	t.Helper()
	raw := make([]byte, size)
	x := uint64(seed)*2654435761 + 1
	for i := range raw {
		x = x*6364136223846793005 + 1442695040888963407
		raw[i] = byte(x >> 56)
	}
	return encodeSample(t, seed, raw)
}

func encodeSample(t testing.TB, seed byte, raw []byte) sample {
	t.Helper()
	e := NewEncoder(t.TempDir())
	if _, err := e.Write(raw); err != nil {
		t.Fatal(err)
	}
	encoded, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	defer encoded.Close()
	b, err := io.ReadAll(encoded.Open())
	if err != nil {
		t.Fatal(err)
	}
	return sample{encoded.ID([8]byte{seed}), raw, b}
}

func (s sample) put(d Store, sync bool) error {
	return d.Put(context.Background(), s.id, 1, bytes.NewReader(s.encoded), int64(len(s.encoded)), sync)
}

func (s sample) check(d Store) error {
	r, err := d.Open(s.id)
	if err != nil {
		return err
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := r.WriteTo(&got); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), s.raw) {
		return errors.New("wrong bytes were served")
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a file.
func flip(t testing.TB, fs vfs.FS, path string, offset int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	must(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, offset)
	must(t, err)
}

// place tells where a body is.
func place(t testing.TB, d *Disk, id store.BodyID) entry {
	t.Helper()
	e, err := lookup(d.index, id)
	must(t, err)
	return e
}

func TestReopenedStoreHasItsBodies(t *testing.T) {
	for name, rebuild := range map[string]bool{"with the index": false, "without the index": true} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			d := openDisk(t, small(t, fs))
			var live, dead []sample
			for i := range byte(30) {
				s := makeSample(t, i, 1000*int(i))
				must(t, s.put(d, i%3 == 0))
				if i%4 == 0 {
					must(t, d.Delete(s.id))
					dead = append(dead, s)
				} else {
					live = append(live, s)
				}
			}
			before := d.Stats()
			closeDisk(t, d)
			if rebuild {
				must(t, fs.RemoveAll("/data/blob/index"))
			}
			d = openDisk(t, small(t, fs))
			defer closeDisk(t, d)
			checkAll(t, d, live, dead)
			if after := d.Stats(); after.Bodies != before.Bodies || after.LiveBytes != before.LiveBytes || after.TotalBytes != before.TotalBytes {
				t.Errorf("stats %+v, before %+v", after, before)
			}
			checkIndex(t, d)
			s := makeSample(t, 200, 500)
			must(t, s.put(d, true))
			must(t, s.check(d))
		})
	}
}

func checkAll(t *testing.T, d *Disk, live, dead []sample) {
	t.Helper()
	for _, s := range live {
		if err := s.check(d); err != nil {
			t.Errorf("live body of %d bytes: %v", len(s.raw), err)
		}
	}
	for _, s := range dead {
		if err := s.check(d); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleted body of %d bytes: %v", len(s.raw), err)
		}
	}
}

// checkIndex compares the counters of the segments with what the index lists.
func checkIndex(t testing.TB, d *Disk) {
	t.Helper()
	live, bodies := map[uint64]int64{}, map[uint64]int64{}
	lower, upper := table(tableBody)
	must(t, walk(d.index, lower, upper, func(key, value []byte) error {
		e, err := decodeEntry(value)
		if err != nil {
			return err
		}
		live[e.at.segment] += total(e.length)
		bodies[e.at.segment]++
		id, err := d.index.Get(placeKey(e.at))
		if err != nil || !bytes.Equal(id, key[1:]) {
			t.Errorf("place of %x holds %x, %v", key[1:], id, err)
		}
		return nil
	}))
	tombs, victims, places := 0, 0, 0
	lower, upper = table(tableTomb)
	must(t, walk(d.index, lower, upper, func(key, value []byte) error {
		tombs++
		live[decodeLocation(key[1:]).segment] += total(tombstoneBytes)
		if _, err := d.index.Get(victimKey(decodeLocation(value), decodeLocation(key[1:]))); err != nil {
			t.Errorf("tombstone without its victim: %v", err)
		}
		return nil
	}))
	lower, upper = table(tableVictim)
	must(t, walk(d.index, lower, upper, func(_, _ []byte) error { victims++; return nil }))
	lower, upper = table(tablePlace)
	must(t, walk(d.index, lower, upper, func(_, _ []byte) error { places++; return nil }))
	if tombs != victims || int64(places) != d.Stats().Bodies {
		t.Errorf("%d tombstones, %d victims; %d places, %d bodies", tombs, victims, places, d.Stats().Bodies)
	}
	for number, s := range d.segments {
		if s.live != live[number] || s.bodies != bodies[number] {
			t.Errorf("segment %d counts %d bytes in %d bodies, the index lists %d in %d", number, s.live, s.bodies, live[number], bodies[number])
		}
		delete(live, number)
	}
	if len(live) > 0 {
		t.Errorf("the index lists segments that do not exist: %v", live)
	}
}

func TestLargeBodyHasItsOwnSegment(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	s := makeSample(t, 1, 3*FrameBytes)
	must(t, s.put(d, true))
	must(t, s.check(d))
	if e := place(t, d, s.id); d.segments[e.at.segment].flags&segmentLarge == 0 {
		t.Errorf("large body is in segment %+v", d.segments[e.at.segment])
	}
	must(t, d.Delete(s.id))
	must(t, d.Compact(context.Background()))
	if names, err := fs.List("/data/blob"); err != nil || strings.Contains(strings.Join(names, " "), segmentName(1)) {
		t.Errorf("after compaction: %v, %v", names, err)
	}
}

func TestNewestSegmentStays(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	must(t, makeSample(t, 1, 100).put(d, true)) // the head, which takes the tombstone
	s := makeSample(t, 2, 3*FrameBytes)
	must(t, s.put(d, true))
	at := place(t, d, s.id).at.segment
	must(t, d.Delete(s.id))
	must(t, d.Compact(context.Background()))
	if _, err := fs.Stat(d.segmentPath(at)); err != nil {
		t.Errorf("the newest segment was removed, and its number is free again: %v", err)
	}
	must(t, makeSample(t, 3, 3*FrameBytes).put(d, true))
	must(t, d.Compact(context.Background()))
	if _, err := fs.Stat(d.segmentPath(at)); !isGone(err) {
		t.Errorf("the empty segment is still there: %v", err)
	}
}

func TestBrokenUploadLeavesNothing(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	s := makeSample(t, 1, 2*FrameBytes)
	broken := errors.New("connection broke")
	r := io.MultiReader(bytes.NewReader(s.encoded[:len(s.encoded)/2]), failingReader{broken})
	if err := d.Put(context.Background(), s.id, 1, r, int64(len(s.encoded)), true); !errors.Is(err, broken) {
		t.Fatalf("Put: %v", err)
	}
	names, err := fs.List("/data/blob")
	must(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, segmentPrefix) {
			t.Errorf("left over: %s", name)
		}
	}
	must(t, s.put(d, true))
	must(t, s.check(d))
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// diskFaults lets operations on segment files fail while it is set.
type diskFaults struct {
	kind atomic.Int64 // errorfs.OpKind + 1; 0: none
	err  error
}

func (f *diskFaults) MaybeError(op errorfs.Op) error {
	if f.kind.Load() == int64(op.Kind)+1 && strings.Contains(op.Path, "seg-") {
		return f.err
	}
	return nil
}
func (f *diskFaults) String() string { return "segment faults" }

func TestFailedWritesAndFsyncsAreFatal(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{"write": errorfs.OpFileWriteAt, "fsync": errorfs.OpFileSyncData, "create": errorfs.OpOpen} {
		t.Run(name, func(t *testing.T) {
			faults := &diskFaults{err: errors.New("disk broke")}
			c := small(t, errorfs.Wrap(vfs.NewMem(), faults))
			var fatals atomic.Int32
			c.OnFatal = func(error) { fatals.Add(1) }
			d := openDisk(t, c)
			a, b := makeSample(t, 1, 20_000), makeSample(t, 2, 20_000)
			must(t, a.put(d, true))
			faults.kind.Store(int64(kind) + 1)
			if err := b.put(d, true); err == nil {
				t.Fatal("a Put on a broken disk was acknowledged")
			}
			faults.kind.Store(0)
			if err := b.put(d, true); !errors.Is(err, faults.err) {
				t.Errorf("later Put: %v", err)
			}
			if err := d.Sync(); !errors.Is(err, faults.err) {
				t.Errorf("later Sync: %v", err)
			}
			if fatals.Load() != 1 {
				t.Errorf("%d fatal reports, want 1", fatals.Load())
			}
			_ = d.Close()
		})
	}
}

func TestFullDiskRefusesAndGoesOn(t *testing.T) {
	for _, size := range []int{3000, 40_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fs := vfs.NewMem()
			faults := &diskFaults{err: &os.PathError{Op: "write", Err: syscall.ENOSPC}}
			d := openDisk(t, small(t, errorfs.Wrap(fs, faults)))
			a, b := makeSample(t, 1, size), makeSample(t, 2, size)
			must(t, a.put(d, true))
			faults.kind.Store(int64(errorfs.OpFileWriteAt) + 1)
			if err := b.put(d, true); !errors.Is(err, ErrNoSpace) || !errors.Is(err, store.ErrNoSpace) {
				t.Fatalf("Put on a full disk: %v", err)
			}
			must(t, a.check(d))
			faults.kind.Store(0)
			must(t, b.put(d, true))
			must(t, b.check(d))
			closeDisk(t, d)
			d = openDisk(t, small(t, fs))
			defer closeDisk(t, d)
			checkAll(t, d, []sample{a, b}, nil)
		})
	}
}

func putWith(ctx context.Context, d Store, s sample) error {
	return d.Put(ctx, s.id, 1, bytes.NewReader(s.encoded), int64(len(s.encoded)), true)
}
