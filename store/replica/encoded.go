package replica

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// OpenEncoded reads a live body's container, with its length, as it is stored: for a backup. It comes from this node's store or from a
// peer that holds it. The last read fails with blob.ErrCorrupt instead of io.EOF when this node's copy turns out to be corrupt; it is
// repaired, and another call reads a peer's. Errors: as OpenBody.
func (r *Replica) OpenEncoded(ctx context.Context, id store.BodyID) (io.ReadCloser, int64, error) {
	encoded, size, err := r.cfg.Blobs.OpenEncoded(id)
	if err == nil {
		return &suspicious{encoded, func() { r.suspect(id) }}, size, nil
	}
	if !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, blob.ErrCorrupt) {
		return nil, 0, fmt.Errorf("open body: %w", err)
	}
	if err := r.known(id); err != nil {
		return nil, 0, err
	}
	r.suspect(id)
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	s, err := r.fetch(ctx, id, nil)
	if err != nil {
		return nil, 0, err
	}
	return spooled{s.Open(), s}, s.size, nil
}

// suspicious tells when what it reads is corrupt.
type suspicious struct {
	io.ReadCloser
	tell func()
}

func (s *suspicious) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if errors.Is(err, blob.ErrCorrupt) {
		s.tell()
	}
	return n, err
}

type spooled struct {
	io.Reader
	io.Closer
}
