package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// crashes is how many crashes a test goes through: 105, or 2,000 with QUORUMAIL_SOAK=1.
func crashes() int {
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		return 2000
	}
	return 105
}

// disaster is a file system on which something happens at the n-th change: a loss of power, of which it takes a picture, or an error
// from then on.
type disaster struct {
	mem  *vfs.MemFS
	cfg  vfs.CrashCloneCfg
	fail error // nil: a loss of power

	persisted, applied atomic.Uint64 // what is known to be durable, and what may have reached the disk

	mu       sync.Mutex
	open     bool // the node has started
	left     int
	after    *vfs.MemFS
	min, max uint64 // of the positions that the picture may show
}

func (d *disaster) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil && !d.open {
		return nil // an Open that fails half-way may panic in Pebble's goroutines: the process would end either way
	}
	d.left--
	switch {
	case d.left == 0 && d.fail == nil:
		d.min = d.persisted.Load()
		d.after = d.mem.CrashClone(d.cfg)
		d.max = d.applied.Load()
	case d.left <= 0 && d.fail != nil && !pebbleFolder.MatchString(op.Path):
		return fmt.Errorf("injected: %w", d.fail)
	}
	return nil
}

// pebbleFolder: Pebble panics when it cannot fsync its own folders, which would end this process as it should end a node's.
var pebbleFolder = regexp.MustCompile(`(kv-\d+|index)/?$|marker\.`)

func (d *disaster) String() string { return "disaster" }

func (d *disaster) happened() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left <= 0
}

// picture is the disk after it.
func (d *disaster) picture() *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.after == nil {
		d.min, d.max = d.persisted.Load(), d.applied.Load()
		d.after = d.mem.CrashClone(d.cfg)
	}
	return d.after
}

// crashBench is one node on a disk that fails, its log, which does not, and a node that never crashes.
type crashBench struct {
	t      *testing.T
	r      *rand.Rand
	story  *story
	log    []Entry
	ends   []int             // of the batches in log
	hashes map[uint64]string // of the state after each batch
	ref    *Machine
	bodies *blob.Memory // of ref

	m       *Machine
	blobs   *blob.Disk
	d       *disaster
	stopped chan struct{} // closed when the node called OnFatal
	applied int           // entries of the log that m has been given
}

var errStopped = errors.New("the node has stopped")

// call lets the node do something, unless it stops meanwhile. Then what it was doing is left where it is, as when a process ends.
func (c *crashBench) call(f func(*Machine, *blob.Disk) error) error {
	done := make(chan error, 1)
	m, blobs := c.m, c.blobs
	go func() { done <- f(m, blobs) }()
	select {
	case err := <-done:
		return err
	case <-c.stopped:
		return errStopped
	}
}

// grow makes the log longer; ref follows at once.
func (c *crashBench) grow() []Entry {
	var batch []Entry
	for range 1 + c.r.IntN(20) {
		batch = append(batch, c.story.next())
	}
	c.extend(batch)
	return batch
}

func (c *crashBench) extend(batch []Entry) {
	c.log = append(c.log, batch...)
	c.ends = append(c.ends, len(c.log))
	err := c.ref.Apply(batch)
	if err == nil {
		_, c.hashes[batch[len(batch)-1].Index], err = c.ref.Hash()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// open starts the node on the disk of the last disaster. It returns an error only if the next one comes meanwhile.
func (c *crashBench) open(fs *vfs.MemFS) error {
	stopped := make(chan struct{})
	var once sync.Once
	fatal := func(error) {
		once.Do(func() { close(stopped) })
		select {} // the end of the process
	}
	c.stopped, c.m, c.blobs = stopped, nil, nil
	broken := errorfs.Wrap(fs, c.d)
	var m *Machine
	var blobs *blob.Disk
	err := c.call(func(*Machine, *blob.Disk) (err error) {
		if blobs, err = blob.Open(blob.Config{Dir: "/data/blobs", FS: broken, SegmentBytes: 64 << 10, IndexMemTableBytes: 64 << 10, OnFatal: fatal}); err != nil {
			return err
		}
		if m, err = Open(Config{Dir: "/data/state", FS: broken, Blobs: blobs, Self: "a", OnFatal: fatal, memTableBytes: 32 << 10}); err != nil {
			return err
		}
		m.OnApplied(func(a Applied) { // as the replica does
			for _, id := range a.Dropped {
				_ = blobs.Delete(id)
			}
		})
		return nil
	})
	if err == nil {
		c.m, c.blobs = m, blobs
		c.d.mu.Lock()
		c.d.open = true
		c.d.mu.Unlock()
	}
	return err
}

// hash is that of the node's state, which only reads.
func (c *crashBench) hash() (index uint64, hash string, err error) {
	type answer struct {
		index uint64
		hash  string
	}
	told := make(chan answer, 1) // what is left where it is may still write
	err = c.call(func(m *Machine, _ *blob.Disk) error {
		i, h, err := m.Hash()
		told <- answer{i, h}
		return err
	})
	if err != nil {
		return 0, "", err
	}
	a := <-told
	return a.index, a.hash, nil
}

// recover does what a node does when it starts, and checks what it found.
func (c *crashBench) recover(minimum, maximum uint64) error {
	index, hash, err := c.hash()
	if err != nil {
		return err
	}
	if index < minimum || index > maximum {
		c.t.Errorf("the state is at %d, and was persisted at %d and applied up to %d", index, minimum, maximum)
	}
	if want := c.hashes[index]; index > 0 && hash != want {
		c.t.Errorf("the state at %d is not the one that it was", index)
	}
	commands := map[uint64][]byte{}
	c.applied = 0
	for i, e := range c.log {
		commands[e.Index] = e.Command
		if e.Index <= index {
			c.applied = i + 1
		}
	}
	if err := c.call(func(m *Machine, _ *blob.Disk) error {
		unsure, err := m.UnsureInline()
		for _, u := range unsure {
			err = errors.Join(err, m.PutInlineAgain(commands[u.Index]))
		}
		return err
	}); err != nil {
		return err
	}
	if c.m.NeedsAllBodies() {
		if err := c.fetchAll(); err != nil {
			return err
		}
	}
	for c.applied < len(c.log) {
		if err := c.follow(); err != nil {
			return err
		}
	}
	return c.whole()
}

// follow applies what is in the log and was not applied, or a part of it.
func (c *crashBench) follow() error {
	ends := c.ends[sort.SearchInts(c.ends, c.applied+1):]
	batch := c.log[c.applied:ends[c.r.IntN(len(ends))]]
	c.d.applied.Store(batch[len(batch)-1].Index)
	if err := c.call(func(m *Machine, _ *blob.Disk) error { return m.Apply(batch) }); err != nil {
		return err
	}
	c.applied += len(batch)
	return nil
}

// whole compares the node that crashed with the one that did not: the state, and every inline body that it refers to.
func (c *crashBench) whole() error {
	index, hash, err := c.hash()
	if err != nil {
		return err
	}
	if hash != c.hashes[index] || index != c.log[len(c.log)-1].Index {
		c.t.Errorf("after the log the state at %d is another one", index)
	}
	return c.call(func(m *Machine, blobs *blob.Disk) error {
		if err := m.Check(); err != nil {
			return err
		}
		v := m.View()
		defer v.Close()
		return v.EachBody(func(id store.BodyID, email store.EmailID) error {
			e, err := v.Email(email)
			if err == nil && e.Inline {
				err = blobs.Verify(id)
			}
			if err != nil {
				return fmt.Errorf("the body of %v: %w", e, err)
			}
			return nil
		})
	})
}

// fetchAll brings the bodies of a checkpoint.
func (c *crashBench) fetchAll() error {
	return c.call(func(m *Machine, blobs *blob.Disk) error {
		generation := m.Generation()
		v := m.View()
		defer v.Close()
		err := v.EachBody(func(id store.BodyID, _ store.EmailID) error {
			if has, err := blobs.Has(id); err != nil || has {
				return err
			}
			encoded, size, err := c.bodies.OpenEncoded(id)
			if errors.Is(err, blob.ErrNotFound) {
				return nil // beside the log, or swept since
			}
			if err != nil {
				return err
			}
			return blobs.Put(context.Background(), id, 1, encoded, size, true)
		})
		if err == nil {
			err = blobs.Sync()
		}
		if err != nil {
			return err // of a full disk, too: then the bodies are still needed
		}
		return m.ClearNeedsAllBodies(generation)
	})
}

// step does one thing. An error is the disaster's.
func (c *crashBench) step() error {
	switch n := c.r.IntN(20); {
	case n < 14:
		c.grow()
		return c.follow()
	case n < 17:
		index := c.m.Position().Index
		if err := c.call(func(m *Machine, _ *blob.Disk) error { return m.Persist() }); err != nil {
			return err
		}
		c.d.persisted.Store(index)
		return nil
	case n < 18:
		return c.restore()
	}
	return c.call(func(_ *Machine, blobs *blob.Disk) error { return blobs.Sync() })
}

// restore takes in a checkpoint of a node that is ahead.
func (c *crashBench) restore() error {
	for range c.r.IntN(3) {
		c.grow()
	}
	pos, size, r, err := c.ref.Checkpoint()
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	if c.r.IntN(4) == 0 { // the stream breaks: nothing may change
		before, half := c.m.Position().Index, io.LimitReader(r, c.r.Int64N(size))
		err := c.call(func(m *Machine, _ *blob.Disk) error {
			if m.Restore(half) == nil {
				return errors.New("half a checkpoint was taken in")
			}
			return nil
		})
		if c.m.Position().Index != before {
			c.t.Error("half a checkpoint moved the position")
		}
		return err
	}
	c.d.applied.Store(pos.Index)
	if err := c.call(func(m *Machine, _ *blob.Disk) error { return m.Restore(r) }); err != nil {
		return err
	}
	c.d.persisted.Store(pos.Index)
	c.applied = len(c.log)
	return c.fetchAll()
}

// close gives up what is open; a node on a disk that fails is left as it is.
func (c *crashBench) close() {
	if c.m == nil || c.d.fail != nil {
		return
	}
	_ = c.call(func(m *Machine, blobs *blob.Disk) error { return errors.Join(m.Close(), blobs.Close()) })
}

// Whatever crashes and whenever: the state is one that was applied, not older than what was persisted; with the rest of the log it is the
// state of a node that never crashed, and it refers to no inline body that is not there. A failing disk stops the node instead of
// letting it go on.
func TestCrashesLeaveAStateThatWas(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for done := 0; done < crashes() && !t.Failed(); done += 15 {
		crashOften(t, seed+uint64(done), 15)
	}
}

// crashOften lets one node crash again and again.
func crashOften(t *testing.T, seed uint64, rounds int) {
	c := &crashBench{t: t, r: rand.New(rand.NewPCG(seed, 1)), story: newStory(t, seed), hashes: map[uint64]string{}, bodies: blob.NewMemory()}
	var err error
	if c.ref, err = Open(Config{Blobs: c.bodies, Self: "a"}); err != nil {
		t.Fatal(err)
	}
	c.extend(c.story.begin())
	fs := vfs.NewCrashableMem()
	minimum, maximum := uint64(0), uint64(0)
	for round := range rounds {
		c.d = &disaster{mem: fs, left: 1 + c.r.IntN(120), cfg: vfs.CrashCloneCfg{UnsyncedDataPercent: c.r.IntN(101), RNG: rand.New(rand.NewPCG(seed, uint64(round)+2))}}
		switch c.r.IntN(4) {
		case 0:
			c.d.fail = syscall.EIO
		case 1:
			c.d.fail = syscall.ENOSPC
		}
		c.d.persisted.Store(minimum)
		c.d.applied.Store(maximum)
		err := c.open(fs)
		if err == nil {
			err = c.recover(minimum, maximum)
		}
		for err == nil && !c.d.happened() && !t.Failed() {
			err = c.step()
		}
		if err != nil && !c.d.happened() {
			t.Fatalf("round %d of seed %d: %v", round, seed, err)
		}
		if c.d.fail != nil && err == nil && !t.Failed() {
			c.mustStop(round)
		}
		fs = c.d.picture()
		minimum, maximum = c.d.min, c.d.max
		c.close()
		if t.Failed() {
			t.Fatalf("round %d, after %v", round, c.d.fail)
		}
	}
}

// mustStop: a node whose disk fails does not get through a Persist.
func (c *crashBench) mustStop(round int) {
	c.grow()
	err := c.follow()
	if err == nil {
		err = c.call(func(m *Machine, _ *blob.Disk) error { return m.Persist() })
	}
	if err == nil {
		c.t.Errorf("round %d: the disk failed with %v, and the node went on", round, c.d.fail)
	}
}
