package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// Verify reads all of a backup: the manifest, the state, and every body that the state refers to, each compared with its digest. It
// changes nothing but the folder's lock, and reports every body that is bad up to a bound.
func Verify(ctx context.Context, dir string) (Manifest, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return m, err
	}
	bodies, err := openBodies(dir)
	if err != nil {
		return m, err
	}
	err = verify(ctx, dir, m, bodies)
	return m, errors.Join(err, bodies.Close())
}

// maxBad bounds what Verify reports.
const maxBad = 20

func verify(ctx context.Context, dir string, m Manifest, bodies *blob.Disk) error {
	h := sha256.New()
	n := int64(0)
	var bad []error
	err := eachBody(dir, m, func(id store.BodyID) error {
		n++
		h.Write(id[:])
		if err := bodies.Verify(id); err != nil && len(bad) < maxBad {
			bad = append(bad, fmt.Errorf("body %v: %w", id, err))
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if n != m.Bodies || hex.EncodeToString(h.Sum(nil)) != m.BodiesHash {
		bad = append(bad, fmt.Errorf("the state refers to %d bodies, and the manifest names %d or others", n, m.Bodies))
	}
	return errors.Join(bad...)
}
