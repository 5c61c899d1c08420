package blob_test

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Test(t, func(*testing.T) blobtest.Subject {
		m := blob.NewMemory()
		return blobtest.Subject{Store: m, Damage: m.Damage}
	})
}

func TestDisk(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "files": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			blobtest.Test(t, func(t *testing.T) blobtest.Subject {
				d, err := blob.Open(blob.Config{Dir: filepath.Join(t.TempDir(), "blob"), FS: fs, SegmentBytes: 64 << 10, LargeBytes: 256 << 10,
					OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
				if err != nil {
					t.Fatal(err)
				}
				return blobtest.Subject{Store: d, Damage: func(id store.BodyID) error { return blob.Damage(d, id) }}
			})
		})
	}
}
