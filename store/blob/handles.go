package blob

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxIdleHandles bounds the segments that stay open for reading while nobody reads them.
const maxIdleHandles = 64

// handle is a segment that is open for reading.
type handle struct {
	file   vfs.File
	number uint64
	users  int
	used   uint64 // the clock at the last use
	gone   bool   // the segment was removed: close with the last user
}

// handles shares open files between readers.
type handles struct {
	fs   vfs.FS
	path func(uint64) string

	mu    sync.Mutex
	open  map[uint64]*handle
	clock uint64
}

// acquire opens a segment or finds it open. It must be released. A segment that was removed is a fs.ErrNotExist.
func (h *handles) acquire(number uint64) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.open[number]
	if x == nil {
		h.evict()
		f, err := h.fs.Open(h.path(number), vfs.RandomReadsOption)
		if err != nil {
			return nil, fmt.Errorf("open segment %d: %w", number, err)
		}
		x = &handle{file: f, number: number}
		h.open[number] = x
	}
	h.clock++
	x.users++
	x.used = h.clock
	return x, nil
}

// evict closes the file that was unused for longest, if there are too many. h.mu is held.
func (h *handles) evict() {
	var oldest *handle
	idle := 0
	for _, x := range h.open {
		if x.users > 0 {
			continue
		}
		idle++
		if oldest == nil || x.used < oldest.used {
			oldest = x
		}
	}
	if idle >= maxIdleHandles {
		delete(h.open, oldest.number)
		_ = oldest.file.Close() // it was only read
	}
}

// release ends a use.
func (h *handles) release(x *handle) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.users--; x.users > 0 || !x.gone {
		return nil
	}
	return x.file.Close()
}

// forget lets go of a removed segment, once its readers are through.
func (h *handles) forget(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.open[number]
	if x == nil {
		return
	}
	delete(h.open, number)
	if x.gone = true; x.users == 0 {
		_ = x.file.Close()
	}
}

// close ends all.
func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	for number, x := range h.open {
		err = errors.Join(err, x.file.Close())
		delete(h.open, number)
	}
	return err
}

// ReadAt reads from the segment.
func (x *handle) ReadAt(p []byte, off int64) (int, error) { return x.file.ReadAt(p, off) }

var _ io.ReaderAt = (*handle)(nil)

// isGone tells whether a file does not exist.
func isGone(err error) bool { return errors.Is(err, os.ErrNotExist) }
