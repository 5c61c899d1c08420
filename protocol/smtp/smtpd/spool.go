package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/quorumail/quorumail/store"
)

// spoolMemoryBytes is how much of a message is kept in memory while it is judged; a larger one goes to a file as a whole.
const spoolMemoryBytes = 256 << 10

// spool is a message's content, to be read more than once. Its file has no name any longer: whatever ends the process, nothing is left of it.
type spool struct {
	dir  string
	room SpoolRoom
	mem  bytes.Buffer
	file *os.File
	size int64
}

// newSpool keeps what fill writes.
func newSpool(dir string, room SpoolRoom, fill func(io.Writer) error) (*spool, error) {
	s := &spool{dir: dir, room: room}
	if err := fill(s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Write implements io.Writer, for newSpool.
func (s *spool) Write(b []byte) (int, error) {
	if err := s.room.Take(int64(len(b))); err != nil {
		return 0, fmt.Errorf("spool a message: %w", err)
	}
	if s.file == nil && s.mem.Len()+len(b) > spoolMemoryBytes {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	s.size += int64(len(b))
	if s.file == nil {
		return s.mem.Write(b)
	}
	n, err := s.file.Write(b)
	return n, noSpace(err)
}

// spill moves what there is to a file.
func (s *spool) spill() error {
	f, err := os.CreateTemp(s.dir, "smtpd-*.tmp")
	if err != nil {
		return noSpace(err)
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("spool a message: %w", err)
	}
	_, err = f.Write(s.mem.Bytes())
	s.mem = bytes.Buffer{}
	return noSpace(err)
}

// noSpace: whatever keeps a file from being written, this node cannot take the message now.
func noSpace(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("spool a message: %w: %w", store.ErrNoSpace, err)
}

// open reads from the start.
func (s *spool) open() (io.ReadCloser, error) {
	if s.file == nil {
		return io.NopCloser(bytes.NewReader(s.mem.Bytes())), nil
	}
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

// close ends it; no reader is used after.
func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // the file is gone with it
		s.file = nil
	}
	s.room.Release()
}

// unbounded has room for everything.
type unbounded struct{}

func (unbounded) Take(int64) error { return nil }
func (unbounded) Release()         {}
