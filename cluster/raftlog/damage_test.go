package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// seeded is a source of randomness that says how to repeat it.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// copyTree copies the files of a log.
func copyTree(t *testing.T, from, to string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if len(raw) > 0 {
			files = append(files, target)
		}
		return os.WriteFile(target, raw, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// flip flips one bit of a file.
func flip(t *testing.T, path string, at int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func onDisk(t *testing.T, f func(t *testing.T, cfg Config)) {
	for _, kind := range []string{"wal", "bolt"} {
		t.Run(kind, func(t *testing.T) {
			f(t, Config{Dir: filepath.Join(t.TempDir(), "raft"), Kind: kind, SegmentBytes: 16 << 10, CacheEntries: 1})
		})
	}
}

const damageEntries = 150

// written makes a log with a past: several segments, truncated at both ends, term and vote set more than once.
func written(t *testing.T, cfg Config) {
	t.Helper()
	l := open(t, cfg)
	fill(t, l, 1, damageEntries+20)
	for i := range uint64(4) {
		if err := errors.Join(l.SetUint64([]byte("CurrentTerm"), 40+i), l.Set([]byte("LastVoteCand"), []byte{'n', byte('0' + i)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.DeleteRange(1, 10), l.DeleteRange(damageEntries+1, damageEntries+20)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A bit that flipped on the disk is either harmless or found: never is another entry, vote or end of the log read.
func TestFlippedBitsAreFound(t *testing.T) {
	trials := 150
	if os.Getenv("QUORUMAIL_SOAK") == "1" {
		trials = 5000
	}
	onDisk(t, func(t *testing.T, cfg Config) {
		rng := seeded(t)
		written(t, cfg)
		base := t.TempDir()
		refused, served, harmless := 0, 0, 0
		for range trials {
			trial := cfg
			trial.Dir = filepath.Join(base, "trial")
			if err := os.RemoveAll(trial.Dir); err != nil {
				t.Fatal(err)
			}
			files := copyTree(t, cfg.Dir, trial.Dir)
			path := files[rng.IntN(len(files))]
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			at, bit := rng.Int64N(st.Size()), rng.IntN(8)
			flip(t, path, at, bit)
			switch found, err := readAll(t, trial); {
			case err != nil:
				t.Fatalf("bit %d of byte %d of %s: %v", bit, at, filepath.Base(path), err)
			case found == "refused":
				refused++
			case found == "read":
				served++
			default:
				harmless++
			}
		}
		t.Logf("%d refused at start, %d found when read, %d harmless", refused, served, harmless)
		if refused+served == 0 {
			t.Error("no flipped bit was ever found: the test does not reach the entries")
		}
	})
}

// readAll reads a log and tells how damage was found: "refused" by Open, when "read", or "" not at all.
func readAll(t *testing.T, cfg Config) (string, error) {
	var f fatals
	cfg.OnFatal = f.add
	l, err := Open(t.Context(), cfg)
	if err != nil {
		return "refused", nil
	}
	defer l.Close()
	first, last, err := l.bounds()
	if err != nil {
		return "read", nil
	}
	if first != 11 || last != damageEntries {
		return "", errors.New("the log has other bounds")
	}
	term, err := l.GetUint64([]byte("CurrentTerm"))
	vote, verr := l.Get([]byte("LastVoteCand"))
	if err != nil || verr != nil {
		return "read", nil
	}
	if term != 43 || string(vote) != "n3" {
		return "", errors.New("another term or vote")
	}
	for i := first; i <= last; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			if len(f.all()) == 0 || !errors.Is(f.all()[0], ErrRot) {
				return "", errors.Join(errors.New("the process would not have ended for damage"), err)
			}
			return "read", nil
		}
		if !same(&e, entry(i)) {
			return "", errors.New("another entry was read")
		}
	}
	return "", nil
}

// lastEntry finds where the last entry stands in raft-wal's newest segment.
func lastEntry(t *testing.T, dir string) (path string, at int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	path = files[len(files)-1]
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(raw)
	for end > 0 && raw[end-1] == 0 {
		end--
	}
	return path, int64(end) - 40
}

// raft-wal forgets a last batch whose checksum fails. Here it had been acknowledged.
func TestRewoundBatchIsDamage(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "raft")}
	l := open(t, cfg)
	fill(t, l, 1, 20)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path, at := lastEntry(t, cfg.Dir)
	flip(t, path, at, 3)
	if l, err := Open(t.Context(), cfg); !errors.Is(err, ErrRot) {
		if err == nil {
			l.Close()
		}
		t.Errorf("a log that lost its last batch opens: %v", err)
	}
}

// A batch that a crash tore was never acknowledged: the log ends before it.
func TestTornTailIsCutOff(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "raft")}
	l := open(t, cfg)
	fill(t, l, 1, 20)
	// As a crash between the write and its acknowledgement leaves it: raft-wal has the batch, "end" does not know of it.
	if err := l.store.StoreLogs(sealAll(entries(21, 25))); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path, at := lastEntry(t, cfg.Dir)
	flip(t, path, at, 3)
	l = open(t, cfg)
	expect(t, l, 1, 20)
	fill(t, l, 21, 30)
	expect(t, l, 1, 30)
}

func TestMissingFileIsDamage(t *testing.T) {
	onDisk(t, func(t *testing.T, cfg Config) {
		written(t, cfg)
		for i := range copyTree(t, cfg.Dir, t.TempDir()) {
			trial := cfg
			trial.Dir = t.TempDir()
			gone := copyTree(t, cfg.Dir, trial.Dir)[i]
			if err := os.Remove(gone); err != nil {
				t.Fatal(err)
			}
			// A segment that was begun and not written yet may go.
			if found, err := readAll(t, trial); err != nil || found != "refused" && filepath.Ext(gone) != ".wal" {
				t.Errorf("without %s: %q, %v", filepath.Base(gone), found, err)
			}
		}
		if err := os.RemoveAll(filepath.Join(cfg.Dir, cfg.Kind)); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(t.Context(), cfg); !errors.Is(err, ErrRot) {
			if err == nil {
				l.Close()
			}
			t.Errorf("without the folder of the entries: %v", err)
		}
	})
}

// Damage is found while the log is open, by whoever reads it and by the scrub; Verify finds it only in what Raft reads at start.
func TestDamageUnderAnOpenLog(t *testing.T) {
	onDisk(t, func(t *testing.T, cfg Config) {
		var f fatals
		cfg.OnFatal = f.add
		l := open(t, cfg)
		fill(t, l, 1, 100)
		corrupt(t, cfg, 30)
		if err := l.Verify(31); err != nil {
			t.Errorf("damage before where Verify begins: %v", err)
		}
		if err := l.Verify(30); !errors.Is(err, ErrRot) {
			t.Errorf("Verify says %v", err)
		}
		if len(f.all()) != 0 {
			t.Errorf("Verify returns what it finds: %v", f.all())
		}
		l.Scrub(t.Context(), time.Hour, 1<<30)
		if got := f.all(); len(got) != 1 || !errors.Is(got[0], ErrRot) {
			t.Fatalf("the scrub found %v", got)
		}
		if err := l.StoreLogs(entries(101, 101)); !errors.Is(err, ErrRot) {
			t.Errorf("a damaged log is written: %v", err)
		}
		if err := l.GetLog(50, &raft.Log{}); !errors.Is(err, ErrRot) {
			t.Errorf("a damaged log is read: %v", err)
		}
	})
}

// corrupt flips a bit in the data of an entry, wherever it stands.
func corrupt(t *testing.T, cfg Config, index uint64) {
	t.Helper()
	e := entry(index)
	needle := append([]byte(nil), e.Data...)
	needle = binary.BigEndian.AppendUint32(needle, sum(e, e.Data))
	found := false
	err := filepath.WalkDir(cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := 0; i+len(needle) <= len(raw); i++ {
			if string(raw[i:i+len(needle)]) == string(needle) {
				flip(t, path, int64(i), 2)
				found = true
			}
		}
		return nil
	})
	if err != nil || !found {
		t.Fatalf("entry %d is not in the files: %v", index, err)
	}
}
