package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/quorumail/quorumail/store/durable"
)

// ErrRot: the log is not what was written.
var ErrRot = errors.New("the log is damaged: this node must be replaced under a new id")

// Config says where the log lives.
type Config struct {
	Dir     string
	Kind    string        // "wal" (default) or "bolt"
	Hang    time.Duration // how long a write may take before the disk counts as dead; default 3 s
	OnFatal func(error)   // must end the process; may be called again until it did
	Logger  *slog.Logger  // default: silent

	FS           vfs.FS // default: the operating system's; "bolt" can have no other
	SegmentBytes int    // of raft-wal's files; default 64 MiB
	CacheEntries int    // how many of the newest entries stay in memory; default 2,048
	CacheBytes   int64  // and how many bytes of them; default 16 MiB
}

func (c *Config) setDefaults() {
	if c.Kind == "" {
		c.Kind = "wal"
	}
	if c.Hang == 0 {
		c.Hang = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.CacheEntries == 0 {
		c.CacheEntries = 2048
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
}

// entryStore is what keeps the entries: raft-wal or raft-boltdb.
type entryStore interface {
	raft.LogStore
	io.Closer
}

// Log is the node's log, and the store of its term and vote.
type Log struct {
	cfg    Config
	disk   durable.Disk
	lock   io.Closer
	store  entryStore
	stable *stable
	end    *endFile
	cache  *cache
	gate   *gate
	size   averageSize
	first  atomic.Uint64 // the oldest entry, 0 for none
	watch  *watch

	mu     sync.Mutex
	failed error // the first fatal error; guarded by mu
	closed bool  // guarded by mu

	cancel     context.CancelFunc // ends the goroutines
	background sync.WaitGroup
}

// Open opens or makes the log. ErrRot when what is there is damaged.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg.setDefaults()
	opened, err := cfg.chooseFS()
	if err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, disk: durable.Disk{FS: cfg.FS}, cache: newCache(cfg.CacheEntries, cfg.CacheBytes), watch: newWatch(cfg.Hang), gate: newGate()}
	if err := l.disk.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := l.fs().Lock(filepath.Join(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("lock the log, which another process may have open: %w", err)
	}
	l.lock = lock
	if err := l.orDrop(l.openFiles()); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	opened()
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.background.Add(1)
	go func() { defer l.background.Done(); l.watch.run(ctx, l.hung) }()
	return l, nil
}

func (l *Log) fs() vfs.FS {
	if l.cfg.FS != nil {
		return l.cfg.FS
	}
	return vfs.Default
}

func (l *Log) openFiles() error {
	dir := filepath.Join(l.cfg.Dir, l.cfg.Kind)
	if err := l.disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// What a process wrote that was killed before its fsync is readable, but not durable, and Raft counts what it can read.
	if err := l.syncAll(dir); err != nil {
		return err
	}
	if err := l.openParts(dir); err != nil {
		return err
	}
	return l.checkEnd()
}

// openParts opens the three stores. "end" is made last, so without it nothing was written yet.
func (l *Log) openParts(dir string) (err error) {
	if l.end, err = openEnd(l.disk, filepath.Join(l.cfg.Dir, "end"), l.cfg.Kind); err != nil {
		return err
	}
	if l.stable, err = openStable(l.disk, filepath.Join(l.cfg.Dir, "stable"), !l.end.made); err != nil {
		return err
	}
	err = l.caught(func() (err error) {
		l.store, err = openStore(l.cfg, dir, l.end)
		return err
	})
	if err != nil {
		return err
	}
	return l.disk.SyncDir(dir) // bbolt does not
}

func (l *Log) checkEnd() error {
	first, last, err := l.bounds()
	if err != nil {
		return err
	}
	l.first.Store(first)
	if !l.end.made {
		if last > 0 || !l.stable.empty() {
			return fmt.Errorf("the file that says where the log ends is missing: %w", ErrRot)
		}
		return l.end.set(0)
	}
	if last < l.end.index {
		return fmt.Errorf("the log ends at entry %d, it was written up to %d: %w", last, l.end.index, ErrRot)
	}
	return nil
}

func (l *Log) syncAll(dir string) error {
	names, err := l.fs().List(dir)
	if err != nil {
		return fmt.Errorf("list the files of the log: %w", err)
	}
	for _, name := range names {
		if err := l.syncFile(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return l.disk.SyncDir(dir)
}

func (l *Log) syncFile(path string) error {
	f, err := l.fs().OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open a file of the log: %w", err)
	}
	return errors.Join(durable.SyncFile(f), f.Close())
}

// caught turns a panic into ErrRot: on damaged pages bbolt panics or reads outside its memory map, and raft-wal's decoder panics on
// damaged numbers. What follows an error is the end of the process in any case, but with a sentence.
func (l *Log) caught(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrRot, r)
		}
	}()
	return f()
}

// IsMonotonic is true for both stores: it makes Raft remove the whole log after it installed a checkpoint. Otherwise entries that
// contradict the checkpoint stay, and the follower refuses what comes after it for ever (hashicorp/raft #697).
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex is the index of the oldest entry, 0 for none.
func (l *Log) FirstIndex() (first uint64, err error) {
	err = l.caught(func() (err error) { first, err = l.store.FirstIndex(); return err })
	if err != nil {
		return 0, fmt.Errorf("find the first entry: %w", err)
	}
	return first, nil
}

// LastIndex is the index of the newest entry, 0 for none.
func (l *Log) LastIndex() (last uint64, err error) {
	err = l.caught(func() (err error) { last, err = l.store.LastIndex(); return err })
	if err != nil {
		return 0, fmt.Errorf("find the last entry: %w", err)
	}
	return last, nil
}

// DeleteRange durably removes the entries from first to last, which must be the beginning or the end of the log. An error ends the process.
func (l *Log) DeleteRange(first, last uint64) error {
	return l.write("truncate the log", func() error {
		begin, end, err := l.bounds()
		if err != nil || first > last || end == 0 {
			return err
		}
		l.cache.remove(first, last)
		if last >= end {
			keep := first - 1
			if first <= begin {
				keep = 0
			}
			// First the mark: a crash in between leaves entries that were to go, not a mark that nothing reaches.
			if err := l.end.set(keep); err != nil {
				return err
			}
		}
		defer l.gate.enterAlone()()
		if err := l.caught(func() error { return l.store.DeleteRange(first, last) }); err != nil {
			return err
		}
		return l.findFirst()
	})
}

// findFirst notes where the log begins, once it changed.
func (l *Log) findFirst() error {
	first, err := l.FirstIndex()
	l.first.Store(first)
	return err
}

// Reset removes every entry.
func (l *Log) Reset() error {
	first, last, err := l.bounds()
	if err != nil || last == 0 {
		return err
	}
	return l.DeleteRange(first, last)
}

func (l *Log) bounds() (first, last uint64, err error) {
	if first, err = l.FirstIndex(); err != nil {
		return 0, 0, err
	}
	last, err = l.LastIndex()
	return first, last, err
}

// StoreLog writes one entry.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs writes entries durably. An error ends the process.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	err := l.write("write the log", func() error {
		defer l.gate.enter()()
		if err := l.caught(func() error { return l.store.StoreLogs(sealAll(entries)) }); err != nil {
			return err
		}
		if l.first.Load() == 0 {
			if err := l.findFirst(); err != nil {
				return err
			}
		}
		return l.end.note(entries[len(entries)-1].Index)
	})
	if err == nil {
		l.cache.add(entries)
		l.size.count(entries)
	}
	return err
}

// GetLog reads an entry; raft.ErrLogNotFound when the log begins later or ends earlier. An entry that is not what was written ends the
// process: such a node may neither lead nor vote.
func (l *Log) GetLog(index uint64, e *raft.Log) error {
	if err := l.fatal(); err != nil {
		return err
	}
	if index < l.first.Load() {
		return raft.ErrLogNotFound // raft-wal still finds what was truncated in its newest file
	}
	if l.cache.get(index, e) {
		return nil
	}
	err := l.read(index, e)
	if err == nil || err == raft.ErrLogNotFound {
		return err // Raft compares
	}
	return l.fail(err)
}

// read reads an entry from the disk and checks it. The log may be truncated between two questions; so an error is damage only when the
// entry is between others, again and again.
func (l *Log) read(index uint64, e *raft.Log) error {
	for try := 0; ; try++ {
		err := l.getLog(index, e)
		if err == nil {
			return unseal(index, e)
		}
		first, last, berr := l.bounds()
		if berr != nil {
			return berr
		}
		if last == 0 || index < first || index > last {
			return raft.ErrLogNotFound
		}
		if try == 3 {
			return fmt.Errorf("read entry %d: %w: %w", index, ErrRot, err)
		}
	}
}

func (l *Log) getLog(index uint64, e *raft.Log) error {
	defer l.gate.enter()()
	return l.caught(func() error { return l.store.GetLog(index, e) })
}

// AverageBytes is about how much the newest entries take each.
func (l *Log) AverageBytes() int64 { return l.size.bytes() }

// write does one write. When it fails, or has taken too long even if it ends well, the process ends.
func (l *Log) write(what string, f func() error) error {
	if err := l.fatal(); err != nil {
		return err
	}
	done := l.watch.begin(what)
	err := f()
	done()
	if err != nil {
		return l.fail(fmt.Errorf("%s: %w", what, err))
	}
	return l.fatal()
}

func (l *Log) hung(what string) {
	_ = l.fail(fmt.Errorf("%s: it has taken longer than %v, the disk hangs", what, l.cfg.Hang))
}

// fatal is the error after which nothing is done any more. Whoever asks ends the process again: Raft must not see the error, for it
// would go on, or panic.
func (l *Log) fatal() error {
	l.mu.Lock()
	err := l.failed
	l.mu.Unlock()
	if err != nil {
		l.cfg.OnFatal(err)
	}
	return err
}

func (l *Log) fail(err error) error {
	l.mu.Lock()
	if l.failed == nil {
		l.failed = err
	}
	l.mu.Unlock()
	l.cfg.OnFatal(err)
	return err
}

// Close closes the stores; the second time it does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	l.cancel()
	l.background.Wait()
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	if l.store != nil {
		errs = append(errs, l.caught(l.store.Close))
	}
	if l.end != nil {
		errs = append(errs, l.end.close())
	}
	return errors.Join(append(errs, l.lock.Close())...)
}
