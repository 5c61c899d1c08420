package state

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/kv"
)

// A bit that flips in any of the state's files stops the node, or does no harm: what it opens is a state that was, not older than what
// was persisted, all of it readable.
func TestFlippedBitsNeverMakeAnotherState(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	blobs := blob.NewMemory()
	config := Config{Dir: "/state", FS: fs, Blobs: blobs, Self: "a", memTableBytes: 64 << 10}
	m, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	s := newStory(t, seed)
	hashes := map[uint64]string{0: ""}
	apply := func(batches int) {
		for range batches {
			var batch []Entry
			for range 10 {
				batch = append(batch, s.next())
			}
			if err := m.Apply(batch); err != nil {
				t.Fatal(err)
			}
			index, hash, err := m.Hash()
			if err != nil {
				t.Fatal(err)
			}
			hashes[index] = hash
		}
	}
	if err := m.Apply(s.begin()); err != nil {
		t.Fatal(err)
	}
	apply(60)
	persisted := m.Position().Index
	if err := m.Persist(); err != nil {
		t.Fatal(err)
	}
	apply(20) // these are in Pebble's log
	whole := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: r})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	flips, stopped := 150, 0
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		flips = 5000
	}
	files := filesBelow(t, whole, "/state")
	for range flips {
		after := whole.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: r})
		path := files[r.IntN(len(files))]
		at := flipIn(t, after, path, r)
		index, hash, err := readAll(after, blobs)
		switch {
		case err != nil:
			stopped++
		case index < persisted || hash != hashes[index]:
			t.Errorf("a bit flipped in byte %d of %s: the state at %d is another one, %d was persisted", at, path, index, persisted)
		}
	}
	if stopped < flips/10 {
		t.Errorf("of %d flips %d were found: this test flips nothing that matters", flips, stopped)
	}
	t.Logf("%d of %d flips stopped the node", stopped, flips)
}

// readAll opens a state and reads all of it, unless the node stops.
func readAll(fs *vfs.MemFS, blobs blob.Store) (index uint64, hash string, err error) {
	stopped := make(chan error, 1)
	type answer struct {
		index uint64
		hash  string
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		m, err := Open(Config{Dir: "/state", FS: fs, Blobs: blobs, Self: "a", OnFatal: func(err error) {
			stopped <- err
			select {} // the end of the process
		}})
		if err != nil {
			done <- answer{err: err}
			return
		}
		i, h, err := m.Hash()
		if err == nil {
			err = m.Check()
		}
		done <- answer{i, h, errors.Join(err, m.Close())}
	}()
	select {
	case a := <-done:
		return a.index, a.hash, a.err
	case err := <-stopped:
		return 0, "", err
	}
}

func filesBelow(t *testing.T, fs vfs.FS, dir string) (files []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		switch {
		case err != nil:
			t.Fatal(err)
		case info.IsDir():
			files = append(files, filesBelow(t, fs, path)...)
		case info.Size() > 0:
			files = append(files, path)
		}
	}
	return files
}

func flipIn(t *testing.T, fs *vfs.MemFS, path string, r *rand.Rand) int64 {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at := r.Int64N(info.Size())
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	b[0] ^= 1 << r.IntN(8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	return at
}

// Which of several states counts is said by one file. Without it, or with nonsense in it, nothing is opened, and nothing is deleted.
func TestStateWithoutItsCurrentFileIsLeftAlone(t *testing.T) {
	for name, content := range map[string]string{"gone": "", "nonsense": "../elsewhere", "a name of something else": "blobs", "a state that is not there": "kv-3"} {
		dir := t.TempDir()
		open := func() (*Machine, error) { return Open(Config{Dir: dir, Blobs: blob.NewMemory(), Self: "a"}) }
		m, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.Apply(newStory(t, 1).begin()), m.Persist(), m.Close()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, currentFile)
		if content == "" {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(); err == nil || !strings.Contains(err.Error(), currentFile) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.WriteFile(path, []byte(firstName), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err = open(); err != nil || m.Position().Index == 0 {
			t.Fatalf("%s: the state itself is gone: %v", name, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Damage says in words what to do about it.
func TestDamageIsExplained(t *testing.T) {
	fs := vfs.NewMem()
	m, err := Open(Config{Dir: "/state", FS: fs, Blobs: blob.NewMemory(), Self: "a"})
	if err != nil {
		t.Fatal(err)
	}
	s := newStory(t, 1)
	if err := errors.Join(m.Apply(s.begin()), m.Persist(), m.Close()); err != nil {
		t.Fatal(err)
	}
	for _, path := range filesBelow(t, fs, "/state") {
		if strings.HasSuffix(path, ".sst") {
			content, err := fs.UnsafeGetFileDataBuffer(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range content[:len(content)/2] {
				content[i] ^= 0x55
			}
		}
	}
	_, _, err = readAll(fs, blob.NewMemory())
	if !kv.IsCorrupt(err) || !strings.Contains(err.Error(), "join anew") {
		t.Errorf("got: %v", err)
	}
}
