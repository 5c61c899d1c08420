package blob

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorumail/quorumail/store"
)

// Damage flips a bit in the middle of a body's stored container.
func Damage(d *Disk, id store.BodyID) error {
	e, err := lookup(d.index, id)
	if err != nil {
		return err
	}
	f, err := d.config.FS.OpenReadWrite(d.segmentPath(e.at.segment), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	at := e.at.offset + recordHeaderBytes + e.length/2
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	return err
}
