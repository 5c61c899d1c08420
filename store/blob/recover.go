package blob

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
	"github.com/quorumail/quorumail/store/kv"
)

const (
	segmentPrefix = "seg-"
	// badIndex is a file that tells the next Open to rebuild the index, left by a store that found it damaged.
	badIndex = "index.bad"
	// lostPrefix is the new name of a file whose header cannot be read: kept for a look by hand, used for nothing.
	lostPrefix = "lost-"
	// recoverPage is how many records are indexed in one commit while opening.
	recoverPage = 1000
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
	if err != nil {
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
	d.log.Warn("the index of the bodies is rebuilt from the segments", "err", reason)
	if err := d.disk.WriteFile(d.path(badIndex), []byte("rebuild\n"), 0o600); err != nil {
		return err
	}
	if err := d.config.FS.RemoveAll(d.path("index")); err != nil {
		return fmt.Errorf("remove the damaged index: %w", err)
	}
	index, err := d.openKV()
	if err != nil {
		return err
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

// recovery is the work of Open. The index is a prefix of its commits, which may be ahead of the segments (their bytes were not synced)
// or behind them. For each segment it knows up to where it was synced: what it says of later places is dropped, and read anew.
type recovery struct {
	d     *Disk
	files map[uint64]bool
	tombs []buried
	fresh map[*segment]int64 // segments that were read anew, with their files' sizes
}

// buried is a tombstone that was found.
type buried struct {
	id store.BodyID
	at location
	t  tombstone
}

func (r *recovery) run() error {
	for _, number := range slices.Sorted(maps.Keys(r.files)) {
		if err := r.segment(number); err != nil {
			return fmt.Errorf("recover segment %d: %w", number, err)
		}
	}
	// Tombstones come last: a victim may stand in a segment of a higher number.
	for len(r.tombs) > 0 {
		n := min(len(r.tombs), recoverPage)
		if err := r.bury(r.tombs[:n]); err != nil {
			return err
		}
		r.tombs = r.tombs[n:]
	}
	if err := r.settle(); err != nil {
		return err
	}
	for _, number := range slices.Sorted(maps.Keys(r.d.segments)) {
		if !r.files[number] {
			if err := r.missing(number); err != nil {
				return err
			}
		}
	}
	return r.d.chooseHead()
}

// segment brings one segment and the index together.
func (r *recovery) segment(number uint64) error {
	path := r.d.segmentPath(number)
	info, err := r.d.config.FS.Stat(path)
	if err != nil {
		return err
	}
	size := info.Size()
	s := r.d.segments[number]
	if s != nil && s.synced == s.size && s.size == size {
		return nil
	}
	f, err := r.d.config.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	s, err = r.identify(s, number, f, size)
	if s == nil || err != nil {
		return errors.Join(err, f.Close())
	}
	if size < s.synced {
		// Not by a crash. What is missing will be found corrupt when it is read.
		r.d.log.Error("segment is shorter than it was", "segment", number, "bytes", size, "want", s.synced)
		s.sealed = true
		return f.Close()
	}
	err = r.rescan(s, f, size)
	return errors.Join(err, f.Close())
}

// identify finds out whose file this is; nil if it is nobody's.
func (r *recovery) identify(s *segment, number uint64, f vfs.File, size int64) (*segment, error) {
	if s != nil {
		return s, nil
	}
	b := make([]byte, min(size, recordsBegin))
	if len(b) > 0 {
		if err := readFull(f, b, 0); err != nil {
			return nil, err
		}
	}
	id, err := decodeSegment(b, number)
	if err == nil {
		s = &segment{segmentID: id, size: recordsBegin, synced: recordsBegin}
		r.d.segments[number] = s
		return s, nil
	}
	delete(r.files, number)
	if size <= recordsBegin {
		return nil, r.d.disk.Remove(r.d.segmentPath(number)) // a crash while it was created
	}
	lost := r.d.path(fmt.Sprintf("%s%016d", lostPrefix, number))
	r.d.log.Error("segment cannot be read, and is put aside", "segment", number, "file", lost, "bytes", size)
	return nil, r.d.disk.Rename(r.d.segmentPath(number), lost)
}

// rescan reads a segment from where it was synced, indexes what it finds, and makes that durable.
func (r *recovery) rescan(s *segment, f vfs.File, size int64) error {
	from := s.synced
	c := r.d.change()
	if err := r.rollBack(c, s, from); err != nil {
		return errors.Join(err, c.Close())
	}
	n := 0
	end, err := scan(f, size, s.segmentID, from, func(x scanned) error {
		if err := r.found(c, s, x); err != nil {
			return err
		}
		if n++; n%recoverPage > 0 {
			return nil
		}
		err := c.commit()
		c = r.d.change()
		return err
	})
	if err != nil {
		return errors.Join(err, c.Close())
	}
	// The bytes may be in the kernel's memory only, if it was the process that crashed.
	if err := durable.SyncFile(f); err != nil {
		return errors.Join(err, c.Close())
	}
	if err := r.d.disk.SyncDir(r.d.config.Dir); err != nil {
		return errors.Join(err, c.Close())
	}
	// Behind a torn record nothing is appended: later scans must find the same records.
	s.sealed = s.sealed || end != size || s.flags&segmentLarge != 0
	r.fresh[s] = size
	r.d.log.Info("segment was recovered", "segment", s.number, "from", from, "bytes", size, "records", n, "torn", size-end)
	return c.commit()
}

// settle notes that the segments need not be read anew again. Only now: until their tombstones are in the index too, a crash must
// lead to the same work.
func (r *recovery) settle() error {
	c := r.d.change()
	for s, size := range r.fresh {
		s.size, s.synced = size, size
		c.segment(s.number)
	}
	return c.commit()
}

// rollBack drops what the index says of places from an offset on.
func (r *recovery) rollBack(c *change, s *segment, from int64) error {
	lower, upper := inSegment(tablePlace, s.number, from)
	err := walk(c, lower, upper, func(_, value []byte) error {
		if len(value) != store.BodyIDBytes {
			return errIndex
		}
		err := c.dropBody(store.BodyID(value))
		if errors.Is(err, ErrNotFound) {
			return errIndex
		}
		return err
	})
	if err != nil {
		return err
	}
	lower, upper = inSegment(tableTomb, s.number, from)
	return walk(c, lower, upper, func(key, value []byte) error {
		if len(value) != 16 {
			return errIndex
		}
		return c.dropTomb(decodeLocation(key[1:]), decodeLocation(value))
	})
}

// found indexes a record. A later copy of a body replaces an earlier one.
func (r *recovery) found(c *change, s *segment, x scanned) error {
	at := location{s.number, x.offset}
	if x.kind == kindTombstone {
		r.tombs = append(r.tombs, buried{x.id, at, x.tombstone})
		return nil
	}
	dead := false
	lower := appendLocation([]byte{tableVictim}, at)
	err := walk(c, lower, append(lower[:len(lower):len(lower)], 0xff), func([]byte, []byte) error { dead = true; return nil })
	if err != nil || dead {
		return err
	}
	return c.addBody(x.id, entry{at, x.length, x.epoch})
}

// bury applies tombstones.
func (r *recovery) bury(tombs []buried) error {
	c := r.d.change()
	for _, x := range tombs {
		if err := r.buryOne(c, x); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return c.commit()
}

func (r *recovery) buryOne(c *change, x buried) error {
	victim := r.d.segments[x.t.victim.segment]
	if victim == nil || victim.salt != x.t.salt {
		return nil
	}
	e, err := lookup(c, x.id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil && e.at == x.t.victim {
		if err := c.dropBody(x.id); err != nil {
			return err
		}
	}
	return c.addTomb(x.at, x.t)
}

// missing drops a segment whose file is gone. If it held anything live, bodies are lost on this node.
func (r *recovery) missing(number uint64) error {
	s := r.d.segments[number]
	if s.bodies > 0 {
		r.d.log.Error("segment is missing", "segment", number, "bodies", s.bodies, "bytes", s.live)
	}
	c := r.d.change()
	if err := r.rollBack(c, s, 0); err != nil {
		return errors.Join(err, c.Close())
	}
	if err := c.commit(); err != nil {
		return err
	}
	return r.d.forgetSegment(number)
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
