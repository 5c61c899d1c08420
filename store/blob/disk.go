package blob

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/semaphore"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/kv"
)

// Config says where and how a Disk lives.
type Config struct {
	// Dir is the store's folder. It is created.
	Dir string
	// FS is the file system; default: the operating system's.
	FS vfs.FS
	// SegmentBytes is about how long a segment becomes before the next one is begun; default 64 MiB.
	SegmentBytes int64
	// LargeBytes is the container length from which a body gets a segment of its own and is streamed into it; smaller ones pass
	// through memory. Default 4 MiB.
	LargeBytes int64
	// BufferBytes bounds the memory of all Puts in progress; further ones wait. Default 32 MiB; at least LargeBytes.
	BufferBytes int64
	// IndexCacheBytes and IndexMemTableBytes bound the index's memory; defaults 8 MiB and 4 MiB.
	IndexCacheBytes    int64
	IndexMemTableBytes uint64
	// OnFatal is called once, when a write or fsync failed, and should end the process; until it does, all changes fail. It may be
	// called under locks: it must not use the store. Default: panic.
	OnFatal func(error)
	// Logger gets what an operator should know; default: none.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.LargeBytes == 0 {
		c.LargeBytes = 4 << 20
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = max(32<<20, c.LargeBytes)
	}
	if c.IndexCacheBytes == 0 {
		c.IndexCacheBytes = 8 << 20
	}
	if c.IndexMemTableBytes == 0 {
		c.IndexMemTableBytes = 4 << 20
	}
	if c.OnFatal == nil {
		c.OnFatal = func(err error) { panic(err) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dir == "" || c.SegmentBytes < 0 || c.LargeBytes < 0 || c.BufferBytes < c.LargeBytes {
		return c, fmt.Errorf("body store in %q with segments of %d, large bodies of %d, buffers of %d bytes: %w",
			c.Dir, c.SegmentBytes, c.LargeBytes, c.BufferBytes, store.ErrInvalid)
	}
	return c, nil
}

// Disk is a Store in segment files.
type Disk struct {
	config  Config
	disk    durable.Disk
	log     *slog.Logger
	lock    io.Closer
	index   kv.Store
	handles *handles
	buffers *semaphore.Weighted

	fatalOnce sync.Once
	fatal     atomic.Pointer[error]
	corrupt   atomic.Int64 // bodies known to be corrupt
	compact   sync.Mutex   // one Compact at a time

	// mu guards what follows, and orders appends and changes of the index.
	mu       sync.Mutex
	segments map[uint64]*segment
	dirty    map[*segment]bool         // have bytes that were never synced
	head     *segment                  // takes the next record; nil: none is open
	arrivals map[store.BodyID]*arrival // bodies that Puts are bringing
	next     uint64                    // number of the next segment
	appended Pos
	synced   Pos
	syncing  chan struct{} // closed when the fsync in progress ends; nil: none
	newNames bool          // the folder must be fsynced
	stats    Stats
}

var _ Store = (*Disk)(nil)

// Open opens the store in a folder, or makes one there, after whatever crash: see DESIGN.md.
func Open(config Config) (*Disk, error) {
	c, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Disk{config: c, disk: durable.Disk{FS: c.FS}, log: c.Logger.With("pkg", "blob"), segments: map[uint64]*segment{}, dirty: map[*segment]bool{}, arrivals: map[store.BodyID]*arrival{},
		buffers: semaphore.NewWeighted(c.BufferBytes), next: 1}
	d.handles = &handles{fs: c.FS, path: d.segmentPath, open: map[uint64]*handle{}}
	if err := d.disk.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("body store: %w", err)
	}
	if d.lock, err = c.FS.Lock(d.path("LOCK")); err != nil {
		return nil, fmt.Errorf("lock body store %s: %w", c.Dir, err)
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open body store %s: %w", c.Dir, err), d.close())
	}
	return d, nil
}

func (d *Disk) path(name string) string { return d.config.FS.PathJoin(d.config.Dir, name) }

func (d *Disk) segmentPath(number uint64) string { return d.path(segmentName(number)) }

func segmentName(number uint64) string { return fmt.Sprintf("seg-%016d", number) }

// fail stops the store for good.
func (d *Disk) fail(err error) error {
	d.fatalOnce.Do(func() {
		d.fatal.Store(&err)
		d.config.OnFatal(fmt.Errorf("body store %s: %w", d.config.Dir, err))
	})
	return err
}

// failed is the error that stopped the store, or nil.
func (d *Disk) failed() error {
	if p := d.fatal.Load(); p != nil {
		return fmt.Errorf("body store has stopped: %w", *p)
	}
	return nil
}

// AppendedPos implements Store.
func (d *Disk) AppendedPos() Pos {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.appended
}

// SyncedPos implements Store.
func (d *Disk) SyncedPos() Pos {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.synced
}

// Stats implements Store.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	for _, x := range d.segments {
		s.Bodies += x.bodies
		s.LiveBytes += x.live
		s.TotalBytes += x.size
	}
	s.Segments = int64(len(d.segments))
	s.CorruptKnown = d.corrupt.Load()
	s.Appended, s.Synced = d.appended, d.synced
	return s
}

// Close implements Store. What was put without sync is synced.
func (d *Disk) Close() error {
	return errors.Join(d.Sync(), d.close())
}

func (d *Disk) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.handles.close()
	for _, s := range d.segments {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
			s.file = nil
		}
	}
	if d.index != nil {
		err = errors.Join(err, d.index.Close())
		d.index = nil
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
		d.lock = nil
	}
	return err
}
