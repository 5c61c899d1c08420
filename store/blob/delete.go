package blob

import (
	"errors"
	"fmt"

	"github.com/quorumail/quorumail/store"
)

// eachPage is how many entries are read from the index at a time, so that slow callers do not keep old data alive.
const eachPage = 512

// Delete implements Store.
func (d *Disk) Delete(id store.BodyID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := lookup(d.index, id)
	if errors.Is(err, ErrNotFound) {
		return d.failed()
	}
	if err != nil {
		return err
	}
	c := d.change()
	if err := d.bury(c, id, e.at); err != nil {
		return errors.Join(fmt.Errorf("delete body %v: %w", id, err), c.Close())
	}
	if err := c.dropBody(id); err != nil {
		return d.fail(errors.Join(err, c.Close()))
	}
	if err := c.commit(); err != nil {
		return d.fail(err)
	}
	d.stats.Deletes++
	return nil
}

// bury appends a tombstone for a record. d.mu is held.
func (d *Disk) bury(c *change, id store.BodyID, victim location) error {
	s := d.segments[victim.segment]
	if s == nil {
		return nil // lost with its segment
	}
	return d.appendTomb(c, id, tombstone{victim, s.salt})
}

func (d *Disk) appendTomb(c *change, id store.BodyID, t tombstone) error {
	b := make([]byte, total(tombstoneBytes))
	t.encode(b[recordHeaderBytes:])
	at, err := d.append(record{kind: kindTombstone, length: tombstoneBytes, id: id}, b)
	if err != nil {
		return err
	}
	c.segment(at.segment) // for its new size
	if err := c.addTomb(at, t); err != nil {
		return d.fail(err)
	}
	return nil
}

// Each implements Store.
func (d *Disk) Each(f func(id store.BodyID, epoch uint64, bytes int64) error) error {
	type found struct {
		id store.BodyID
		e  entry
	}
	lower, upper := table(tableBody)
	for {
		var page []found
		err := walk(d.index, lower, upper, func(key, value []byte) error {
			e, err := decodeEntry(value)
			if err != nil {
				return err
			}
			if page = append(page, found{store.BodyID(key[1:]), e}); len(page) == eachPage {
				return errPageFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errPageFull) {
			return fmt.Errorf("enumerate bodies: %w", err)
		}
		for _, x := range page {
			bad, err := d.isCorrupt(d.index, x.id)
			if err != nil {
				return err
			}
			if bad {
				continue
			}
			if err := f(x.id, x.e.epoch, x.e.length); err != nil {
				return err
			}
		}
		if len(page) < eachPage {
			return nil
		}
		lower = append(bodyKey(page[len(page)-1].id), 0)
	}
}

// errPageFull ends a walk early.
var errPageFull = errors.New("page is full")
