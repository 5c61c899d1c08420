package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// bench is a disk under test.
type bench struct {
	*Disk
	t   *testing.T
	cfg Config
}

func mount(t *testing.T, journaled bool) *bench {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := &bench{t: t, cfg: Config{Back: filepath.Join(dir, "back"), Mount: filepath.Join(dir, "mnt"), Journaled: journaled, Seed: seed}}
	b.boot()
	t.Cleanup(func() {
		if err := b.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) boot() {
	b.t.Helper()
	var err error
	b.cfg.Seed++
	if b.Disk, err = Mount(b.cfg); err != nil {
		b.t.Fatal(err)
	}
}

// crash crashes and boots.
func (b *bench) crash(keep Keep) Loss {
	b.t.Helper()
	loss, err := b.Crash(keep)
	if err != nil {
		b.t.Fatal(err)
	}
	b.boot()
	return loss
}

func (b *bench) at(name string) string { return filepath.Join(b.cfg.Mount, name) }

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write writes a file, and syncs it if told.
func (b *bench) write(name, text string, sync bool) {
	b.t.Helper()
	f, err := os.OpenFile(b.at(name), os.O_CREATE|os.O_WRONLY, 0o600)
	b.must(err)
	_, err = f.WriteString(text)
	b.must(err)
	if sync {
		b.must(f.Sync())
	}
	b.must(f.Close())
}

func (b *bench) sync(name string) {
	b.t.Helper()
	f, err := os.Open(b.at(name))
	b.must(err)
	b.must(f.Sync())
	b.must(f.Close())
}

// tree is every file with its content, and every folder with "/".
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if e.IsDir() {
			out[name] = "/"
			return nil
		}
		raw, err := os.ReadFile(path)
		out[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *bench) expect(want map[string]string) {
	b.t.Helper()
	if wrong := differ(tree(b.t, b.cfg.Mount), want); len(wrong) > 0 {
		b.t.Errorf("the disk is not as it should be: %q", wrong)
	}
}

func TestCrashForgetsWhatWasNotSynced(t *testing.T) {
	for _, tc := range []struct {
		name      string
		journaled bool
		do        func(*bench)
		want      map[string]string
	}{
		{"nothing synced", false, func(b *bench) { b.write("f", "text", false) }, map[string]string{}},
		{"bytes without the name", false, func(b *bench) { b.write("f", "text", true) }, map[string]string{}},
		{"bytes without the name, journaled", true, func(b *bench) { b.write("f", "text", true) }, map[string]string{"f": "text"}},
		{"name without the bytes", false, func(b *bench) { b.write("f", "text", false); b.sync(".") }, map[string]string{"f": ""}},
		{"both", false, func(b *bench) { b.write("f", "text", true); b.sync(".") }, map[string]string{"f": "text"}},
		{"overwritten", false, func(b *bench) {
			b.write("f", "a longer text", true)
			b.sync(".")
			b.write("f", "THE", false)
		}, map[string]string{"f": "a longer text"}},
		{"cut", false, func(b *bench) {
			b.write("f", "a longer text", true)
			b.sync(".")
			b.must(os.Truncate(b.at("f"), 3))
		}, map[string]string{"f": "a longer text"}},
		{"cut when opened", false, func(b *bench) {
			b.write("f", "a longer text", true)
			b.sync(".")
			b.must(os.WriteFile(b.at("f"), []byte("new"), 0o600))
		}, map[string]string{"f": "a longer text"}},
		{"removed", false, func(b *bench) {
			b.write("f", "text", true)
			b.sync(".")
			b.must(os.Remove(b.at("f")))
		}, map[string]string{"f": "text"}},
		{"removed and synced", false, func(b *bench) {
			b.write("f", "text", true)
			b.sync(".")
			b.must(os.Remove(b.at("f")))
			b.sync(".")
		}, map[string]string{}},
		{"replaced", false, func(b *bench) {
			b.write("f", "old", true)
			b.sync(".")
			b.write("g", "new", true)
			b.must(os.Rename(b.at("g"), b.at("f")))
		}, map[string]string{"f": "old"}},
		{"replaced and synced", false, func(b *bench) {
			b.write("f", "old", true)
			b.sync(".")
			b.write("g", "new", true)
			b.must(os.Rename(b.at("g"), b.at("f")))
			b.sync(".")
		}, map[string]string{"f": "new"}},
		{"a file in a folder without a name", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.write("d/f", "text", true)
			b.sync("d")
		}, map[string]string{}},
		{"a folder, its file not synced", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.sync(".")
			b.write("d/f", "text", true)
		}, map[string]string{"d": "/"}},
		{"moved folder, then a name in it", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.sync(".")
			b.must(os.Rename(b.at("d"), b.at("e")))
			b.write("e/f", "text", true)
			b.sync("e")
		}, map[string]string{"d": "/", "d/f": "text"}},
		{"a name in a folder, which then moves durably", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.sync(".")
			b.write("d/f", "text", true)
			b.must(os.Rename(b.at("d"), b.at("e")))
			b.sync(".")
		}, map[string]string{"e": "/"}},
		{"moved between folders, source synced", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.write("f", "text", true)
			b.sync(".")
			b.must(os.Rename(b.at("f"), b.at("d/f")))
			b.write("f", "again", true)
			b.sync(".")
		}, map[string]string{"d": "/", "d/f": "text", "f": "again"}},
		{"linked", false, func(b *bench) {
			b.write("f", "text", true)
			b.sync(".")
			b.must(os.Link(b.at("f"), b.at("g")))
		}, map[string]string{"f": "text"}},
		{"folder removed with what was in it", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.write("d/f", "text", true)
			b.sync("d")
			b.sync(".")
			b.must(os.Remove(b.at("d/f")))
			b.must(os.Remove(b.at("d")))
		}, map[string]string{"d": "/", "d/f": "text"}},
		{"folder removed durably", false, func(b *bench) {
			b.must(os.Mkdir(b.at("d"), 0o700))
			b.write("d/f", "text", true)
			b.sync("d")
			b.sync(".")
			b.must(os.Remove(b.at("d/f")))
			b.must(os.Remove(b.at("d")))
			b.sync(".")
		}, map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := mount(t, tc.journaled)
			tc.do(b)
			b.crash(KeepNone)
			b.expect(tc.want)
			b.crash(KeepNone)
			b.expect(tc.want)
		})
	}
}

func TestCrashKeepsAPrefix(t *testing.T) {
	b := mount(t, false)
	seen := map[string]bool{}
	for range 60 {
		for _, name := range []string{"a", "b", "c"} {
			b.write(name, name+" text", false)
		}
		b.crash(KeepPrefix)
		got := tree(t, b.cfg.Mount)
		seen[fmt.Sprint(got)] = true
		for i, name := range []string{"b", "c"} {
			before := []string{"a", "b"}[i]
			if _, ok := got[name]; ok && got[before] != before+" text" {
				t.Fatalf("%s is there, and %s, written before, is not whole: %q", name, before, got)
			}
		}
		for name := range got {
			b.must(os.Remove(b.at(name)))
		}
		b.sync(".")
	}
	if len(seen) < 5 {
		t.Errorf("60 crashes left only %d different disks", len(seen))
	}
}

func TestCrashTearsWritesAtSectors(t *testing.T) {
	b := mount(t, false)
	b.write("f", strings.Repeat("o", 8*sectorBytes), true)
	b.sync(".")
	b.write("f", strings.Repeat("n", 8*sectorBytes), false)
	b.crash(KeepRandom)
	raw, err := os.ReadFile(b.at("f"))
	b.must(err)
	torn := map[byte]int{}
	for i := range 8 {
		sector := raw[i*sectorBytes : (i+1)*sectorBytes]
		if len(bytes.Trim(sector, string(sector[:1]))) > 0 {
			t.Errorf("sector %d is torn within: %q", i, sector)
		}
		torn[sector[0]]++
	}
	if torn['o']+torn['n'] != 8 {
		t.Errorf("sectors %v", torn)
	}
}

func TestRandomCrashKeepsTheOrderOfOneName(t *testing.T) {
	b := mount(t, false)
	for range 30 {
		b.write("new", "n", true)
		b.must(os.Rename(b.at("new"), b.at("f")))
		b.must(os.Rename(b.at("f"), b.at("g")))
		b.crash(KeepRandom)
		got := tree(t, b.cfg.Mount)
		if len(got) > 1 {
			t.Fatalf("one file has come to %v", got)
		}
		for name := range got {
			b.must(os.Remove(b.at(name)))
		}
		b.sync(".")
	}
}

func TestFailedFsyncMayLoseForGood(t *testing.T) {
	b := mount(t, true)
	f, err := os.Create(b.at("f"))
	b.must(err)
	defer f.Close()
	_, err = f.WriteString("one")
	b.must(err)
	_, err = b.Inject(Rule{Op: "fsync", Path: "^/f$", Errno: syscall.EIO, Times: 1, Forget: true})
	b.must(err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("fsync: %v", err)
	}
	_, err = f.WriteString("two")
	b.must(err)
	b.must(f.Sync())
	b.must(f.Close())
	b.crash(KeepNone)
	b.expect(map[string]string{"f": "\x00\x00\x00two"})
}

func TestLyingFsyncSavesNothing(t *testing.T) {
	b := mount(t, true)
	_, err := b.Inject(Rule{Op: "fsync|fsyncdir", Lie: true})
	b.must(err)
	b.write("f", "text", true)
	b.sync(".")
	b.crash(KeepNone)
	b.expect(map[string]string{})
}

func TestFreeSpaceIsWhatTheTestSays(t *testing.T) {
	b := mount(t, false)
	b.SetFree(10 << 20)
	var st syscall.Statfs_t
	b.must(syscall.Statfs(b.cfg.Mount, &st))
	if got := int64(st.Bavail) * st.Bsize; got > 10<<20 || got < 9<<20 {
		t.Errorf("%d bytes are free, want 10 MiB", got)
	}
	b.SetFree(-1)
	b.must(syscall.Statfs(b.cfg.Mount, &st))
	if got := int64(st.Bavail) * st.Bsize; got < 11<<20 {
		t.Errorf("%d bytes are free, want those of the folder below", got)
	}
}

func TestCutEndsAllThatIsDoneAfterwards(t *testing.T) {
	b := mount(t, false)
	b.write("f", "text", true)
	b.sync(".")
	f, err := os.OpenFile(b.at("f"), os.O_RDWR, 0)
	b.must(err)
	defer f.Close()
	b.Cut()
	b.Cut() // a second time is no harm
	_, wrote := f.WriteString("TEXT")
	for what, err := range map[string]error{"write": wrote, "fsync": f.Sync(), "truncate": f.Truncate(1), "remove": os.Remove(b.at("f")),
		"mkdir": os.Mkdir(b.at("d"), 0o700), "rename": os.Rename(b.at("f"), b.at("g")), "link": os.Link(b.at("f"), b.at("g"))} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s without power: %v", what, err)
		}
	}
	b.must(f.Close())
	b.crash(KeepAll)
	b.expect(map[string]string{"f": "text"})
}

func TestLimitIsGivenBackByRemoving(t *testing.T) {
	b := mount(t, false)
	b.write("old", strings.Repeat("x", 1000), true)
	b.Limit(100)
	b.write("f", strings.Repeat("x", 60), false)
	f, err := os.OpenFile(b.at("f"), os.O_RDWR, 0)
	b.must(err)
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 60), 50); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("60 bytes where 50 fit: %v", err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != 100 {
		t.Errorf("a write fills up what is there: %d bytes, %v", st.Size(), err)
	}
	if err := f.Truncate(200); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("extend: %v", err)
	}
	if _, err := os.Create(b.at("g")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create: %v", err)
	}
	_, err = f.WriteAt(make([]byte, 100), 0) // in place
	b.must(err)
	b.must(os.Rename(b.at("f"), b.at("old"))) // gives back 1000
	b.write("g", strings.Repeat("x", 600), false)
	b.must(f.Truncate(0))
	b.write("h", strings.Repeat("x", 500), false)
	if n, err := f.WriteAt([]byte("x"), 0); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("one byte more: %d, %v", n, err)
	}
	b.must(os.Remove(b.at("g")))
	_, err = f.WriteAt([]byte("x"), 0)
	b.must(err)
	b.Limit(-1)
	b.write("i", strings.Repeat("x", 5000), false)
}

func TestRules(t *testing.T) {
	b := mount(t, false)
	b.write("f", strings.Repeat("x", 4000), true)
	remove, err := b.Inject(Rule{Op: "write", Path: "f", Errno: syscall.ENOSPC, Skip: 1})
	b.must(err)
	f, err := os.OpenFile(b.at("f"), os.O_RDWR, 0)
	b.must(err)
	defer f.Close()
	_, err = f.WriteAt([]byte("1"), 0)
	b.must(err)
	if _, err := f.WriteAt([]byte("2"), 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the second write: %v", err)
	}
	remove()
	_, err = f.WriteAt([]byte("2"), 1)
	b.must(err)
	if _, err := b.Inject(Rule{Op: "create", Path: "g$", Errno: syscall.EIO}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Create(b.at("g")); !errors.Is(err, syscall.EIO) {
		t.Errorf("create: %v", err)
	}
	b.must(f.Close())
	b.must(b.Unmount()) // the kernel forgets what it read
	b.boot()
	if _, err := b.Inject(Rule{Op: "read", Path: "f", Flip: true, Times: 1}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(b.at("f"))
	b.must(err)
	wrong := 0
	for i, c := range raw {
		if want := append([]byte("12"), bytes.Repeat([]byte("x"), 3998)...)[i]; c != want {
			wrong++
		}
	}
	if wrong != 1 {
		t.Errorf("%d bytes are wrong, want 1", wrong)
	}
}

// TestAgainstAModel does random things, and demands after each crash that keeps nothing exactly what a plain model says.
func TestAgainstAModel(t *testing.T) {
	b := mount(t, false)
	r := rand.New(rand.NewPCG(b.cfg.Seed, 1))
	m := newModel()
	for round := range 25 {
		for range 30 {
			m.step(b, r)
		}
		if wrong := differ(tree(t, b.cfg.Mount), m.tree(m.root, "")); len(wrong) > 0 {
			t.Fatalf("round %d, before the crash: %q", round, wrong)
		}
		keep := []Keep{KeepAll, KeepNone, KeepNone}[r.IntN(3)]
		b.crash(keep)
		m.crash(keep == KeepAll)
		if wrong := differ(tree(t, b.cfg.Mount), m.tree(m.root, "")); len(wrong) > 0 {
			t.Fatalf("round %d, after a crash that kept %v: %q", round, keep, wrong)
		}
	}
}
