package blob

import (
	"fmt"
	"hash/crc32"
)

// recordWriter writes a large record piece by piece.
type recordWriter struct {
	d   *Disk
	s   *segment // not yet known to others
	crc uint32
}

// Write takes a piece of the payload.
func (w *recordWriter) Write(p []byte) (int, error) {
	w.crc = crc32.Update(w.crc, castagnoli, p)
	if err := w.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *recordWriter) write(p []byte) error {
	if _, err := w.s.file.WriteAt(p, w.s.size); err != nil {
		return w.d.giveUp(fmt.Errorf("write segment %d: %w", w.s.number, err))
	}
	w.s.size += int64(len(p))
	return nil
}
