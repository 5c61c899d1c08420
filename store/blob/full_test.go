package blob

import (
	"errors"
	"path"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A disk that takes nothing says nothing of the index: it is there, whole, when the disk has room again.
func TestFullDiskIsNoDamageOfTheIndex(t *testing.T) {
	fs := vfs.NewMem()
	d := openDisk(t, small(t, fs))
	var live []sample
	for i := range byte(5) {
		live = append(live, makeSample(t, i, 5000))
		must(t, live[i].put(d, true))
	}
	closeDisk(t, d)
	later := vfs.NewMem() // as the next process finds it: what failed keeps the lock of the other until its own ends
	if _, err := vfs.Clone(fs, later, "/data", "/data"); err != nil {
		t.Fatal(err)
	}
	full := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && path.Ext(op.Path) == ".sst" {
			return syscall.ENOSPC
		}
		return nil
	}))
	if d, err := Open(small(t, full)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("opened %v, %v", d, err)
	}
	if _, err := fs.Stat("/data/blob/" + badIndex); !isGone(err) {
		t.Errorf("the index is marked as damaged: %v", err)
	}
	d = openDisk(t, small(t, later))
	defer closeDisk(t, d)
	if d.stats.Rebuilt {
		t.Error("the index was rebuilt")
	}
	checkAll(t, d, live, nil)
}
