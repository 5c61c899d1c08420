package kv

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/durable"
)

// Defaults of PebbleConfig. They are small: an idle node shall stay below 100 MiB with all its stores.
const (
	defaultMemTableBytes = 16 << 20
	defaultCacheBytes    = 32 << 20
	defaultMaxOpenFiles  = 256
	bloomBitsPerKey      = 10
)

// PebbleConfig says where and how a Pebble store lives.
type PebbleConfig struct {
	// Dir is the store's folder. It is created.
	Dir string
	// FS is the file system; default: the operating system's.
	FS vfs.FS
	// MemTableBytes is how much is collected in memory before it becomes a table; default 16 MiB. Two may be in memory.
	MemTableBytes uint64
	// CacheBytes bounds the block cache; default 32 MiB.
	CacheBytes int64
	// MaxOpenFiles bounds the open tables; default 256.
	MaxOpenFiles int
	// ReadOnly refuses changes. The folder must hold a store.
	ReadOnly bool
	// OnFlushBegin is called before any memtable is flushed. An error stops the store: nothing is flushed. It runs under Pebble's
	// lock: it must not use this store, and should take milliseconds.
	OnFlushBegin func() error
	// OnFatal is called once, when the store can no longer be trusted, and should end the process. Until it does, all changes fail.
	// Default: panic.
	OnFatal func(error)
	// Logger gets warnings; default: none.
	Logger *slog.Logger
}

func (c PebbleConfig) withDefaults() PebbleConfig {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.MemTableBytes == 0 {
		c.MemTableBytes = defaultMemTableBytes
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.MaxOpenFiles == 0 {
		c.MaxOpenFiles = defaultMaxOpenFiles
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnFatal == nil {
		c.OnFatal = func(err error) { panic(err) }
	}
	return c
}

// pebbleStore is a Store on disk.
type pebbleStore struct {
	db       *pebble.DB
	fs       *durable.FailStop
	readOnly bool
	opening  *opening
	stalls   atomic.Int64
}

// OpenPebble opens the store in a folder, or makes one there. A damaged store is an error that IsCorrupt recognises.
func OpenPebble(config PebbleConfig) (Store, error) {
	c := config.withDefaults()
	if !c.ReadOnly {
		if err := (durable.Disk{FS: c.FS}).MkdirAll(c.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	s := &pebbleStore{readOnly: c.ReadOnly, opening: &opening{}}
	s.fs = durable.NewFailStop(durable.Markers{FS: c.FS}, c.Dir, func(err error) {
		if s.opening.over() { // before that, errors are returned, and stop nobody
			c.OnFatal(fmt.Errorf("key-value store %s: %w", c.Dir, err))
		}
	})
	if err := checkManifest(c.FS, c.Dir); err != nil {
		return nil, fmt.Errorf("open key-value store %s: %w", c.Dir, err)
	}
	cache := pebble.NewCache(c.CacheBytes)
	defer cache.Unref()
	if !c.ReadOnly {
		if err := s.replayLogs(c.Dir, s.options(c, cache)); err != nil {
			return nil, fmt.Errorf("open key-value store %s: %w", c.Dir, err)
		}
	}
	s.opening.begin()
	db, err := s.openDB(c.Dir, s.options(c, cache))
	if err != nil {
		return nil, fmt.Errorf("open key-value store %s: %w", c.Dir, err)
	}
	s.db = db
	found := s.opening.end()
	if s.fs.Err() != nil {
		return nil, fmt.Errorf("open key-value store %s: %w", c.Dir, s.stopped()) // Close would wait for what is tried for ever
	}
	if found != nil {
		return nil, errors.Join(fmt.Errorf("open key-value store %s: %w", c.Dir, found), db.Close())
	}
	return s, nil
}

// replayLogs makes tables of what the logs hold, with nothing at work in the background. Where Pebble does this while goroutines of its own read
// and compact tables already, and then meets damage, it frees what these use: they end the process by a panic before anybody has said what is wrong.
// After this there is next to nothing left over which an Open could fail.
func (s *pebbleStore) replayLogs(dir string, o *pebble.Options) error {
	if there, err := pebble.Peek(dir, o.FS); err != nil || !there.Exists {
		return err
	}
	o.DisableTableStats, o.DisableAutomaticCompactions = true, true
	db, err := s.openDB(dir, o)
	if err != nil {
		return err
	}
	return db.Close()
}

// openDB is pebble.Open, which panics over some damaged files, and tries for ever to flush to a disk that is full or broken. What it holds then,
// its lock among it, is held until the process ends: the folder cannot be opened again before, and a goroutine may wait for ever.
func (s *pebbleStore) openDB(dir string, o *pebble.Options) (*pebble.DB, error) {
	type outcome struct {
		db  *pebble.DB
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- outcome{err: fmt.Errorf("panic over its files (%v): %w", r, pebble.ErrCorruption)}
			}
		}()
		db, err := pebble.Open(dir, o)
		done <- outcome{db, err}
	}()
	select {
	case out := <-done:
		if s.fs.Err() == nil {
			return out.db, out.err
		}
		done <- out
	case <-s.fs.Failed():
	}
	go func() { // ends when Pebble gives up, if it does
		if out := <-done; out.db != nil {
			_ = out.db.Close()
		}
	}()
	return nil, s.stopped() // it says more than what Pebble makes of it
}

// IsCorrupt tells whether an error says that a store's files are damaged.
func IsCorrupt(err error) bool { return pebble.IsCorruptionError(err) }

func (s *pebbleStore) options(c PebbleConfig, cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		FS: &sealingFS{FS: s.fs, dir: c.Dir}, Cache: cache, MemTableSize: c.MemTableBytes, MaxOpenFiles: c.MaxOpenFiles, ReadOnly: c.ReadOnly,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{logger: c.Logger, dir: c.Dir, fail: s.fs.Fail},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.found(err, false) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.found(fmt.Errorf("corrupt %s: %w", info.Path, info.Details), true)
			},
			FlushBegin:      func(pebble.FlushInfo) { s.beforeFlush(c.OnFlushBegin) },
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { s.stalls.Add(1) },
		},
	}
	// One shard of open tables per CPU would divide MaxOpenFiles into uselessly small parts.
	o.Experimental.FileCacheShards = 2
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	return o
}

// opening keeps what Pebble's goroutines find wrong while pebble.Open runs beside them. To stop the file system then would let Open fail under
// them, and they panic over what it has freed.
type opening struct {
	mu     sync.Mutex
	beside bool  // goroutines of Pebble's own are at work; guarded by mu
	ended  bool  // the store is open, and nothing was wrong; guarded by mu
	err    error // the first that was found; guarded by mu
}

// keep takes the error while pebble.Open runs. Without goroutines beside it, only damage: it does not go on after that.
func (o *opening) keep(err error, damage bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	keep := !o.ended && (o.beside || damage)
	if keep && o.err == nil {
		o.err = err
	}
	return keep
}

// begin says that from now on goroutines of Pebble's own are at work.
func (o *opening) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beside = true
}

// end is what was found; if nothing was, nothing more is kept.
func (o *opening) end() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = o.err == nil
	return o.err
}

// over tells whether Open has ended.
func (o *opening) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// found is called by whichever goroutine met something that cannot be mended. What the disk refuses stops the file system by itself.
func (s *pebbleStore) found(err error, damage bool) {
	if !s.opening.keep(err, damage) {
		s.fs.Fail(err)
	}
}

func (s *pebbleStore) stopped() error { return fmt.Errorf("%w: %w", ErrStopped, s.fs.Err()) }

// beforeFlush runs the caller's hook. Pebble cannot be told not to flush; the stopped file system tells it.
func (s *pebbleStore) beforeFlush(hook func() error) {
	if s.fs.Err() != nil && !s.opening.over() {
		select {} // openDB has told it, and Pebble would try again and again, as fast as it can
	}
	if hook == nil {
		return
	}
	if err := hook(); err != nil {
		s.fs.Fail(fmt.Errorf("before the flush of a memtable: %w", err))
	}
}

func (s *pebbleStore) Get(key []byte) ([]byte, error) { return pebbleGet(s.db, key) }
func (s *pebbleStore) Has(key []byte) (bool, error)   { return pebbleHas(s.db, key) }
func (s *pebbleStore) Iter(lower, upper []byte) (Iterator, error) {
	return pebbleIter(s.db, lower, upper)
}
func (s *pebbleStore) Snapshot() Snapshot { return pebbleSnapshot{s.db.NewSnapshot()} }
func (s *pebbleStore) Close() error       { return s.db.Close() }

func (s *pebbleStore) NewBatch() Batch { return &pebbleBatch{store: s, b: s.db.NewIndexedBatch()} }

func (s *pebbleStore) Flush() error {
	if s.readOnly {
		return nil
	}
	if err := s.fs.Err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	select {
	case <-done:
	case <-s.fs.Failed(): // Pebble would try for ever
	}
	if err := s.fs.Err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

func (s *pebbleStore) Checkpoint(dir string) error {
	if err := s.fs.Err(); err != nil {
		return fmt.Errorf("checkpoint to %s: %w", dir, err)
	}
	// The flushed log makes commits without sync part of a copy that is durable.
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("checkpoint to %s: %w", dir, err)
	}
	return s.fs.Err()
}

func (s *pebbleStore) Metrics() Metrics {
	m := s.db.Metrics()
	total := m.Total()
	return Metrics{
		DiskBytes: m.DiskSpaceUsage(), MemTableSize: m.MemTable.Size,
		CacheBytes: m.BlockCache.Size, CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		Flushes: m.Flush.Count, Compactions: m.Compact.Count, CompactionDebt: m.Compact.EstimatedDebt, ReadAmp: m.ReadAmp(),
		BytesWritten: total.TableBytesFlushed + total.TableBytesCompacted + m.WAL.BytesWritten,
		WriteStalls:  s.stalls.Load(), OpenSnapshots: m.Snapshots.Count, TablesOnDisk: total.TablesCount,
		TombstonesCount: m.Keys.TombstoneCount,
	}
}

type pebbleSnapshot struct{ s *pebble.Snapshot }

func (s pebbleSnapshot) Get(key []byte) ([]byte, error) { return pebbleGet(s.s, key) }
func (s pebbleSnapshot) Has(key []byte) (bool, error)   { return pebbleHas(s.s, key) }
func (s pebbleSnapshot) Iter(lower, upper []byte) (Iterator, error) {
	return pebbleIter(s.s, lower, upper)
}
func (s pebbleSnapshot) Close() error { return s.s.Close() }

func pebbleGet(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get key: %w", err)
	}
	own := bytes.Clone(value)
	if own == nil {
		own = []byte{} // an empty value is there
	}
	return own, closer.Close()
}

// pebbleHas asks the filters of all levels. Get leaves out those of the lowest level, where most keys are, because it expects to find its
// key there: for one that is absent it would read a block from the disk.
func pebbleHas(r pebble.Reader, key []byte) (bool, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: key, UpperBound: append(bytes.Clone(key), 0), UseL6Filters: true})
	if err != nil {
		return false, fmt.Errorf("look for key: %w", err)
	}
	found := it.SeekPrefixGE(key)
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return false, fmt.Errorf("look for key: %w", err)
	}
	return found, nil
}

// pebbleLogger passes on what matters and drops the daily chatter.
type pebbleLogger struct {
	logger *slog.Logger
	dir    string
	fail   func(error)
}

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Warn("key-value store complains", "pkg", "kv", "dir", l.dir, "err", fmt.Sprintf(format, args...))
}

// Fatalf is how Pebble reports what it cannot survive. It must not return to go on as if nothing were: the stopped file system
// makes sure that nothing more becomes durable if OnFatal does not end the process.
func (l pebbleLogger) Fatalf(format string, args ...any) { l.fail(fmt.Errorf(format, args...)) }
