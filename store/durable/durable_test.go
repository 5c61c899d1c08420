package durable_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/quorumail/quorumail/store/durable"
)

var errDisk = errors.New("disk broke")

// failing lets every operation of one kind fail, on paths that contain a text.
func failing(fs vfs.FS, kind errorfs.OpKind, path string) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == kind && strings.Contains(op.Path, path) {
			return errDisk
		}
		return nil
	}))
}

func read(t *testing.T, fs vfs.FS, path string) string {
	t.Helper()
	data, err := durable.Disk{FS: fs}.ReadFile(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWriteFileSurvivesACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	disk := durable.Disk{FS: mem}
	if err := disk.MkdirAll("/a/b/c", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "second, longer", "3"} {
		if err := disk.WriteFile("/a/b/c/f", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := read(t, mem.CrashClone(vfs.CrashCloneCfg{}), "/a/b/c/f"); got != content {
			t.Errorf("after the crash %q, want %q", got, content)
		}
	}
}

func TestWriteFileKeepsTheOldContentWhenItFails(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"create": errorfs.OpCreate, "write": errorfs.OpFileWrite, "fsync": errorfs.OpFileSync, "rename": errorfs.OpRename,
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			if err := (durable.Disk{FS: mem}).WriteFile("f", []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := durable.Disk{FS: failing(mem, kind, "f")}.WriteFile("f", []byte("new"), 0o600)
			if !errors.Is(err, errDisk) {
				t.Fatalf("error %v, want the disk's", err)
			}
			if got := read(t, mem, "f"); got != "old" {
				t.Errorf("content %q, want the old one", got)
			}
		})
	}
}

func TestRenameAndRemoveSurviveACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	disk := durable.Disk{FS: mem}
	for _, err := range []error{
		disk.MkdirAll("/x", 0o700), disk.MkdirAll("/y", 0o700), disk.WriteFile("/x/f", []byte("1"), 0o600),
		disk.WriteFile("/x/g", []byte("2"), 0o600), disk.Rename("/x/f", "/y/f"), disk.Remove("/x/g"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if got := read(t, after, "/y/f"); got != "1" {
		t.Errorf("moved file holds %q", got)
	}
	if names, err := after.List("/x"); err != nil || len(names) != 0 {
		t.Errorf("old folder holds %v, %v", names, err)
	}
}

func TestFailedSyncIsReported(t *testing.T) {
	mem := vfs.NewMem()
	disk := durable.Disk{FS: failing(mem, errorfs.OpFileSync, "")}
	if err := disk.SyncDir("/"); !errors.Is(err, errDisk) {
		t.Errorf("SyncDir: %v", err)
	}
	if err := disk.MkdirAll("/d", 0o700); !errors.Is(err, errDisk) {
		t.Errorf("MkdirAll: %v", err)
	}
	if err := (durable.Disk{FS: mem}).Remove("/nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Remove of nothing: %v", err)
	}
}

func TestOperatingSystemFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "er")
	path := filepath.Join(dir, "secret")
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := durable.OS.Truncate(path, 4); err != nil {
		t.Fatal(err)
	}
	if got := read(t, nil, path); got != "0123" {
		t.Errorf("after truncation %q", got)
	}
	if _, err := durable.OS.ReadFile(path, 3); err == nil {
		t.Error("a file over the limit was read")
	}
	if free, err := durable.FreeBytes(dir); err != nil || free == 0 {
		t.Errorf("free bytes %d, %v", free, err)
	}
	if err := durable.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if err := durable.Remove(path + "2"); err != nil {
		t.Fatal(err)
	}
	if err := durable.OS.SyncDir(dir); err != nil {
		t.Error(err)
	}
}

func TestIsNoSpace(t *testing.T) {
	if !durable.IsNoSpace(&os.PathError{Err: syscall.ENOSPC}) || !durable.IsNoSpace(syscall.EDQUOT) || durable.IsNoSpace(errDisk) {
		t.Error("full disks are not told apart")
	}
}

func TestFailStopReportsOnceAndStaysFailed(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"create": errorfs.OpCreate, "write": errorfs.OpFileWrite, "write at": errorfs.OpFileWriteAt, "fsync": errorfs.OpFileSync,
		"fdatasync": errorfs.OpFileSyncData, "rename": errorfs.OpRename,
	} {
		t.Run(name, func(t *testing.T) {
			var reports []error
			broken := false
			mem := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == kind && broken {
					return errDisk
				}
				return nil
			}))
			fs := durable.NewFailStop(mem, "/d", func(err error) { reports = append(reports, err) })
			if err := fs.MkdirAll("/d", 0o700); err != nil {
				t.Fatal(err)
			}
			use := func() error { return touch(fs, "/d") }
			if err := use(); err != nil {
				t.Fatal(err)
			}
			broken = true
			if err := use(); !errors.Is(err, errDisk) {
				t.Fatalf("got %v, want the disk's error", err)
			}
			broken = false
			if err := use(); !errors.Is(err, errDisk) {
				t.Errorf("the file system works again: %v", err)
			}
			<-fs.Failed()
			if len(reports) != 1 || !errors.Is(reports[0], errDisk) || !errors.Is(fs.Err(), errDisk) {
				t.Errorf("reports: %v; Err: %v", reports, fs.Err())
			}
		})
	}
}

func TestFailStopIgnoresOtherFolders(t *testing.T) {
	fs := durable.NewFailStop(failing(vfs.NewMem(), errorfs.OpFileSync, ""), "/d", func(err error) { t.Errorf("stopped: %v", err) })
	if err := fs.MkdirAll("/dd", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := touch(fs, "/dd"); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want the disk's error", err)
	}
	if fs.Err() != nil {
		t.Errorf("stopped: %v", fs.Err())
	}
}

// touch does one of each operation below dir.
func touch(fs vfs.FS, dir string) (err error) {
	f, err := fs.Create(dir+"/a", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("x"))
	err = errors.Join(err, f.Sync(), f.SyncData(), f.Close())
	if err != nil {
		return err
	}
	if err := fs.Rename(dir+"/a", dir+"/b"); err != nil {
		return err
	}
	if f, err = fs.OpenReadWrite(dir+"/b", vfs.WriteCategoryUnspecified); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("y"), 0)
	return errors.Join(err, f.Close())
}

func TestMarkerDoesNotOutliveWhatItNames(t *testing.T) {
	for seed := range uint64(50) {
		mem := vfs.NewCrashableMem()
		if err := (durable.Disk{FS: mem}).MkdirAll("/d", 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/d/MANIFEST-000001", "/d/marker.manifest.000001.MANIFEST-000001"} {
			f, err := durable.Markers{FS: mem}.Create(name, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
		_, named := after.Stat("/d/MANIFEST-000001")
		if _, marker := after.Stat("/d/marker.manifest.000001.MANIFEST-000001"); marker == nil && named != nil {
			t.Fatalf("seed %d: the marker is there, and what it names is not", seed)
		}
	}
}
