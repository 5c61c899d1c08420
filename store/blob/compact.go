package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/quorumail/quorumail/store"
)

// smallSegments is how many small sealed segments, as crashes leave them, are tolerated before they are joined.
const smallSegments = 4

// Compact implements Store. Segments without anything live are removed, oldest first; those with more than half garbage are rewritten
// by appending what is live to the head. A segment with a body that is corrupt stays until that is repaired or deleted.
func (d *Disk) Compact(ctx context.Context) error {
	d.compact.Lock()
	defer d.compact.Unlock()
	for _, number := range d.candidates(true) {
		if err := d.removeSegment(number); err != nil {
			return err
		}
	}
	for _, number := range d.candidates(false) {
		if err := d.rewrite(ctx, number); err != nil {
			return fmt.Errorf("compact segment %d: %w", number, err)
		}
	}
	return nil
}

// candidates lists sealed segments that hold nothing live, or else those that are worth rewriting. The newest one stays, or its
// number would be given out again, and what a crash left in the index could be taken for the new one's.
func (d *Disk) candidates(empty bool) []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list, small []uint64
	newest := uint64(0)
	for number := range d.segments {
		newest = max(newest, number)
	}
	for number, s := range d.segments {
		switch {
		case !s.sealed || number == newest:
		case s.live == 0:
			if empty {
				list = append(list, number)
			}
		case empty || s.flags&segmentLarge != 0:
		case s.live < (s.size-recordsBegin)/2:
			list = append(list, number)
		case s.size < d.config.SegmentBytes/8:
			small = append(small, number)
		}
	}
	if len(small) >= smallSegments {
		list = append(list, small...)
	}
	slices.Sort(list)
	return list
}

// placed is a live record of a segment.
type placed struct {
	at     location
	id     store.BodyID
	victim location // of a tombstone
}

// liveIn lists the live bodies or tombstones of a segment, at most a page, from an offset on.
func (d *Disk) liveIn(t byte, number uint64, from int64) (page []placed, err error) {
	lower, upper := inSegment(t, number, from)
	err = walk(d.index, lower, upper, func(key, value []byte) error {
		x := placed{at: decodeLocation(key[1:])}
		switch {
		case t == tablePlace && len(value) == store.BodyIDBytes:
			x.id = store.BodyID(value)
		case t == tableTomb && len(value) == 16:
			x.victim = decodeLocation(value)
		default:
			return errIndex
		}
		if page = append(page, x); len(page) == eachPage {
			return errPageFull
		}
		return nil
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return page, err
}

// rewrite moves what is live in a segment to the head and removes the segment.
func (d *Disk) rewrite(ctx context.Context, number uint64) error {
	for _, t := range []byte{tablePlace, tableTomb} {
		for from := int64(0); ; {
			page, err := d.liveIn(t, number, from)
			if err != nil {
				return err
			}
			if err := d.move(ctx, t, page); err != nil {
				return err
			}
			if len(page) < eachPage {
				break
			}
			from = page[len(page)-1].at.offset + 1
		}
	}
	d.mu.Lock()
	s := d.segments[number]
	empty := s != nil && s.live == 0
	d.mu.Unlock()
	if !empty {
		return nil // a corrupt body pins it
	}
	return d.removeSegment(number)
}

// copiedRecord is a record with its copy.
type copiedRecord struct {
	placed
	to  location
	rec record
}

// move copies records to the head, makes the copies durable, and only then points the index to them: until that the old ones count.
func (d *Disk) move(ctx context.Context, t byte, page []placed) error {
	var copies []copiedRecord
	for _, x := range page {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, ok, err := d.copyRecord(t, x)
		if err != nil {
			return err
		}
		if ok {
			copies = append(copies, c)
		}
	}
	if err := d.Sync(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.change()
	for _, x := range copies {
		var err error
		if t == tableTomb {
			err = d.moveTomb(c, x)
		} else {
			err = d.moveBody(c, x)
		}
		if err != nil {
			return d.fail(errors.Join(err, c.Close()))
		}
	}
	if err := c.commit(); err != nil {
		return d.fail(err)
	}
	return nil
}

// moveBody lets the index point to the copy, unless the body was deleted or replaced meanwhile. d.mu is held.
func (d *Disk) moveBody(c *change, x copiedRecord) error {
	e, err := lookup(c, x.id)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && e.at != x.at:
		return d.bury(c, x.id, x.to) // or a rebuild would find the copy
	case err != nil:
		return err
	}
	return c.addBody(x.id, entry{x.to, e.length, e.epoch})
}

// moveTomb lets the index point to the copy, unless the tombstone is not needed any more. d.mu is held.
func (d *Disk) moveTomb(c *change, x copiedRecord) error {
	if _, err := c.Get(tombKey(x.at)); err != nil {
		return nil
	}
	victim := d.segments[x.victim.segment]
	if err := c.dropTomb(x.at, x.victim); err != nil || victim == nil {
		return err
	}
	return c.addTomb(x.to, tombstone{x.victim, victim.salt})
}

// copyRecord appends a copy of a live record, which nothing refers to yet. It is false for what need not or cannot be copied.
func (d *Disk) copyRecord(t byte, x placed) (copiedRecord, bool, error) {
	c := copiedRecord{placed: x}
	if t == tableTomb {
		return d.copyTomb(c)
	}
	body, err := d.find(x.id)
	switch {
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt):
		return c, false, nil
	case err != nil:
		return c, false, err
	case body.e.at != x.at:
		return c, false, body.Close()
	}
	b := make([]byte, total(body.e.length))
	p := newPayloadReader(body.handle, x.at.offset, body.rec)
	_, err = io.ReadFull(p, b[recordHeaderBytes:len(b)-recordFooterBytes])
	if err == nil {
		err = p.end()
	}
	if err != io.EOF {
		body.corrupt(err)
		return c, false, body.Close()
	}
	if err := body.Close(); err != nil {
		return c, false, err
	}
	c.rec = record{kind: kindBody, epoch: body.rec.epoch, length: body.rec.length, id: x.id}
	d.mu.Lock()
	defer d.mu.Unlock()
	c.to, err = d.append(c.rec, b)
	return c, err == nil, err
}

func (d *Disk) copyTomb(c copiedRecord) (copiedRecord, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	victim := d.segments[c.victim.segment]
	if victim == nil {
		return c, false, nil
	}
	b := make([]byte, total(tombstoneBytes))
	tombstone{c.victim, victim.salt}.encode(b[recordHeaderBytes:])
	c.rec = record{kind: kindTombstone, length: tombstoneBytes, id: c.id}
	var err error
	c.to, err = d.append(c.rec, b)
	return c, err == nil, err
}

// removeSegment removes a sealed segment in which nothing is live. First everything is synced, the index too: what made it so must
// outlive it. The file goes before its entry in the index: a file without an entry would be read as a new one.
func (d *Disk) removeSegment(number uint64) error {
	if err := d.Sync(); err != nil {
		return err
	}
	if err := d.syncIndex(); err != nil {
		return d.fail(err)
	}
	d.mu.Lock()
	s := d.segments[number]
	if s == nil || !s.sealed || s.live != 0 {
		d.mu.Unlock()
		return nil
	}
	file := s.file
	s.file = nil
	d.mu.Unlock()
	if file != nil {
		if err := file.Close(); err != nil {
			return d.fail(fmt.Errorf("close segment %d: %w", number, err))
		}
	}
	if err := d.disk.Remove(d.segmentPath(number)); err != nil && !isGone(err) {
		return d.fail(fmt.Errorf("remove segment %d: %w", number, err))
	}
	d.handles.forget(number)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.forgetSegment(number); err != nil {
		return d.fail(err)
	}
	d.stats.Compacted++
	return nil
}

// syncIndex makes all changes of the index so far durable: its log is one sequence.
func (d *Disk) syncIndex() error {
	b := d.index.NewBatch()
	defer b.Close()
	if err := b.Set([]byte{tableFormat}, []byte{indexFormat}); err != nil {
		return err
	}
	return b.Commit(true)
}

// forgetSegment drops a removed segment from the index, with the tombstones that it needed. d.mu is held.
func (d *Disk) forgetSegment(number uint64) error {
	delete(d.segments, number)
	c := d.change()
	if err := errors.Join(c.Delete(segmentKey(number)), c.dropVictims(number)); err != nil {
		return errors.Join(err, c.Close())
	}
	return c.commit()
}
