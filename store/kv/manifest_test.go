package kv_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/kv"
)

const manifestDir = "/data/state"

// filled makes a store with several tables whose logs are gone.
func filled(t *testing.T, fs vfs.FS) {
	t.Helper()
	s := open(t, kv.PebbleConfig{FS: fs, Dir: manifestDir})
	for round := range 5 {
		for i := range 20 {
			if err := set(s, fmt.Sprintf("%d-%d", round, i), "value", false); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s kv.Store) int {
	t.Helper()
	it, err := s.Iter([]byte("0"), []byte("9"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDamagedManifestIsCorrupt(t *testing.T) {
	fs := vfs.NewMem()
	filled(t, fs)
	name, err := atomicfs.ReadMarker(fs, manifestDir, "manifest")
	if err != nil {
		t.Fatal(err)
	}
	disk := durable.Disk{FS: fs}
	path := fs.PathJoin(manifestDir, name)
	whole, err := disk.ReadFile(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := range whole {
		// Each try begins with a copy: Open changes the folder.
		copied := vfs.NewMem()
		if _, err := vfs.Clone(fs, copied, "/data", "/data"); err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(whole)
		bad[at] ^= 1 << (at % 8)
		if err := (durable.Disk{FS: copied}).WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := kv.OpenPebble(kv.PebbleConfig{FS: copied, Dir: manifestDir, OnFatal: func(error) {}})
		if err != nil {
			if !kv.IsCorrupt(err) {
				t.Errorf("byte %d: %v", at, err)
			}
			found++
			continue
		}
		if n := count(t, s); n != 100 {
			t.Errorf("byte %d of %d is damaged, and the store has %d of 100 keys", at, len(whole), n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if found < len(whole)/2 {
		t.Errorf("of %d damaged bytes %d were noticed", len(whole), found)
	}
}

func TestOlderManifestIsCorrupt(t *testing.T) {
	fs := vfs.NewMem()
	filled(t, fs)
	disk := durable.Disk{FS: fs}
	path := fs.PathJoin(manifestDir, "MANIFEST.seal")
	raw, err := disk.ReadFile(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"cut": string(raw[:10]), "changed": strings.Replace(string(raw), "MANIFEST-0", "MANIFEST-1", 1), "empty": ""} {
		if err := disk.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.OpenPebble(kv.PebbleConfig{FS: fs, Dir: manifestDir, OnFatal: func(error) {}}); !kv.IsCorrupt(err) {
			t.Errorf("a seal that is %s: %v", what, err)
		}
	}
}

// A crash at any moment, which tears what was not synced, is no damage.
func TestCrashIsNoDamageOfTheManifest(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewCrashableMem()
	for round := range 30 {
		s := open(t, kv.PebbleConfig{FS: fs, Dir: manifestDir, MemTableBytes: 64 << 10, OnFatal: func(error) {}})
		for i := range 200 {
			if err := set(s, fmt.Sprintf("%d-%d", round, i), strings.Repeat("x", r.IntN(2000)), false); err != nil {
				t.Fatal(err)
			}
		}
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs = after
	}
}

// Damage in any file is an error, at Open or later, or is harmless; it is never a panic, nor another content.
func TestDamagedFilesAreErrors(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	whole := vfs.NewCrashableMem()
	filled(t, whole)
	s := open(t, kv.PebbleConfig{FS: whole, Dir: manifestDir})
	for i := range 50 {
		if err := set(s, fmt.Sprintf("8-%d", i), "in the log", true); err != nil {
			t.Fatal(err)
		}
	}
	fs := whole.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(manifestDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := fs.PathJoin(manifestDir, name)
		raw, err := (durable.Disk{FS: fs}).ReadFile(path, 1<<20)
		if err != nil || len(raw) == 0 {
			continue // a folder, or nothing to damage
		}
		for range 60 {
			copied := vfs.NewMem()
			if _, err := vfs.Clone(fs, copied, "/data", "/data"); err != nil {
				t.Fatal(err)
			}
			bad := slices.Clone(raw)
			for range 1 + r.IntN(20) {
				bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			}
			if err := (durable.Disk{FS: copied}).WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			readAll(t, copied, name)
		}
	}
}

// readAll opens a store and reads it; what it shows must have been written.
func readAll(t *testing.T, fs vfs.FS, damaged string) {
	t.Helper()
	s, err := kv.OpenPebble(kv.PebbleConfig{FS: fs, Dir: manifestDir, OnFatal: func(error) {}})
	if err != nil {
		return
	}
	defer s.Close() // it may report the damage
	it, err := s.Iter([]byte("0"), []byte("9"))
	if err != nil {
		return
	}
	defer it.Close() // the same
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	// Commits at the end of the log may be taken for torn; those in tables may not.
	if it.Err() == nil && n < 100 {
		t.Errorf("with %s damaged the store shows %d keys, want 100 at least", damaged, n)
	}
}
