package blob

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store/kv"
)

const (
	segmentPrefix = "seg-"
	// badIndex is a file that tells the next Open to rebuild the index, left by a store that found it damaged.
	badIndex = "index.bad"
	// lostPrefix is the new name of a file whose header cannot be read: kept for a look by hand, used for nothing.
	lostPrefix = "lost-"
)

// open makes index and segments agree.
func (d *Disk) open() error {
	files, err := d.listSegments()
	if err != nil {
		return err
	}
	if err := d.openIndex(); err != nil {
		return err
	}
	if err := d.loadSegments(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &recovery{d: d, files: files, fresh: map[*segment]int64{}}
	if err := r.run(); err != nil {
		return err
	}
	if err := d.disk.Remove(d.path(badIndex)); err != nil && !isGone(err) {
		return err
	}
	return d.countCorrupt()
}

// listSegments finds the segment files, and the number of the next one.
func (d *Disk) listSegments() (map[uint64]bool, error) {
	names, err := d.config.FS.List(d.config.Dir)
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	files := map[uint64]bool{}
	for _, name := range names {
		digits, isSegment := strings.CutPrefix(name, segmentPrefix)
		if !isSegment {
			digits, _ = strings.CutPrefix(name, lostPrefix)
		}
		number, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			continue
		}
		d.next = max(d.next, number+1)
		if isSegment {
			files[number] = true
		}
	}
	return files, nil
}

// openIndex opens the index, or begins a new one if it is missing, damaged or of another format.
func (d *Disk) openIndex() error {
	if _, err := d.config.FS.Stat(d.path(badIndex)); err == nil {
		return d.newIndex(errIndex)
	}
	index, err := d.openKV()
	switch {
	case errors.Is(err, kv.ErrStopped) && !kv.IsCorrupt(err):
		return err
	case err != nil:
		return d.newIndex(err)
	}
	format, err := index.Get([]byte{tableFormat})
	if err == nil && len(format) == 1 && format[0] == indexFormat {
		d.index = index
		return nil
	}
	if err := index.Close(); err != nil {
		return err
	}
	return d.newIndex(errIndex)
}

func (d *Disk) openKV() (kv.Store, error) {
	return kv.OpenPebble(kv.PebbleConfig{Dir: d.path("index"), FS: d.config.FS, CacheBytes: d.config.IndexCacheBytes,
		MemTableBytes: d.config.IndexMemTableBytes, MaxOpenFiles: 128, OnFatal: d.indexFailed, Logger: d.config.Logger})
}

// indexFailed stops the store. If what failed is the index's content, the next Open rebuilds it.
func (d *Disk) indexFailed(err error) {
	if kv.IsCorrupt(err) {
		err = errors.Join(err, d.disk.WriteFile(d.path(badIndex), []byte("rebuild\n"), 0o600))
	}
	_ = d.fail(err)
}

// newIndex begins an empty index; the segments fill it. A file says so until that is done, or a crash would leave half an index.
func (d *Disk) newIndex(reason error) error {
	if d.next > 1 { // a store without segments is a new one
		d.log.Warn("the index of the bodies is rebuilt from the segments", "err", reason)
	}
	if err := d.disk.WriteFile(d.path(badIndex), []byte("rebuild\n"), 0o600); err != nil {
		return err
	}
	if err := d.config.FS.RemoveAll(d.path("index")); err != nil {
		return fmt.Errorf("remove the damaged index: %w", err)
	}
	index, err := d.openKV()
	if err != nil {
		return fmt.Errorf("begin a new index (the next start tries again): %w", err)
	}
	d.index = index
	d.stats.Rebuilt = true
	b := index.NewBatch()
	defer b.Close()
	if err := b.Set([]byte{tableFormat}, []byte{indexFormat}); err != nil {
		return err
	}
	return b.Commit(true)
}

func (d *Disk) loadSegments() error {
	lower, upper := table(tableSegment)
	return walk(d.index, lower, upper, func(key, value []byte) error {
		if len(key) != 9 {
			return errIndex
		}
		s, err := decodeSegmentEntry(decodeLocation(append(key[1:9:9], make([]byte, 8)...)).segment, value)
		if err != nil {
			return err
		}
		d.segments[s.number] = s
		d.next = max(d.next, s.number+1)
		return nil
	})
}

func (d *Disk) countCorrupt() error {
	lower, upper := table(tableCorrupt)
	return walk(d.index, lower, upper, func([]byte, []byte) error {
		d.corrupt.Add(1)
		return nil
	})
}

// chooseHead opens the newest segment that may still be appended to, and seals the others.
func (d *Disk) chooseHead() error {
	for _, number := range slices.Sorted(maps.Keys(d.segments)) {
		s := d.segments[number]
		if s.sealed {
			continue
		}
		if d.head != nil {
			if err := d.seal(d.head); err != nil {
				return err
			}
		}
		f, err := d.config.FS.OpenReadWrite(d.segmentPath(number), vfs.WriteCategoryUnspecified)
		if err != nil {
			return fmt.Errorf("open segment %d: %w", number, err)
		}
		s.file = f
		d.head = s
	}
	return nil
}
