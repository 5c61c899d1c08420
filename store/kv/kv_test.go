package kv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
	"github.com/quorumail/quorumail/store/kv/kvtest"
)

func open(t *testing.T, c kv.PebbleConfig) kv.Store {
	t.Helper()
	if c.Dir == "" {
		c.Dir = "/data/state"
	}
	if c.OnFatal == nil {
		c.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	s, err := kv.OpenPebble(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(s kv.Store, key, value string, sync bool) error {
	b := s.NewBatch()
	defer b.Close()
	if err := b.Set([]byte(key), []byte(value)); err != nil {
		return err
	}
	return b.Commit(sync)
}

func TestPebble(t *testing.T) {
	kvtest.Test(t, func(t *testing.T) kv.Store { return open(t, kv.PebbleConfig{FS: vfs.NewMem()}) })
}

func TestPebbleOnDisk(t *testing.T) {
	kvtest.Test(t, func(t *testing.T) kv.Store {
		return open(t, kv.PebbleConfig{Dir: t.TempDir(), MemTableBytes: 64 << 10})
	})
}

func TestMemory(t *testing.T) {
	kvtest.Test(t, func(*testing.T) kv.Store { return kv.NewMemory() })
}

// combining is a store whose batches are combined.
type combining struct{ kv.Store }

func (c combining) NewBatch() kv.Batch { return kv.Combine(c.Store.NewBatch()) }

func TestCombinedBatches(t *testing.T) {
	kvtest.Test(t, func(*testing.T) kv.Store { return combining{kv.NewMemory()} })
}

func TestNotFoundIsTheStoresNotFound(t *testing.T) {
	if _, err := kv.NewMemory().Get([]byte("x")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestSyncedCommitSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, kv.PebbleConfig{FS: fs})
	defer s.Close()
	for i := range 20 {
		if err := set(s, fmt.Sprint("k", i), "v", i == 9); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for percent := 0; percent <= 100; percent += 25 {
		crash := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, uint64(percent)))}
		after := open(t, kv.PebbleConfig{FS: fs.CrashClone(crash)})
		absentFrom := 20
		for i := range 20 {
			_, err := after.Get([]byte(fmt.Sprint("k", i)))
			if i <= 9 && err != nil {
				t.Errorf("%d%%: synced key %d: %v", percent, i, err)
			}
			if err != nil {
				absentFrom = min(absentFrom, i)
			} else if i > absentFrom {
				t.Errorf("%d%%: key %d is there without key %d", percent, i, absentFrom)
			}
		}
		if err := after.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFlushMakesCommitsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var hooks atomic.Int32
	s := open(t, kv.PebbleConfig{FS: fs, OnFlushBegin: func() error { hooks.Add(1); return nil }})
	defer s.Close()
	if err := set(s, "k", "v", false); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if hooks.Load() == 0 {
		t.Error("OnFlushBegin was not called")
	}
	after := open(t, kv.PebbleConfig{FS: fs.CrashClone(vfs.CrashCloneCfg{})})
	defer after.Close()
	if _, err := after.Get([]byte("k")); err != nil {
		t.Errorf("after the crash: %v", err)
	}
}

func TestFailedFlushHookStopsTheStore(t *testing.T) {
	fs := vfs.NewCrashableMem()
	broken := errors.New("bodies cannot be synced")
	fatal := make(chan error, 1)
	s := open(t, kv.PebbleConfig{FS: fs, OnFlushBegin: func() error { return broken }, OnFatal: func(err error) { fatal <- err }})
	if err := set(s, "k", "v", false); err != nil {
		t.Fatal(err)
	}
	// Pebble goes on trying to flush for as long as the store is open, so Flush may not return before Close.
	go s.Flush()
	if err := <-fatal; !errors.Is(err, broken) {
		t.Fatalf("fatal: %v", err)
	}
	if err := set(s, "k2", "v", true); !errors.Is(err, broken) {
		t.Errorf("a commit after the end: %v", err)
	}
	names, err := fs.List("/data/state")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".sst" {
			t.Errorf("a table was written: %s", name)
		}
	}
	_ = s.Close() // it complains, and ends the flushing
}

func TestDiskErrorsAreFatal(t *testing.T) {
	errDisk := errors.New("disk broke")
	for name, kinds := range map[string][]errorfs.OpKind{
		"write": {errorfs.OpFileWrite}, "fsync": {errorfs.OpFileSync, errorfs.OpFileSyncData},
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			var fatals atomic.Int32
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				for _, kind := range kinds {
					if broken.Load() && op.Kind == kind {
						return errDisk
					}
				}
				return nil
			}))
			s := open(t, kv.PebbleConfig{FS: fs, OnFatal: func(error) { fatals.Add(1) }})
			if err := set(s, "a", "1", true); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			if err := set(s, "b", "2", true); !errors.Is(err, errDisk) {
				t.Errorf("commit on a broken disk: %v", err)
			}
			broken.Store(false)
			if err := set(s, "c", "3", false); !errors.Is(err, errDisk) {
				t.Errorf("a later commit: %v", err)
			}
			if fatals.Load() != 1 {
				t.Errorf("%d fatal reports, want 1", fatals.Load())
			}
		})
	}
}

func TestCheckpointOpens(t *testing.T) {
	for name, c := range map[string]struct {
		fs  vfs.FS
		dir string
	}{"memory": {vfs.NewCrashableMem(), "/d"}, "disk": {vfs.Default, t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			s := open(t, kv.PebbleConfig{FS: c.fs, Dir: filepath.Join(c.dir, "state")})
			defer s.Close()
			if err := set(s, "k", "old", false); err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(c.dir, "checkpoint")
			if err := s.Checkpoint(target); err != nil {
				t.Fatal(err)
			}
			if err := set(s, "k", "new", false); err != nil {
				t.Fatal(err)
			}
			fs := c.fs
			if mem, ok := fs.(*vfs.MemFS); ok {
				fs = mem.CrashClone(vfs.CrashCloneCfg{})
			}
			copied := open(t, kv.PebbleConfig{FS: fs, Dir: target, ReadOnly: true})
			defer copied.Close()
			if got, err := copied.Get([]byte("k")); err != nil || string(got) != "old" {
				t.Errorf("checkpoint holds %q, %v", got, err)
			}
			if err := set(copied, "k", "x", false); !errors.Is(err, kv.ErrReadOnly) {
				t.Errorf("change in a read-only store: %v", err)
			}
		})
	}
}

func TestMetricsCount(t *testing.T) {
	s := open(t, kv.PebbleConfig{FS: vfs.NewMem()})
	defer s.Close()
	if err := set(s, "k", "v", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if m := s.Metrics(); m.Flushes == 0 || m.DiskBytes == 0 || m.BytesWritten == 0 || m.TablesOnDisk == 0 {
		t.Errorf("metrics %+v", m)
	}
}

// A store whose logs cannot become tables, since the disk is full, says so when it is opened.
func TestOpenOnAFullDiskIsAnError(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, kv.PebbleConfig{FS: mem})
	if err := set(s, "a", "1", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && filepath.Ext(op.Path) == ".sst" {
			return syscall.ENOSPC
		}
		return nil
	}))
	if s, err := kv.OpenPebble(kv.PebbleConfig{FS: full, Dir: "/data/state"}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("opened %v, %v", s, err)
	}
}
