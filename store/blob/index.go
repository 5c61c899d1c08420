package blob

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/kv"
)

// Tables of the index, by the first byte of the key. Numbers in keys are big-endian, so that they sort.
const (
	tableBody    = 'B' // id → entry
	tableCorrupt = 'C' // id → nothing
	tablePlace   = 'P' // segment, offset → id
	tableSegment = 'S' // segment → counters
	tableTomb    = 'T' // segment, offset of a tombstone → segment, offset of its victim
	tableVictim  = 'V' // segment, offset of a victim, segment, offset of a tombstone → nothing
	tableFormat  = 'F' // → format
)

const indexFormat = 1

// entry is where a body is.
type entry struct {
	at     location
	length int64 // of the container
	epoch  uint64
}

func (e entry) encode() []byte {
	b := appendLocation(make([]byte, 0, 32), e.at)
	b = binary.BigEndian.AppendUint64(b, uint64(e.length))
	return binary.BigEndian.AppendUint64(b, e.epoch)
}

func decodeEntry(b []byte) (entry, error) {
	if len(b) != 32 {
		return entry{}, fmt.Errorf("index entry of %d bytes: %w", len(b), errIndex)
	}
	return entry{decodeLocation(b), int64(binary.BigEndian.Uint64(b[16:])), binary.BigEndian.Uint64(b[24:])}, nil
}

// errIndex: the index does not make sense. It is rebuilt at the next Open.
var errIndex = errors.New("index of the body store is damaged")

// segment is what is known of a segment file. Disk.mu guards it.
type segment struct {
	segmentID
	size   int64    // end of the last record, or of the file once sealed
	synced int64    // up to here on the disk
	live   int64    // bytes of records that are needed
	bodies int64    // number of live bodies
	sealed bool     // nothing is appended any more
	file   vfs.File // open for writing, or nil
}

func (s *segment) encode() []byte {
	b := make([]byte, 0, 53)
	for _, v := range []uint64{uint64(s.size), uint64(s.synced), uint64(s.live), uint64(s.bodies), s.salt} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, s.flags)
	if s.sealed {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeSegmentEntry(number uint64, b []byte) (*segment, error) {
	if len(b) != 45 {
		return nil, fmt.Errorf("index entry of segment %d: %w", number, errIndex)
	}
	u := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return &segment{segmentID: segmentID{number, uint64(u(4)), binary.BigEndian.Uint32(b[40:])},
		size: u(0), synced: u(1), live: u(2), bodies: u(3), sealed: b[44] == 1}, nil
}

func appendLocation(b []byte, l location) []byte {
	b = binary.BigEndian.AppendUint64(b, l.segment)
	return binary.BigEndian.AppendUint64(b, uint64(l.offset))
}

func decodeLocation(b []byte) location {
	return location{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))}
}

func bodyKey(id store.BodyID) []byte    { return append([]byte{tableBody}, id[:]...) }
func corruptKey(id store.BodyID) []byte { return append([]byte{tableCorrupt}, id[:]...) }
func placeKey(l location) []byte        { return appendLocation([]byte{tablePlace}, l) }
func tombKey(l location) []byte         { return appendLocation([]byte{tableTomb}, l) }
func segmentKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableSegment}, number)
}

func victimKey(victim, tomb location) []byte {
	return appendLocation(appendLocation([]byte{tableVictim}, victim), tomb)
}

// walk calls f for the keys in [lower, upper).
func walk(r kv.Reader, lower, upper []byte, f func(key, value []byte) error) (err error) {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Err()
}

// table is the range of a table's keys.
func table(t byte) (lower, upper []byte) { return []byte{t}, []byte{t + 1} }

// inSegment is the range of a table's keys in one segment, from an offset on.
func inSegment(t byte, number uint64, from int64) (lower, upper []byte) {
	return appendLocation([]byte{t}, location{number, from}), appendLocation([]byte{t}, location{number + 1, 0})
}

// lookup finds a body.
func lookup(r kv.Reader, id store.BodyID) (entry, error) {
	b, err := r.Get(bodyKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return entry{}, ErrNotFound
	}
	if err != nil {
		return entry{}, fmt.Errorf("look up body: %w", err)
	}
	return decodeEntry(b)
}

// isCorrupt tells whether a body is known to be corrupt. Mostly none is, and the count spares the look.
func (d *Disk) isCorrupt(r kv.Reader, id store.BodyID) (bool, error) {
	if d.corrupt.Load() == 0 {
		return false, nil
	}
	_, err := r.Get(corruptKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// change is a batch of changes to the index together with the counters of the segments that they touch. Disk.mu is held.
type change struct {
	kv.Batch
	d       *Disk
	touched map[uint64]*segment
	corrupt int64 // change of the number of corrupt bodies
	fresh   bool  // bodies that are added are known to be absent
}

func (d *Disk) change() *change {
	return &change{Batch: d.index.NewBatch(), d: d, touched: map[uint64]*segment{}}
}

// segment returns a segment whose counters will be written; nil if it is gone.
func (c *change) segment(number uint64) *segment {
	s := c.d.segments[number]
	if s != nil {
		c.touched[number] = s
	}
	return s
}

// addBody takes a body's record as its only live one.
func (c *change) addBody(id store.BodyID, e entry) error {
	if !c.fresh {
		if err := c.dropBody(id); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	s := c.segment(e.at.segment)
	s.live += total(e.length)
	s.bodies++
	return errors.Join(c.Set(bodyKey(id), e.encode()), c.Set(placeKey(e.at), id[:]))
}

// dropBody forgets a body and what is known of its health.
func (c *change) dropBody(id store.BodyID) error {
	e, err := lookup(c, id)
	if err != nil {
		return err
	}
	bad, err := c.d.isCorrupt(c, id)
	if err != nil {
		return err
	}
	if bad {
		c.corrupt--
		if err := c.Delete(corruptKey(id)); err != nil {
			return err
		}
	}
	if s := c.segment(e.at.segment); s != nil {
		s.live -= total(e.length)
		s.bodies--
	}
	return errors.Join(c.Delete(bodyKey(id)), c.Delete(placeKey(e.at)))
}

// addTomb keeps a tombstone for as long as its victim's segment exists. One in the victim's own segment goes with it.
func (c *change) addTomb(at location, t tombstone) error {
	victim := c.d.segments[t.victim.segment]
	if victim == nil || victim.salt != t.salt || at.segment == t.victim.segment {
		return nil
	}
	c.segment(at.segment).live += total(tombstoneBytes)
	return errors.Join(c.Set(tombKey(at), appendLocation(nil, t.victim)), c.Set(victimKey(t.victim, at), nil))
}

// dropTomb forgets a tombstone.
func (c *change) dropTomb(at, victim location) error {
	if s := c.segment(at.segment); s != nil {
		s.live -= total(tombstoneBytes)
	}
	return errors.Join(c.Delete(tombKey(at)), c.Delete(victimKey(victim, at)))
}

// dropVictims forgets the tombstones whose victims were in a segment that is gone.
func (c *change) dropVictims(number uint64) error {
	lower, upper := inSegment(tableVictim, number, 0)
	return walk(c, lower, upper, func(key, _ []byte) error {
		return c.dropTomb(decodeLocation(key[17:]), decodeLocation(key[1:]))
	})
}

// commit makes the changes visible.
func (c *change) commit() error {
	defer c.Close()
	for number, s := range c.touched {
		if c.d.segments[number] != s {
			continue // removed meanwhile
		}
		if err := c.Set(segmentKey(number), s.encode()); err != nil {
			return err
		}
	}
	if err := c.Commit(false); err != nil {
		return fmt.Errorf("commit to the index: %w", err)
	}
	c.d.corrupt.Add(c.corrupt)
	return nil
}
