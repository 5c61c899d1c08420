package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
	"github.com/quorumail/quorumail/jepsen/freeze"
)

// put writes a file of a part, and syncs it.
func put(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// run does something in another goroutine.
func run(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- do() }() // the test waits for what it sends
	return done
}

func TestFaultsHitTheirPart(t *testing.T) {
	v := volume(t, FaultFS)
	at := func(name string) string { return filepath.Join(v.Path(), name) }
	files := map[Part]string{Log: at("raft/wal/1.wal"), State: at("state/kv-1/1.log"), Bodies: at("blobs/seg-1")}
	text := bytes.Repeat([]byte("text"), 1000)
	write := func(path string) error { return put(path, text) }
	read := func(path string) error { _, err := os.ReadFile(path); return err }
	for _, tc := range []struct {
		fault func(Part) Fault
		do    func(path string) error
		want  error
	}{
		{FailRead, read, syscall.EIO},
		{FailWrite, write, syscall.EIO},
		{FailSync, write, syscall.EIO},
		{ForgetSync, write, syscall.EIO},
		{NoSpace, write, syscall.ENOSPC},
	} {
		for _, part := range Parts() {
			t.Run(tc.fault(part).Name, func(t *testing.T) {
				for _, path := range files {
					must(t, write(path))
				}
				undo, err := v.Inject(tc.fault(part))
				must(t, err)
				for p, path := range files {
					if err := tc.do(path); p == part && !errors.Is(err, tc.want) || p != part && err != nil {
						t.Errorf("the %s: %v", p, err)
					}
				}
				undo()
				must(t, tc.do(files[part]))
			})
		}
	}
}

func TestForgottenSyncIsLostForGood(t *testing.T) {
	v := volume(t, FaultFS)
	path := filepath.Join(v.Path(), "raft/wal/1.wal")
	must(t, put(path, []byte("safe, ")))
	must(t, v.(*faulty).syncAll())
	_, err := v.Inject(ForgetSync(Log))
	must(t, err)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("lost")
	must(t, err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync: %v", err)
	}
	must(t, v.Heal())
	must(t, errors.Join(f.Sync(), f.Close()))
	_, err = v.Restore()
	must(t, err)
	raw, err := os.ReadFile(path)
	if must(t, err); bytes.Contains(raw, []byte("lost")) || !bytes.HasPrefix(raw, []byte("safe, ")) {
		t.Errorf("after the loss of power: %q", raw)
	}
}

// syncAll makes all safe: a clean unmount.
func (v *faulty) syncAll() error { return errors.Join(v.Unmount(), v.Mount()) }

func TestHangingSyncGoesOnWhenHealed(t *testing.T) {
	v := volume(t, FaultFS)
	must(t, put(filepath.Join(v.Path(), "raft/f"), nil))
	undo, err := v.Inject(HangSync(Log))
	must(t, err)
	done := run(func() error { return put(filepath.Join(v.Path(), "raft/f"), []byte("text")) })
	must(t, put(filepath.Join(v.Path(), "state/f"), []byte("text"))) // others do not hang
	select {
	case err := <-done:
		t.Fatalf("the fsync has ended: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	undo()
	must(t, ended(t, "a healed fsync", done))
}

func TestHangingSyncEndsWithThePower(t *testing.T) {
	v := volume(t, FaultFS)
	must(t, put(filepath.Join(v.Path(), "raft/f"), nil))
	_, err := v.Inject(HangSync(Log))
	must(t, err)
	done := run(func() error { return put(filepath.Join(v.Path(), "raft/f"), []byte("text")) })
	must(t, v.Cut())
	if err := ended(t, "an fsync without power", done); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync: %v", err)
	}
	must(t, v.Heal())
	_, err = v.Restore()
	must(t, err)
}

func TestKillingEndsAProgramWhoseDiskHangs(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut ", cut), func(t *testing.T) { killHanging(t, cut) })
	}
}

func killHanging(t *testing.T, cut bool) {
	v := volume(t, FaultFS)
	_, err := v.Inject(HangSync(All))
	must(t, err)
	w := startWriter(t, v, "file") // it begins with an fsync
	for {
		// Until the file is there, polled: the fsync comes right after.
		if _, err := os.Stat(w.path); err == nil {
			break
		}
		time.Sleep(time.Millisecond) // polling
	}
	if cut {
		must(t, v.Cut()) // stops it
	}
	must(t, w.cmd.Process.Kill())
	var exit *exec.ExitError
	if err := ended(t, "a killed program", run(w.cmd.Wait)); !errors.As(err, &exit) {
		t.Errorf("the program: %v", err)
	}
	_, err = v.Restore()
	must(t, err)
}

// TestPausedProgramGetsNoError: a disk knows no EINTR.
func TestPausedProgramGetsNoError(t *testing.T) {
	v := volume(t, FaultFS)
	w := startWriter(t, v, "file")
	w.until(10)
	undo, err := v.Inject(HangSync(All))
	must(t, err)
	// Whether the writer is in an fsync by then does not matter: it comes to the next one soon.
	for range 20 {
		stopped, err := freeze.Stop(w.cmd.Process.Pid)
		must(t, err)
		must(t, freeze.Resume(stopped))
		time.Sleep(5 * time.Millisecond) // in which it runs
	}
	undo()
	for safe := w.safe; w.safe < safe+50; {
		if err := w.read(); err != nil {
			t.Fatalf("the writer: %v: %s", err, &w.stderr)
		}
	}
	w.kill()
}

func TestSlowDiskIsSlow(t *testing.T) {
	v := volume(t, FaultFS)
	must(t, put(filepath.Join(v.Path(), "raft/f"), nil))
	_, err := v.Inject(SlowSync(Log, 200*time.Millisecond))
	must(t, err)
	began := time.Now()
	must(t, put(filepath.Join(v.Path(), "raft/f"), []byte("text")))
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("an fsync took %v", took)
	}
}

func TestFlippedReadsHealTooInTheKernel(t *testing.T) {
	v := volume(t, FaultFS)
	path, text := filepath.Join(v.Path(), "blobs/seg-1"), bytes.Repeat([]byte("text"), 1000)
	must(t, put(path, text))
	keeper, err := os.Open(path) // an open file keeps what the kernel has read
	must(t, err)
	defer keeper.Close()
	got := make([]byte, len(text))
	read := func() bool {
		_, err := keeper.ReadAt(got, 0)
		must(t, err)
		return bytes.Equal(got, text)
	}
	if !read() {
		t.Fatal("a sound disk reads wrongly")
	}
	undo, err := v.Inject(FlipRead(Bodies, 1))
	must(t, err)
	if read() {
		t.Error("the kernel remembers what was there before")
	}
	undo()
	if !read() {
		t.Error("the kernel remembers the flipped bit")
	}
}

func TestFaultsOfReadsWhileReadsHang(t *testing.T) {
	v := volume(t, FaultFS)
	path, text := filepath.Join(v.Path(), "blobs/seg-1"), bytes.Repeat([]byte("text"), 10000)
	must(t, put(path, text))
	must(t, v.(*faulty).syncAll()) // the kernel forgets
	_, err := v.Inject(Fault{Name: "reads hang", Rule: faultfs.Rule{Op: "read", Hang: true}})
	must(t, err)
	read := func() error {
		raw, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(raw, text) {
			err = errors.New("it is not what was written")
		}
		return err
	}
	done := run(read)
	time.Sleep(50 * time.Millisecond) // the read hangs by then
	undo, err := v.Inject(FlipRead(Bodies, 1))
	must(t, err)
	undo()
	_, err = v.Inject(FlipRead(Bodies, 1))
	must(t, err)
	must(t, v.Heal())
	if err := ended(t, "a healed read", done); err != nil {
		t.Logf("the read met the fault before it was healed: %v", err)
	}
	must(t, read())
}

func TestFaultsOutliveTheMount(t *testing.T) {
	v := volume(t, FaultFS)
	must(t, v.Unmount())
	undo, err := v.Inject(FailSync(All))
	must(t, err)
	must(t, v.Mount())
	_, err = v.Restore()
	must(t, err)
	path := filepath.Join(v.Path(), "f")
	if err := put(path, nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync: %v", err)
	}
	undo()
	must(t, put(path, nil))
}

func TestOnlyFaultFSFails(t *testing.T) {
	for _, k := range []Kind{Plain, Ext4, XFS} {
		t.Run(string(k), func(t *testing.T) {
			if _, err := volume(t, k).Inject(FailSync(Log)); !errors.Is(err, ErrNotHere) {
				t.Errorf("inject: %v", err)
			}
		})
	}
}

func TestFullDiskRefusesUntilThereIsRoom(t *testing.T) {
	for _, k := range cutKinds() {
		t.Run(string(k), func(t *testing.T) {
			v := volume(t, k)
			path := filepath.Join(v.Path(), "f")
			must(t, put(path, []byte("text")))
			undo, err := v.Fill(4 << 20)
			must(t, err)
			must(t, put(path+"1", make([]byte, 1<<20)))
			if err := put(path+"2", make([]byte, 8<<20)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("8 MiB on 3 MiB: %v", err)
			}
			must(t, os.Remove(path+"2"))
			_, err = v.Restore()
			must(t, err)
			if err := put(path+"2", make([]byte, 8<<20)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("8 MiB on 3 MiB after a loss of power: %v", err)
			}
			must(t, undo())
			must(t, put(path+"2", make([]byte, 8<<20)))
		})
	}
	if _, err := volume(t, Plain).Fill(0); !errors.Is(err, ErrNotHere) {
		t.Errorf("a plain folder: %v", err)
	}
}
