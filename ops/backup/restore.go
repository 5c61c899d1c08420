package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/state"
)

// Target says what Restore makes of a backup.
type Target struct {
	// StateDir and BlobDir are where the node will look for its state and its bodies.
	StateDir, BlobDir string
	// ClusterID is the identity of the new cluster.
	ClusterID string
	// DropSecrets are names of secrets that must not pass on to the new cluster.
	DropSecrets []string
	// Look, if set, may refuse what was restored, when all of it is there.
	Look   func(*state.View) error
	Logger *slog.Logger
}

// Restore verifies a backup and makes it the state and the bodies of a node that is to found a new cluster. If it is interrupted it can be
// run again; what is there already is not copied twice.
func Restore(ctx context.Context, dir string, t Target) (m Manifest, err error) {
	m, err = ReadManifest(dir)
	if err != nil {
		return m, err
	}
	from, err := openBodies(dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := verify(ctx, dir, m, from); err != nil {
		return m, fmt.Errorf("the backup is damaged: %w", err)
	}
	fatal := func(error) {} // what fails afterwards says so
	to, err := blob.Open(blob.Config{Dir: t.BlobDir, OnFatal: fatal, Logger: t.Logger})
	if err != nil {
		return m, err
	}
	machine, err := state.Open(state.Config{Dir: t.StateDir, Blobs: to, OnFatal: fatal, Logger: t.Logger})
	if err != nil {
		return m, errors.Join(err, to.Close())
	}
	err = restore(ctx, dir, m, t, from, to, machine)
	return m, errors.Join(err, machine.Close(), to.Close())
}

func restore(ctx context.Context, dir string, m Manifest, t Target, from, to *blob.Disk, machine *state.Machine) error {
	if err := eachBody(dir, m, func(id store.BodyID) error {
		if has, err := to.Has(id); err != nil || has {
			return err
		}
		encoded, size, err := from.OpenEncoded(id)
		if err != nil {
			return err
		}
		defer encoded.Close()
		return to.Put(ctx, id, 1, encoded, size, false)
	}); err != nil {
		return fmt.Errorf("copy the bodies: %w", err)
	}
	if err := to.Sync(); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, m.State))
	if err != nil {
		return fmt.Errorf("open the backup's state: %w", err)
	}
	defer f.Close()
	if err := machine.Restore(f); err != nil {
		return err
	}
	if err := machine.BecomeNewCluster(t.ClusterID, t.DropSecrets...); err != nil {
		return err
	}
	if err := whole(machine, to); err != nil {
		return err
	}
	if t.Look != nil {
		v := machine.View()
		defer v.Close()
		if err := t.Look(v); err != nil {
			return err
		}
	}
	if err := machine.ClearNeedsAllBodies(machine.Generation()); err != nil {
		return err
	}
	return machine.Persist()
}

// whole checks what was restored before anybody serves it.
func whole(machine *state.Machine, bodies *blob.Disk) error {
	if err := machine.Check(); err != nil {
		return fmt.Errorf("the restored state is damaged: %w", err)
	}
	v := machine.View()
	defer v.Close()
	return v.EachBody(func(id store.BodyID, _ store.EmailID) error {
		has, err := bodies.Has(id)
		if err == nil && !has {
			err = fmt.Errorf("body %v was not restored: %w", id, store.ErrNotFound)
		}
		return err
	})
}
