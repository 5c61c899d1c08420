package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/quorumail/quorumail/jepsen/freeze"
)

// armed is a volume that can be made ready to be cut, so that cut has little left to do.
type armed interface {
	Path() string
	arm() (cut func() error, err error)
}

// CutAll cuts several volumes as nearly at once as it can, and says how far apart the first and the last were. The programs that use them
// stand from a moment before on (SIGSTOP); the caller kills them. An error means that not all are cut.
//
// Without power a program does not run, so this is true to life. It is needed besides: an fsync of ext4 that FS_IOC_SHUTDOWN overtakes can say
// that it succeeded (Linux 6.18: jbd2_complete_transaction takes a transaction for committed that the abort threw away). The program would
// acknowledge what is lost.
func CutAll(volumes []Volume) (spread time.Duration, err error) {
	cuts := make([]func() error, len(volumes))
	paths := make([]string, len(volumes))
	for i, v := range volumes {
		a, ok := v.(armed)
		if !ok {
			return 0, fmt.Errorf("cut %s: %w", v.Path(), errCut)
		}
		if paths[i], err = filepath.EvalSymlinks(v.Path()); err != nil {
			return 0, fmt.Errorf("find who uses %s: %w", v.Path(), err)
		}
		if cuts[i], err = a.arm(); err != nil {
			return 0, fmt.Errorf("get ready to cut %s: %w", v.Path(), err)
		}
	}
	if _, err := freeze.Stop(users(paths)...); err != nil {
		return 0, fmt.Errorf("stop the programs that use %v: %w", paths, err)
	}
	return together(cuts)
}

// together does several things at once, each in a goroutine.
func together(cuts []func() error) (spread time.Duration, err error) {
	var (
		wg   sync.WaitGroup
		now  = make(chan struct{})
		done = make([]time.Time, len(cuts))
		errs = make([]error, len(cuts))
	)
	for i, cut := range cuts {
		wg.Go(func() {
			<-now
			errs[i] = cut()
			done[i] = time.Now()
		})
	}
	close(now)
	wg.Wait()
	if len(done) > 0 {
		spread = slices.MaxFunc(done, time.Time.Compare).Sub(slices.MinFunc(done, time.Time.Compare))
	}
	return spread, errors.Join(errs...)
}

var errCut = fmt.Errorf("%w: only %s, %s and %s lose power", ErrNotHere, FaultFS, Ext4, XFS)
