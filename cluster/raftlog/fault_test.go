package raftlog

import (
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

var errDisk = errors.New("the disk is broken")

// faulty fails or blocks the writes of a store that has no file system of ours under it.
type faulty struct {
	entryStore
	write func() error
}

func (f faulty) StoreLogs(e []*raft.Log) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.entryStore.StoreLogs(e)
}

func (f faulty) DeleteRange(a, b uint64) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.entryStore.DeleteRange(a, b)
}

// writes are the ways to write a log of ten entries.
var writes = map[string]func(l *Log) error{
	"StoreLogs":      func(l *Log) error { return l.StoreLogs(entries(11, 12)) },
	"StoreLog":       func(l *Log) error { return l.StoreLog(entry(11)) },
	"truncate begin": func(l *Log) error { return l.DeleteRange(1, 3) },
	"truncate end":   func(l *Log) error { return l.DeleteRange(8, 10) },
	"Set":            func(l *Log) error { return l.Set([]byte("LastVoteCand"), []byte("n1")) },
	"SetUint64":      func(l *Log) error { return l.SetUint64([]byte("CurrentTerm"), 3) },
}

// A write that fails ends the process, and nothing is done after it.
func TestFailedWriteIsFatal(t *testing.T) {
	eachKind(t, func(t *testing.T, cfg Config) {
		for name, write := range writes {
			t.Run(name, func(t *testing.T) {
				cfg := cfg
				cfg.Dir += strings.ReplaceAll(name, " ", "")
				var broken atomic.Bool
				l, f := withFaults(t, cfg, func() error {
					if broken.Load() {
						return errDisk
					}
					return nil
				})
				broken.Store(true)
				if err := write(l); !errors.Is(err, errDisk) {
					t.Errorf("a failed write says %v", err)
				}
				broken.Store(false)
				if got := f.all(); len(got) != 1 || !errors.Is(got[0], errDisk) {
					t.Errorf("fatal: %v", got)
				}
				for name, other := range writes {
					if err := other(l); !errors.Is(err, errDisk) {
						t.Errorf("%s after a failed write says %v", name, err)
					}
				}
				if err := l.GetLog(5, &raft.Log{}); !errors.Is(err, errDisk) {
					t.Errorf("a read after a failed write says %v", err)
				}
			})
		}
	})
}

// withFaults opens a log of ten entries of which every write asks fault first.
func withFaults(t *testing.T, cfg Config, fault func() error) (*Log, *fatals) {
	t.Helper()
	var f fatals
	cfg.OnFatal = f.add
	under := cfg.FS
	if under == nil {
		under = vfs.Default
	}
	cfg.FS = errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return fault()
		}
		return nil
	}))
	l := open(t, cfg)
	if cfg.Kind == "bolt" {
		l.store = faulty{l.store, fault}
	}
	fill(t, l, 1, 10)
	return l, &f
}

// A write that does not come back ends the process, also when it comes back later.
func TestHungWriteIsFatal(t *testing.T) {
	for _, kind := range []string{"wal", "bolt"} {
		for name, write := range writes {
			t.Run(kind+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					cfg := Config{Dir: dir, Kind: kind, Hang: 3 * time.Second}
					if kind == "wal" {
						cfg.FS = vfs.NewMem()
					}
					var hang atomic.Pointer[chan struct{}]
					l, f := withFaults(t, cfg, func() error {
						if c := hang.Load(); c != nil {
							<-*c
						}
						return nil
					})
					block := make(chan struct{})
					hang.Store(&block)
					done := make(chan error, 1)
					go func() { done <- write(l) }()
					time.Sleep(2900 * time.Millisecond) // the bubble's clock
					if len(f.all()) != 0 {
						t.Errorf("too early: %v", f.all())
					}
					time.Sleep(time.Second) // the bubble's clock
					if got := f.all(); len(got) != 1 || !strings.Contains(got[0].Error(), "hangs") {
						t.Errorf("fatal: %v", got)
					}
					close(block)
					if err := <-done; err == nil {
						t.Error("a write that hung is acknowledged")
					}
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// Slow is not hung: each write begins anew.
func TestSlowWritesAreNotFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := withFaults(t, Config{Dir: "raft", FS: vfs.NewMem(), Hang: time.Minute}, func() error {
			time.Sleep(2 * time.Second) // the bubble's clock: a slow disk
			return nil
		})
		fill(t, l, 11, 60)
		if len(f.all()) != 0 {
			t.Error(f.all())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The names of new files must last, as their bytes do: bbolt leaves that to others.
func TestFoldersAreSynced(t *testing.T) {
	onDisk(t, func(t *testing.T, cfg Config) {
		var mu sync.Mutex
		synced := map[string]bool{}
		cfg.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSync {
				mu.Lock()
				defer mu.Unlock()
				synced[op.Path] = true
			}
			return nil
		}))
		fill(t, open(t, cfg), 1, 3)
		for _, dir := range []string{cfg.Dir, cfg.Dir + "/" + cfg.Kind, cfg.Dir[:strings.LastIndexByte(cfg.Dir, '/')]} {
			if !synced[dir] {
				t.Errorf("%s was not synced, only %v", dir, synced)
			}
		}
	})
}

// A process was killed between its write and its fsync: what the next one can read must not be forgotten by a loss of power later.
func TestReadableEntriesAreDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var f fatals
	var broken atomic.Bool
	cfg := Config{Dir: "raft", OnFatal: f.add}
	cfg.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileSync {
			return errDisk
		}
		return nil
	}))
	l := open(t, cfg)
	fill(t, l, 1, 10)
	broken.Store(true)
	if err := l.StoreLogs(entries(11, 20)); err == nil {
		t.Fatal("the fsync did not fail")
	}
	broken.Store(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.OnFatal = nil
	cfg.FS = mem
	l = open(t, cfg)
	expect(t, l, 1, 20)
	cfg.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	expect(t, open(t, cfg), 1, 20)
}

// crashRun writes a log until the power goes, and remembers what was acknowledged.
type crashRun struct {
	rng         *rand.Rand
	first, last uint64 // acknowledged bounds, 0 for an empty log
	tryFirst    uint64 // bounds if the write under way was done
	tryLast     uint64
	term        uint64
	tryTerm     uint64
}

func (r *crashRun) step(l *Log) error {
	r.tryFirst, r.tryLast, r.tryTerm = r.first, r.last, r.term
	var err error
	switch n := r.last - r.first; {
	case r.rng.IntN(8) == 0:
		r.tryTerm++
		err = l.SetUint64([]byte("CurrentTerm"), r.tryTerm)
	case r.last > 0 && r.rng.IntN(12) == 0:
		err = r.truncate(l, n)
	default:
		from := r.last + 1
		r.tryLast = from + r.rng.Uint64N(6)
		if r.first == 0 {
			r.tryFirst = from
		}
		err = l.StoreLogs(entries(from, r.tryLast))
	}
	if err == nil {
		r.first, r.last, r.term = r.tryFirst, r.tryLast, r.tryTerm
	}
	return err
}

func (r *crashRun) truncate(l *Log, n uint64) error {
	switch cut := r.rng.Uint64N(n + 1); r.rng.IntN(3) {
	case 0: // the beginning
		r.tryFirst = r.first + cut
		return l.DeleteRange(r.first, r.tryFirst-1)
	case 1: // the end
		r.tryLast = r.last - cut
		return l.DeleteRange(r.tryLast+1, r.last)
	default:
		r.tryFirst, r.tryLast = 0, 0
		return l.Reset()
	}
}

// check looks at the log after the crash: all of what was acknowledged, some of what was under way, nothing else.
func (r *crashRun) check(t *testing.T, l *Log) {
	t.Helper()
	first, last, err := l.bounds()
	if err != nil {
		t.Fatal(err)
	}
	between := func(x, a, b uint64) bool { return min(a, b) <= x && x <= max(a, b) }
	if !between(first, r.first, r.tryFirst) && first != 0 || !between(last, r.last, r.tryLast) || first == 0 && r.first != 0 && r.tryFirst != 0 {
		t.Fatalf("the log goes from %d to %d; acknowledged were %d to %d, under way %d to %d", first, last, r.first, r.last, r.tryFirst, r.tryLast)
	}
	expect(t, l, first, last)
	term, err := l.GetUint64([]byte("CurrentTerm"))
	if err != nil || term != r.term && term != r.tryTerm {
		t.Fatalf("term %d, %v; acknowledged was %d", term, err, r.term)
	}
	r.first, r.last, r.term = first, last, term
}

// The power goes at any write of the log; what was not synced is lost, in part or whole. Everything acknowledged is there afterwards, and
// the node starts.
func TestCrashesForgetNothing(t *testing.T) {
	crashes := 150
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		crashes = 20000
	}
	rng := seeded(t)
	mem := vfs.NewCrashableMem()
	run := &crashRun{rng: rng}
	for n := range crashes {
		var after *vfs.MemFS
		left := rng.IntN(60)
		lost := rand.New(rand.NewPCG(rng.Uint64(), 0)) // raft-wal writes in a goroutine of its own
		var mu sync.Mutex
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if left--; left < 0 {
				if after == nil {
					after = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: lost.IntN(101), RNG: lost})
				}
				return errDisk
			}
			return nil
		}))
		l, err := Open(t.Context(), Config{Dir: "raft", FS: fsys, SegmentBytes: 8 << 10, CacheEntries: 4, OnFatal: func(error) {}})
		if err == nil {
			run.check(t, l)
			for err == nil {
				err = run.step(l)
			}
			_ = l.Close() // its disk is broken
		}
		mu.Lock()
		if after == nil { // else the error came of the crash, perhaps of a segment that could not be begun in the background
			t.Fatalf("crash %d: %v", n, err)
		}
		mem = after
		mu.Unlock()
	}
	l := open(t, Config{Dir: "raft", FS: mem, SegmentBytes: 8 << 10})
	run.check(t, l)
	t.Logf("after %d crashes the log goes to %d", crashes, run.last)
}
