package dns

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// maxFileBytes bounds the hosts file and resolv.conf; lists of unwanted hosts make some hosts files long.
const maxFileBytes = 8 << 20

// watched is a file that is read when it is needed and was changed. A file that is not there is empty; of one that cannot be read, what was
// read last stays.
type watched[T any] struct {
	path  string
	parse func([]byte) T
	log   *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	seen  fs.FileInfo // nil: not there, or not yet read
	value T
	ill   bool // its trouble was logged
}

func (w *watched[T]) get() T {
	if w.path == NoFile {
		var none T
		return none
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refresh(); err != nil && !w.ill {
		w.log.Warn("a file cannot be read", "pkg", "dns", "file", w.path, "err", err)
		w.ill = true
	}
	return w.value
}

// refresh wants mu.
func (w *watched[T]) refresh() error {
	info, err := os.Stat(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		var none T
		w.seen, w.value, w.ill = nil, none, false
		return nil
	}
	if err != nil || w.unchanged(info) {
		return err
	}
	if info.Size() > maxFileBytes {
		return errors.New("too large")
	}
	raw, err := os.ReadFile(w.path)
	if err != nil {
		return err
	}
	w.seen, w.value, w.ill = info, w.parse(raw), false
	return nil
}

func (w *watched[T]) unchanged(info fs.FileInfo) bool {
	return w.seen != nil && os.SameFile(w.seen, info) && w.seen.Size() == info.Size() && w.seen.ModTime().Equal(info.ModTime())
}
