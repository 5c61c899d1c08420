package blob

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/durable"
)

// recoverPage is how many records are indexed in one commit while opening.
const recoverPage = 1000

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
	if s != nil && s.synced == recordsBegin && size < recordsBegin {
		return r.unborn(s)
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

// unborn drops a segment of which a crash left the name, and what the index says of it, but not a byte: none was ever synced.
func (r *recovery) unborn(s *segment) error {
	c := r.d.change()
	if err := r.rollBack(c, s, 0); err != nil {
		return errors.Join(err, c.Close())
	}
	if err := c.commit(); err != nil {
		return err
	}
	if err := r.d.forgetSegment(s.number); err != nil {
		return err
	}
	delete(r.files, s.number)
	return r.d.disk.Remove(r.d.segmentPath(s.number))
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
