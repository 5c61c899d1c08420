//go:build broken

package blob

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/broken"
)

// survives tells whether a body that was acknowledged as durable, and one of a command that was synced with Sync, are there after a loss of power.
func survives(t *testing.T) (beside, inline bool) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	d := openDisk(t, small(t, mem))
	defer d.Close()
	a, b := makeSample(t, 1, 3000), makeSample(t, 2, 200)
	must(t, a.put(d, true))
	must(t, b.put(d, false))
	must(t, d.Sync())
	after := openDisk(t, small(t, mem.CrashClone(vfs.CrashCloneCfg{})))
	defer after.Close()
	return a.check(after) == nil, b.check(after) == nil
}

func TestWithoutFsyncALossOfPowerTakesBodies(t *testing.T) {
	if beside, inline := survives(t); !beside || !inline {
		t.Fatalf("with fsync: %v, %v", beside, inline)
	}
	t.Setenv("QUORUMAIL_BROKEN", string(broken.FsyncBody))
	if beside, inline := survives(t); beside || inline {
		t.Errorf("without fsync: the bodies are there: %v, %v", beside, inline)
	}
}
