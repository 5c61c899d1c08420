package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/quorumail/quorumail/store"
)

// crashes is how many crashes a test goes through: 100, or 1,000 with QUORUMAIL_SOAK=1.
func crashes() int {
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		return 1000
	}
	return 100
}

// fate is what is known about a body.
type fate struct {
	sample
	mustLive bool // acknowledged, and no deletion has begun
	mustDie  bool // deleted and synced, and never put again
}

// crasher is a file system that takes a picture of itself, as a loss of power would leave it, before the n-th change to it; with
// what was known about the bodies at that moment.
type crasher struct {
	mem *vfs.MemFS
	cfg vfs.CrashCloneCfg

	mu    sync.Mutex
	left  int
	after *vfs.MemFS
	known map[byte]fate
	then  map[byte]fate
}

func (c *crasher) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.after, c.then = c.mem.CrashClone(c.cfg), maps.Clone(c.known)
	}
	return nil
}

func (c *crasher) String() string { return "crasher" }

// crashed tells whether the picture was taken.
func (c *crasher) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after != nil
}

func (c *crasher) set(key byte, f fate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[key] = f
}

func (c *crasher) get(key byte) fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[key]
}

// allSynced notes that a Sync has made everything before it durable.
func (c *crasher) allSynced(deleted []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range deleted {
		f := c.known[key]
		f.mustDie = true
		c.known[key] = f
	}
}

func TestCrashesLoseNothingAcknowledged(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	known := map[byte]fate{}
	for i := range byte(24) {
		known[i] = fate{sample: makeSample(t, i, []int{10, 1000, 6000, 20_000}[i%4])}
	}
	for round := range crashes() {
		c := &crasher{mem: fs, known: known, left: 1 + rng.IntN(400), cfg: vfs.CrashCloneCfg{
			UnsyncedDataPercent: rng.IntN(101), RNG: rand.New(rand.NewPCG(seed, uint64(round)+2))}}
		if rng.IntN(10) == 0 {
			must(t, fs.RemoveAll("/data/blob/index"))
		}
		config := small(t, errorfs.Wrap(fs, c))
		d, err := Open(config)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		compare(t, round, d, c)
		for !c.crashed() {
			randomStep(t, rng, d, c)
		}
		_ = d.Close()
		fs, known = c.after, c.then
		if t.Failed() {
			t.FailNow()
		}
	}
}

// compare checks a store after a crash, and takes what it found as the new truth: Open has made it durable. A rebuilt index may bring
// back bodies that were deleted (see DESIGN.md).
func compare(t *testing.T, round int, d *Disk, c *crasher) {
	t.Helper()
	rebuilt := d.Stats().Rebuilt
	checkIndex(t, d)
	for key := range byte(24) {
		f := c.get(key)
		err := f.check(d)
		switch {
		case err == nil && f.mustDie && !rebuilt:
			t.Errorf("round %d: deleted body %d is back", round, key)
		case err != nil && !errors.Is(err, ErrNotFound):
			t.Errorf("round %d: body %d: %v", round, key, err)
		case err != nil && f.mustLive:
			t.Errorf("round %d: acknowledged body %d is lost", round, key)
		}
		f.mustLive = err == nil
		f.mustDie = f.mustDie && err != nil
		c.set(key, f)
	}
}

// randomStep does one thing to a store.
func randomStep(t *testing.T, rng *rand.Rand, d *Disk, c *crasher) {
	t.Helper()
	key := byte(rng.IntN(24))
	f := c.get(key)
	switch n := rng.IntN(20); {
	case n < 9:
		f.mustDie = false
		c.set(key, f)
		sync := rng.IntN(2) == 0
		must(t, f.put(d, sync))
		if sync {
			f.mustLive = true
			c.set(key, f)
		}
	case n < 15:
		f.mustLive = false
		c.set(key, f)
		must(t, d.Delete(f.id))
		if rng.IntN(2) == 0 {
			must(t, d.Sync())
			c.allSynced([]byte{key})
		}
	case n < 17:
		must(t, d.Sync())
	default:
		must(t, d.Compact(context.Background()))
	}
}

// TestCompactionSurvivesACrashAtEachStep crashes one and the same compaction before each change that it makes on the disk.
func TestCompactionSurvivesACrashAtEachStep(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for step := 1; ; step++ {
		fs := vfs.NewCrashableMem()
		d := openDisk(t, small(t, fs))
		var live, dead []sample
		for i := range byte(24) {
			s := makeSample(t, i, 4000)
			must(t, s.put(d, false))
			if i%5 == 0 {
				live = append(live, s)
			} else {
				dead = append(dead, s)
			}
		}
		for _, s := range dead {
			must(t, d.Delete(s.id))
		}
		closeDisk(t, d)

		c := &crasher{mem: fs, left: -1, cfg: vfs.CrashCloneCfg{UnsyncedDataPercent: step * 37 % 101, RNG: rand.New(rand.NewPCG(seed, uint64(step)))}}
		d = openDisk(t, small(t, errorfs.Wrap(fs, c)))
		c.mu.Lock()
		c.left = step
		c.mu.Unlock()
		must(t, d.Compact(context.Background()))
		checkAll(t, d, live, dead)
		checkIndex(t, d)
		compacted := d.Stats().Compacted
		done := !c.crashed()
		closeDisk(t, d)
		if done {
			if compacted == 0 || step < 10 {
				t.Errorf("the compaction of %d segments had %d steps", compacted, step)
			}
			return
		}
		for _, rebuild := range []bool{false, true} {
			if rebuild {
				must(t, c.after.RemoveAll("/data/blob/index"))
			}
			d = openDisk(t, small(t, c.after))
			checkAll(t, d, live, dead)
			checkIndex(t, d)
			must(t, d.Compact(context.Background()))
			checkAll(t, d, live, dead)
			closeDisk(t, d)
		}
		if t.Failed() {
			t.Fatalf("crash before step %d", step)
		}
	}
}

// TestTornTails cuts a segment at each length: all records before the cut are found, none behind it.
func TestTornTails(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	var samples []sample
	var ends []int64
	for i := range byte(4) {
		s := makeSample(t, i, 60)
		must(t, s.put(d, true))
		samples = append(samples, s)
		e := place(t, d, s.id)
		ends = append(ends, e.at.offset+total(e.length))
	}
	closeDisk(t, d)
	path := "/data/blob/" + segmentName(1)
	whole, err := fs.UnsafeGetFileDataBuffer(path)
	must(t, err)
	whole = slices.Clone(whole)
	for n := recordsBegin; n < len(whole); n += 3 {
		for _, tail := range []string{"nothing", "zeros", "noise"} {
			after := vfs.NewMem()
			must(t, after.MkdirAll("/data/blob", 0o700))
			content := slices.Clone(whole[:n])
			for i := range 200 {
				switch tail {
				case "zeros":
					content = append(content, 0)
				case "noise":
					content = append(content, byte(i*i)^byte(n))
				}
			}
			f, err := after.Create(path, vfs.WriteCategoryUnspecified)
			must(t, err)
			_, err = f.Write(content)
			must(t, err)
			must(t, f.Close())
			reopenTorn(t, after, samples, ends, int64(n))
			if t.Failed() {
				t.Fatalf("cut to %d bytes with %s behind it", n, tail)
			}
		}
	}
}

func reopenTorn(t *testing.T, fs vfs.FS, samples []sample, ends []int64, n int64) {
	t.Helper()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	for i, s := range samples {
		err := s.check(d)
		if ends[i] <= n && err != nil || ends[i] > n && !errors.Is(err, ErrNotFound) {
			t.Errorf("body %d, which ends at %d: %v", i, ends[i], err)
		}
	}
	extra := makeSample(t, 99, 50)
	must(t, extra.put(d, true))
	must(t, extra.check(d))
}

// TestFlippedBitsAreFound flips a bit in each byte of a segment: with the index and without, wrong bytes are never served, the other
// bodies stay, and a scrub names the damaged one.
func TestFlippedBitsAreFound(t *testing.T) {
	fs := vfs.NewCrashableMem() // for its copies
	d := openDisk(t, small(t, fs))
	var samples []sample
	var entries []entry
	for i := range byte(4) {
		s := makeSample(t, i, 50)
		must(t, s.put(d, true))
		samples = append(samples, s)
		entries = append(entries, place(t, d, s.id))
	}
	gone := makeSample(t, 50, 50)
	must(t, gone.put(d, true))
	must(t, d.Delete(gone.id))
	closeDisk(t, d)
	path := "/data/blob/" + segmentName(1)
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	last := entries[len(entries)-1]
	end := last.at.offset + total(last.length)
	step := int64(3)
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		step = 1
	}
	for at := int64(0); at < end; at += step {
		for _, rebuild := range []bool{false, true} {
			after := fs.CrashClone(all)
			flip(t, after, path, at)
			if rebuild {
				must(t, after.RemoveAll("/data/blob/index"))
			}
			owner := slices.IndexFunc(entries, func(e entry) bool { return at >= e.at.offset && at < e.at.offset+total(e.length) })
			checkFlipped(t, after, samples, owner, rebuild)
			if t.Failed() {
				t.Fatalf("bit flipped in byte %d, of body %d; rebuild: %v", at, owner, rebuild)
			}
		}
	}
}

func checkFlipped(t *testing.T, fs vfs.FS, samples []sample, owner int, rebuild bool) {
	t.Helper()
	d := openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	bad := map[string]bool{}
	must(t, d.Scrub(context.Background(), 0, func(id store.BodyID, _ error) { bad[id.String()] = true }))
	for i, s := range samples {
		err := s.check(d)
		switch {
		case i != owner && err != nil:
			t.Errorf("untouched body %d: %v", i, err)
		case i == owner && err == nil:
			t.Errorf("damaged body %d is served", i)
		case i == owner && !rebuild && (!bad[s.id.String()] || !errors.Is(err, ErrCorrupt)):
			t.Errorf("damaged body %d was not found by the scrub: %v, %v", i, bad, err)
		}
	}
	if owner >= 0 {
		must(t, samples[owner].put(d, true))
		must(t, samples[owner].check(d))
	}
}

func TestDamagedIndexIsRebuilt(t *testing.T) {
	for name, damage := range map[string]func(*vfs.MemFS) error{
		"marked": func(fs *vfs.MemFS) error {
			f, err := fs.Create("/data/blob/"+badIndex, vfs.WriteCategoryUnspecified)
			return errors.Join(err, f.Close())
		},
		"no CURRENT":  func(fs *vfs.MemFS) error { return removeLike(fs, "marker.") },
		"no MANIFEST": func(fs *vfs.MemFS) error { return removeLike(fs, "MANIFEST") },
		"no log":      func(fs *vfs.MemFS) error { return removeLike(fs, "0") },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			d := openDisk(t, small(t, fs))
			var live []sample
			for i := range byte(10) {
				live = append(live, makeSample(t, i, 5000))
				must(t, live[i].put(d, true))
			}
			dead := live[:3]
			for _, s := range dead {
				must(t, d.Delete(s.id))
			}
			closeDisk(t, d)
			must(t, damage(fs))
			d = openDisk(t, small(t, fs))
			defer closeDisk(t, d)
			checkAll(t, d, live[3:], dead)
			checkIndex(t, d)
			if _, err := fs.Stat("/data/blob/" + badIndex); !isGone(err) {
				t.Errorf("the mark of the damaged index is still there: %v", err)
			}
		})
	}
}

func removeLike(fs *vfs.MemFS, prefix string) error {
	names, err := fs.List("/data/blob/index")
	if err != nil {
		return err
	}
	for _, name := range names {
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			if err := fs.Remove("/data/blob/index/" + name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	return nil
}

// TestMessageCannotPoseAsRecord stores a message that holds the bytes of a whole record of its own segment, and loses the header of the
// record around it: a scan must not take the inner one for real.
func TestMessageCannotPoseAsRecord(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	inner := makeSample(t, 1, 300)
	must(t, inner.put(d, true))
	at := place(t, d, inner.id)
	path := d.segmentPath(at.at.segment)
	content, err := fs.UnsafeGetFileDataBuffer(path)
	must(t, err)
	raw := slices.Clone(content[at.at.offset : at.at.offset+total(at.length)])
	h := header{rawBytes: int64(len(raw)), digest: sha256.Sum256(raw),
		frames: []frame{{stored: len(raw), raw: true, crc: crc32.Checksum(raw, castagnoli)}}} // as a sender may bring it about
	outer := sample{store.NewBodyID(h.digest, [8]byte{2}), raw, append(h.encode(), raw...)}
	must(t, outer.put(d, true))
	around := place(t, d, outer.id)
	closeDisk(t, d)
	flip(t, fs, path, around.at.offset+10)
	must(t, fs.RemoveAll("/data/blob/index"))
	d = openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	if now := place(t, d, inner.id); now != at {
		t.Errorf("the body is now at %+v, was at %+v", now, at)
	}
	checkAll(t, d, []sample{inner}, []sample{outer})
}

// A crash can leave a segment's name and the index's knowledge of it, and none of its bytes: then its bodies are absent, not corrupt.
func TestSegmentWithoutItsBytesIsForgotten(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	first := makeSample(t, 1, 300)
	must(t, first.put(d, false))
	path := d.segmentPath(place(t, d, first.id).at.segment)
	must(t, d.index.Close()) // the index is kept, as of before any fsync of the segment
	d.index = nil
	must(t, d.close())
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified) // empty
	must(t, err)
	must(t, f.Close())

	d = openDisk(t, small(t, fs))
	has, err := d.Has(first.id)
	if err != nil || has {
		t.Errorf("the body is said to be there: %v, %v", has, err)
	}
	checkIndex(t, d)
	must(t, first.put(d, true))
	checkAll(t, d, []sample{first}, nil)
	closeDisk(t, d)
	d = openDisk(t, small(t, fs))
	defer closeDisk(t, d)
	checkAll(t, d, []sample{first}, nil)
}
