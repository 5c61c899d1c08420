package disk

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func volume(t *testing.T, k Kind) Volume {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	v, err := New(Config{Kind: k, Dir: filepath.Join(t.TempDir(), "v"), SizeBytes: 320 << 20, Seed: seed})
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, v.Close()) })
	must(t, v.Mount())
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func cutKinds() []Kind { return []Kind{FaultFS, Ext4, XFS} }

func TestCutLosesOnlyWhatWasNotSynced(t *testing.T) {
	for _, k := range cutKinds() {
		t.Run(string(k), func(t *testing.T) {
			v := volume(t, k)
			var all []*writer
			lost := 0
			for round := 0; round < 4 || lost == 0 && round < 40; round++ {
				w := startWriter(t, v, fmt.Sprint("file", round))
				w.until(rand.IntN(200))
				must(t, v.Cut())
				w.kill()
				loss, err := v.Restore()
				must(t, err)
				for _, old := range append(all, w) {
					if got := old.survived(); got < old.safe {
						t.Fatalf("%s: %d records were acknowledged, %d are there", old.path, old.safe, got)
					}
				}
				t.Logf("wrote %d, safe %d, survived %d: %v", w.wrote, w.safe, w.survived(), loss)
				lost += w.wrote - w.survived()
				all = append(all, w)
			}
			if lost == 0 {
				t.Error("nothing was ever lost: the test shows nothing")
			}
		})
	}
}

func TestAfterCutNothingIsWritten(t *testing.T) {
	for _, k := range cutKinds() {
		t.Run(string(k), func(t *testing.T) {
			v := volume(t, k)
			path := filepath.Join(v.Path(), "file")
			must(t, put(path, []byte("before")))
			must(t, errors.Join(v.Unmount(), v.Mount()))
			f, err := os.OpenFile(path, os.O_WRONLY, 0) // this program is the one that is not stopped
			must(t, err)
			w := startWriter(t, v, "other")
			w.until(10)
			must(t, v.Cut())
			_, wrote := f.WriteString("after!")
			if err := errors.Join(wrote, f.Sync()); !errors.Is(err, syscall.EIO) {
				t.Errorf("write and fsync: %v", err)
			}
			if _, err := os.Create(path + "2"); !errors.Is(err, syscall.EIO) {
				t.Errorf("create: %v", err)
			}
			_ = f.Close() // it failed already
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid))
			if must(t, err); !strings.Contains(string(stat), ") T ") {
				t.Errorf("the program that used the volume is not stopped: %s", stat)
			}
			w.kill()
			_, err = v.Restore()
			must(t, err)
			if raw, err := os.ReadFile(path); err != nil || string(raw) != "before" {
				t.Errorf("read %q, %v", raw, err)
			}
			if _, err := os.Stat(path + "2"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the other file: %v", err)
			}
		})
	}
}

func TestCutAllCutsAtOnce(t *testing.T) {
	for _, k := range cutKinds() {
		t.Run(string(k), func(t *testing.T) {
			var volumes []Volume
			var writers []*writer
			for i := range 3 {
				volumes = append(volumes, volume(t, k))
				writers = append(writers, startWriter(t, volumes[i], "file"))
			}
			for _, w := range writers {
				w.until(50)
			}
			spread, err := CutAll(volumes)
			must(t, err)
			t.Logf("%v from the first to the last", spread)
			for i, w := range writers {
				w.kill()
				_, err := volumes[i].Restore()
				must(t, err)
				if got := w.survived(); got < w.safe {
					t.Errorf("%d records were acknowledged, %d are there", w.safe, got)
				}
			}
		})
	}
	if _, err := CutAll([]Volume{volume(t, Plain)}); !errors.Is(err, ErrNotHere) {
		t.Errorf("a plain folder: %v", err)
	}
}

func TestContentIsKept(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			v := volume(t, k)
			w := startWriter(t, v, "file")
			w.until(20)
			w.kill()
			for i, change := range []func() error{v.Unmount, v.Mount} {
				must(t, change())
				must(t, v.Content(func(dir string) error {
					path := filepath.Join(dir, "file")
					if raw, err := os.ReadFile(path); err != nil || i == 0 && len(raw) < w.wrote {
						t.Errorf("at rest: %d bytes, %v", len(raw), err)
					}
					return os.WriteFile(path, []byte("rotten"), 0o600)
				}))
			}
			if _, err := v.Restore(); err != nil && (k != Plain || !errors.Is(err, ErrNotHere)) {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(w.path)
			if must(t, err); string(raw) != "rotten" {
				t.Errorf("read %q", raw)
			}
		})
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			v := volume(t, k)
			_ = v.Cut() // a plain folder has no power to lose
			must(t, v.Close())
			if _, err := os.Stat(filepath.Dir(v.Path())); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder: %v", err)
			}
			mounts, err := os.ReadFile("/proc/self/mounts")
			if must(t, err); strings.Contains(string(mounts), filepath.Dir(v.Path())) {
				t.Errorf("still mounted")
			}
		})
	}
}

func TestNewTakesUpAVolume(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			v := volume(t, k)
			must(t, os.WriteFile(filepath.Join(v.Path(), "f"), []byte("text"), 0o600))
			must(t, v.Unmount())
			again, err := New(Config{Kind: k, Dir: strings.TrimSuffix(strings.TrimSuffix(v.Path(), "/data"), "/mnt")})
			must(t, err)
			must(t, again.Mount())
			raw, err := os.ReadFile(filepath.Join(again.Path(), "f"))
			if must(t, errors.Join(err, again.Unmount())); string(raw) != "text" {
				t.Errorf("read %q", raw)
			}
		})
	}
}

func TestNewTakesUpAVolumeOfAKilledProgram(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			if err := Supported(k); err != nil {
				t.Skip(err)
			}
			exe, err := os.Executable()
			must(t, err)
			dir := filepath.Join(t.TempDir(), "v")
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), holderEnv+"="+string(k)+":"+dir)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			if line != "<nil>\n" {
				t.Errorf("the program: %s, %v", line, err)
			}
			must(t, cmd.Process.Kill())
			_ = cmd.Wait() // killed
			v, err := New(Config{Kind: k, Dir: dir})
			must(t, err)
			t.Cleanup(func() { must(t, v.Close()) })
			must(t, v.Mount())
			if raw, err := os.ReadFile(filepath.Join(v.Path(), "f")); err != nil || string(raw) != "text" {
				t.Errorf("read %q, %v", raw, err)
			}
			must(t, put(filepath.Join(v.Path(), "f2"), nil))
			must(t, os.Remove(filepath.Join(v.Path(), "f2")))
		})
	}
}

func ended(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not end", what)
	}
	return nil
}
