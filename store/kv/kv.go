package kv

import (
	"fmt"

	"github.com/quorumail/quorumail/store"
)

// Limits on what a store takes; a Set beyond them is refused with ErrTooLarge.
const (
	// MaxKeyBytes is the longest key.
	MaxKeyBytes = 16 << 10
	// MaxValueBytes is the longest value.
	MaxValueBytes = 64 << 20
	// MaxBatchBytes bounds the keys and values that one batch collects.
	MaxBatchBytes = 1 << 30
)

// The errors of a store, besides those of the disk.
var (
	// ErrNotFound: there is no such key. It is also a store.ErrNotFound.
	ErrNotFound = fmt.Errorf("key %w", store.ErrNotFound)
	// ErrTooLarge: over a limit of this package. It is also a store.ErrTooLarge.
	ErrTooLarge = fmt.Errorf("key, value or batch %w", store.ErrTooLarge)
	// ErrInvalid: an empty key or an unbounded range to delete. It is also a store.ErrInvalid.
	ErrInvalid = fmt.Errorf("key or range %w", store.ErrInvalid)
	// ErrStopped: the disk failed while a store was opened. Its files may be sound, and are still in use until the process ends.
	ErrStopped = fmt.Errorf("the disk failed: %w", store.ErrUnavailable)
	// ErrReadOnly: a change in a store that was opened for reading.
	ErrReadOnly = fmt.Errorf("store is read-only: %w", store.ErrDenied)
)

// Reader reads keys. A Snapshot reads one state for ever, a Store the newest one at each call, a Batch the newest one with its own
// changes upon it.
type Reader interface {
	// Get returns the value of key, the caller's own copy, or ErrNotFound.
	Get(key []byte) (value []byte, err error)
	// Has tells whether key is there. For one that is mostly absent, such as a fresh random id, it is far cheaper than Get.
	Has(key []byte) (bool, error)
	// Iter walks the keys in [lower, upper) of the state at the time of the call; nil is no bound. It must be closed before the
	// store is. The bounds must not be changed while it is open.
	Iter(lower, upper []byte) (Iterator, error)
}

// Iterator walks keys in ascending byte order. It begins nowhere: First, Last or a seek comes first. Each move tells whether it
// reached a key. After a false one at an end, a move in the other direction reaches the key nearest to that end.
type Iterator interface {
	// First moves to the first key within the bounds.
	First() bool
	// Last moves to the last key within the bounds.
	Last() bool
	// SeekGE moves to the first key at or after key.
	SeekGE(key []byte) bool
	// SeekLT moves to the last key before key.
	SeekLT(key []byte) bool
	// Next moves to the next key.
	Next() bool
	// Prev moves to the key before.
	Prev() bool
	// Valid tells whether the iterator is at a key.
	Valid() bool
	// Key is the present key, valid until the next move.
	Key() []byte
	// Value is the present value, valid until the next move.
	Value() []byte
	// Err is the error that ended the walk, if one did. A walk that ended in false must ask for it.
	Err() error
	// Close frees what the iterator holds.
	Close() error
}

// Batch collects changes and commits them in one step. It is for one goroutine. It must be closed, also after Commit.
type Batch interface {
	Reader
	// Set stores a value under a key. Both are copied.
	Set(key, value []byte) error
	// Delete removes a key; one that is absent is no error.
	Delete(key []byte) error
	// DeleteRange removes all keys in [lower, upper). Both bounds are needed; an empty range is no error.
	DeleteRange(lower, upper []byte) error
	// Len is about how many bytes were collected.
	Len() int
	// Commit makes the changes visible, and durable if sync. A batch is committed once.
	Commit(sync bool) error
	// Close drops what was not committed.
	Close() error
}

// Snapshot is the state at one moment. It must be closed before the store is; it keeps old data alive until then.
type Snapshot interface {
	Reader
	// Close lets the old data go.
	Close() error
}

// Store is an ordered key-value store. All methods may be called concurrently.
type Store interface {
	Reader
	// NewBatch begins a batch.
	NewBatch() Batch
	// Snapshot freezes the present state.
	Snapshot() Snapshot
	// Flush makes everything committed so far durable.
	Flush() error
	// Checkpoint writes a durable copy of the present state into dir, which must not exist; OpenPebble opens it.
	Checkpoint(dir string) error
	// Metrics are figures to watch.
	Metrics() Metrics
	// Close ends the store. Nothing else may be in progress.
	Close() error
}

// Metrics are figures to watch; the memory twin fills in DiskBytes only.
type Metrics struct {
	DiskBytes       uint64 // live and not yet deleted tables and logs
	MemTableSize    uint64 // bytes in memtables
	CacheBytes      int64  // bytes in the block cache
	CacheHits       int64  // reads that the block cache served
	CacheMisses     int64  // reads that it did not serve
	Flushes         int64  // memtables flushed since Open
	Compactions     int64  // compactions since Open
	CompactionDebt  uint64 // bytes that compactions still have to rewrite
	ReadAmp         int    // tables that a read may have to look into
	BytesWritten    uint64 // bytes written to tables and logs since Open
	WriteStalls     int64  // times that writes had to wait for flushes or compactions
	OpenSnapshots   int    // snapshots not yet closed
	TablesOnDisk    int64  // live tables
	TombstonesCount uint64 // deleted keys that still take space
}

// checkKey refuses keys that a store cannot take.
func checkKey(key []byte) error {
	switch {
	case len(key) == 0:
		return fmt.Errorf("empty key: %w", ErrInvalid)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("key of %d bytes: %w", len(key), ErrTooLarge)
	}
	return nil
}

// checkSet refuses pairs that a store cannot take, or that would not fit into a batch of batchBytes.
func checkSet(key, value []byte, batchBytes int) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(value) > MaxValueBytes || batchBytes+len(key)+len(value) > MaxBatchBytes {
		return fmt.Errorf("value of %d bytes in a batch of %d: %w", len(value), batchBytes, ErrTooLarge)
	}
	return nil
}

// checkRange refuses ranges without bounds: deleting everything must be said.
func checkRange(lower, upper []byte) error {
	if err := checkKey(lower); err != nil {
		return err
	}
	return checkKey(upper)
}
