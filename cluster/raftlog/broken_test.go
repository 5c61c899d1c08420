//go:build broken

package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/broken"
)

// afterPowerLoss opens what a loss of power left of a log that acknowledged 40 entries after a start with 10, and tells where it ends.
func afterPowerLoss(t *testing.T) (last, term uint64) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	cfg := Config{Dir: "raft", Kind: "wal", SegmentBytes: 4 << 10, FS: mem}
	l := open(t, cfg)
	fill(t, l, 1, 10)
	if err := errors.Join(l.SetUint64([]byte("CurrentTerm"), 1), l.Close()); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	fill(t, l, 11, 50)
	if err := l.SetUint64([]byte("CurrentTerm"), 2); err != nil {
		t.Fatal(err)
	}
	cfg.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	l = open(t, cfg)
	last, err := l.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	term, err = l.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		t.Fatal(err)
	}
	return last, term
}

func TestWithoutFsyncALossOfPowerTakesEntriesAndTerm(t *testing.T) {
	if last, term := afterPowerLoss(t); last != 50 || term != 2 {
		t.Fatalf("with fsync: the log ends at %d, term %d", last, term)
	}
	t.Setenv("QUORUMAIL_BROKEN", string(broken.FsyncLog))
	if last, term := afterPowerLoss(t); last >= 50 || term == 2 {
		t.Errorf("without fsync: the log ends at %d, term %d; want it to have lost both", last, term)
	}
}

func TestDamagedLogIsDropped(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"end ahead": func(t *testing.T, dir string) { shorten(t, dir) },
		"end gone":  func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "end")) },
		"list gone": func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "wal", "segments")) },
		"term gone": func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "stable")) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: filepath.Join(t.TempDir(), "raft"), Kind: "wal", OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
			l := open(t, cfg)
			fill(t, l, 1, 20)
			if err := errors.Join(l.SetUint64([]byte("CurrentTerm"), 9), l.Close()); err != nil {
				t.Fatal(err)
			}
			damage(t, cfg.Dir)
			if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrRot) {
				t.Fatalf("whole: %v, want ErrRot", err)
			}
			t.Setenv("QUORUMAIL_BROKEN", string(broken.LogDropped))
			l = open(t, cfg)
			if last, err := l.LastIndex(); err != nil || last != 0 {
				t.Errorf("broken: the log ends at %d, %v; want none", last, err)
			}
			if term, err := l.GetUint64([]byte("CurrentTerm")); err != nil || (term == 9) != (name != "term gone") {
				t.Errorf("broken: term %d, %v", term, err)
			}
			fill(t, l, 30, 40)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if last, err := open(t, cfg).LastIndex(); err != nil || last != 40 {
				t.Errorf("after it: the log ends at %d, %v", last, err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// shorten zeroes the second half of the only segment's entries, as a disk that lost what it had acknowledged.
func shorten(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("segments %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(raw)
	for end > 0 && raw[end-1] == 0 {
		end--
	}
	clear(raw[end/2:])
	if err := os.WriteFile(files[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
