package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sectors makes n sectors, each of one byte that is not zero.
func sectors(n int) []byte {
	var out []byte
	for i := range n {
		out = append(out, bytes.Repeat([]byte{byte(i%255 + 1)}, sectorBytes)...)
	}
	return out
}

// dataFolder makes files as a node has them, and returns what they hold.
func dataFolder(t *testing.T) (dir string, files map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	files = map[string][]byte{
		"raft/wal/00000000000000000001-0000000000000000.wal": append(sectors(9), make([]byte, 3<<20)...), // allocated further than written
		"raft/wal/segments":          sectors(1),
		"state/kv-1/000004.sst":      append(sectors(6), "the end"...),
		"state/kv-1/000002.log":      {},
		"state/kv-1/MANIFEST-000001": []byte("a few bytes"),
		"blobs/seg-0000000000000001": sectors(20),
		"blobs/index/LOCK":           {},
		"blobs/index/000002.log":     sectors(2),
		"blobs/index/OPTIONS-000003": sectors(3),
		"blobs/incarnation":          []byte("not to be hurt"),
		"raft/bolt/other":            []byte("nor this"),
		"node.key":                   []byte("nor this"),
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, content, 0o600))
	}
	return dir, files
}

// changed finds the one file that is not as it was; now is nil when it is gone.
func changed(t *testing.T, dir string, files map[string][]byte) (name string, was, now []byte) {
	t.Helper()
	for n, content := range files {
		raw, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil && bytes.Equal(raw, content) {
			continue
		}
		if name != "" {
			t.Fatalf("both %s and %s have changed", name, n)
		}
		name, was, now = n, content, raw
	}
	return name, was, now
}

func TestRotHurtsOneFileOfThePart(t *testing.T) {
	folders := map[Part][]string{Log: {"raft/wal/0"}, State: {"state/kv-1/"}, Bodies: {"blobs/seg-", "blobs/index/0"}}
	for _, part := range Parts() {
		for _, how := range Hows() {
			t.Run(fmt.Sprint(part, " ", how), func(t *testing.T) {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				dir, files := dataFolder(t)
				what, err := Rot(dir, part, how, rand.New(rand.NewPCG(seed, 0)))
				must(t, err)
				name, was, now := changed(t, dir, files)
				if name == "" || !strings.Contains(what, name) {
					t.Fatalf("%s is changed; it says: %s", name, what)
				}
				inside := false
				for _, folder := range folders[part] {
					inside = inside || strings.HasPrefix(name, folder)
				}
				if !inside {
					t.Errorf("%s is not a file of the %s", name, part)
				}
				if err := asHurt(how, was, now); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
	}
}

// asHurt tells whether a file was hurt in that way.
func asHurt(how How, was, now []byte) error {
	if how == Remove {
		if now != nil {
			return errors.New("the file is there")
		}
		return nil
	}
	if how == Truncate {
		if held := len(bytes.TrimRight(was, "\x00")); len(now) >= held || !bytes.HasPrefix(was, now) {
			return fmt.Errorf("%d bytes of %d are left", len(now), held)
		}
		return nil
	}
	if len(now) != len(was) {
		return fmt.Errorf("%d bytes were %d", len(now), len(was))
	}
	wrong, flipped := map[int]bool{}, 0
	for i := range was {
		if was[i] != now[i] {
			wrong[i/sectorBytes] = true
			flipped += bits.OnesCount8(was[i] ^ now[i])
		}
	}
	if want := map[How]int{Flip: 1, Zero: 1, Swap: 2, Duplicate: 1}[how]; len(wrong) != want {
		return fmt.Errorf("%d sectors are changed, want %d", len(wrong), want)
	}
	if how == Flip && flipped != 1 {
		return fmt.Errorf("%d bits are flipped", flipped)
	}
	for s := range wrong {
		if how == Zero && len(bytes.Trim(now[s*sectorBytes:min((s+1)*sectorBytes, len(now))], "\x00")) > 0 {
			return errors.New("the sector is not zero")
		}
	}
	return nil
}

func TestRotSaysWhenNothingFits(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "blobs"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "blobs/seg-1"), make([]byte, 4096), 0o600))
	for _, how := range Hows() {
		if what, err := Rot(dir, Bodies, how, rand.New(rand.NewPCG(1, 1))); !errors.Is(err, ErrSound) {
			t.Errorf("%s: %q, %v", how, what, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "blobs/seg-1"), sectors(1), 0o600))
	if what, err := Rot(dir, All, Swap, rand.New(rand.NewPCG(1, 1))); !errors.Is(err, ErrSound) {
		t.Errorf("swap within one sector: %q, %v", what, err)
	}
}
