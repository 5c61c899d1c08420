package blob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
)

// The errors of a Store, besides those of the disk.
var (
	// ErrNotFound: the store has no such body. It is also a store.ErrNotFound.
	ErrNotFound = fmt.Errorf("body %w", store.ErrNotFound)
	// ErrCorrupt: stored or given bytes fail a checksum. A stored body that does so counts as missing until it is put again.
	ErrCorrupt = errors.New("body is corrupt")
	// ErrNoSpace: the disk is too full for this body. Nothing was stored. It is also a store.ErrNoSpace.
	ErrNoSpace = fmt.Errorf("body store: %w", store.ErrNoSpace)
)

// Pos counts what was appended since the store was opened. A body is durable once SyncedPos has reached the AppendedPos that was
// seen after its Put.
type Pos uint64

// Store keeps bodies. All methods may be called concurrently.
type Store interface {
	// Put stores a container of sizeBytes under an id, with the epoch of its upload. The container's checksums are verified, and that
	// it claims the id's digest; if not, ErrCorrupt, or io.ErrUnexpectedEOF if it is too short. Nothing of a Put that fails is stored.
	// With sync, nil means that the body is durable. A body that is there already is not written again, nor is its epoch changed, but
	// sync holds for it too; one that is known to be corrupt is replaced. The reader is read to its end outside of all locks; ctx
	// ends the waiting, not an fsync.
	Put(ctx context.Context, id store.BodyID, epoch uint64, encoded io.Reader, sizeBytes int64, sync bool) error
	// Sync makes everything durable that was put or deleted before the call. It is cheap when nothing was.
	Sync() error
	// AppendedPos is the position behind the last change.
	AppendedPos() Pos
	// SyncedPos is the position up to which changes are durable.
	SyncedPos() Pos
	// Open reads a body. Errors: ErrNotFound, ErrCorrupt.
	Open(id store.BodyID) (Reader, error)
	// OpenEncoded reads a body's container, with its length, to pass it on. The last read fails with ErrCorrupt instead of io.EOF if
	// the bytes did not match their checksum.
	OpenEncoded(id store.BodyID) (encoded io.ReadCloser, sizeBytes int64, err error)
	// Has tells whether the store has a body that is not known to be corrupt.
	Has(id store.BodyID) (bool, error)
	// Verify reads a whole body and checks every checksum and its digest. Errors: ErrNotFound, ErrCorrupt.
	Verify(id store.BodyID) error
	// Delete drops a body; one that is absent is no error. It is durable after the next Sync; open readers may go on.
	Delete(id store.BodyID) error
	// Each calls f for every body that is not known to be corrupt, with its upload epoch and the length of its container, in the
	// order of ids, until f fails. Bodies that come or go meanwhile may be met or not. f may use the store.
	Each(f func(id store.BodyID, epoch uint64, bytes int64) error) error
	// Compact gives back the space of deleted bodies. It is Syncing as needed, and safe to end at any time.
	Compact(ctx context.Context) error
	// Scrub reads every body once at a bounded rate (0: none) and calls onBad for those that are corrupt, also for those that were
	// known to be. onBad may use the store.
	Scrub(ctx context.Context, bytesPerSecond int64, onBad func(id store.BodyID, err error)) error
	// Stats are figures to watch.
	Stats() Stats
	// Close ends the store. Readers must have been closed, and nothing else may be in progress.
	Close() error
}

// Stats are figures to watch; counts of events are since Open.
type Stats struct {
	Bodies       int64 // stored, including corrupt ones
	CorruptKnown int64 // of these, known to be corrupt
	LiveBytes    int64 // of records that are needed
	TotalBytes   int64 // of all segments
	Segments     int64
	Puts         int64 // bodies written
	PutBytes     int64 // bytes of these
	Deletes      int64
	Fsyncs       int64 // of segments
	SyncWaits    int64 // times that somebody waited for an fsync
	Compacted    int64 // segments rewritten or removed
	Rebuilt      bool  // Open rebuilt the index: bodies deleted earlier may be back, and known corrupt ones are absent
	Appended     Pos
	Synced       Pos
}

// noSpace turns an error that means a full disk into an ErrNoSpace.
func noSpace(err error) error {
	if durable.IsNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
