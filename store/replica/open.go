package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/blob"
)

// OpenBody reads the raw bytes of a body: from this node's store, or through a peer that holds it. A body that turns out to be corrupt
// here, now or while it is read, is read on through a peer, and repaired (B9). Errors: store.ErrNotFound when no message has such a body,
// store.ErrUnavailable when no server that can be reached has it now.
func (r *Replica) OpenBody(ctx context.Context, id store.BodyID) (blob.Reader, error) {
	local, err := r.cfg.Blobs.Open(id)
	if err == nil {
		detached := context.WithoutCancel(ctx)
		return &bodyReader{inner: local, instead: func() (blob.Reader, error) {
			r.suspect(id)
			ctx, cancel := context.WithTimeout(detached, r.cfg.Intervals.Propose)
			defer cancel()
			return r.openElsewhere(ctx, id)
		}}, nil
	}
	if !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, blob.ErrCorrupt) {
		return nil, fmt.Errorf("open body: %w", err)
	}
	if err := r.known(id); err != nil {
		return nil, err
	}
	r.suspect(id)
	return r.openElsewhere(ctx, id)
}

// known is store.ErrNotFound for a body that the state has no message for.
func (r *Replica) known(id store.BodyID) error {
	v := r.View()
	defer v.Close()
	if _, err := v.BodyEmail(id); err != nil {
		return fmt.Errorf("open body %v: %w", id, err)
	}
	return nil
}

func (r *Replica) openElsewhere(ctx context.Context, id store.BodyID) (blob.Reader, error) {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	s, err := r.fetch(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	reader, err := blob.NewReader(s, s.size)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &spooledReader{reader, s}, nil
}

// errNobody: no peer could be reached at all.
var errNobody = fmt.Errorf("no other node can be reached: %w", store.ErrUnavailable)

// fetch brings a body's container from any peer that has it, and verifies it. Peers that could not be reached lately are asked last. With a
// pacer it takes its time.
func (r *Replica) fetch(ctx context.Context, id store.BodyID, pace *pacer) (*spool, error) {
	peers := slices.DeleteFunc(slices.Clone(r.cfg.Peers.Servers()), func(p store.ServerID) bool { return p == r.cfg.Self })
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	slices.SortStableFunc(peers, r.pools.compareReach)
	var failures []error
	reached := false
	for _, p := range peers {
		s, err := r.fetchFrom(ctx, p, id, pace)
		if err == nil {
			return s, nil
		}
		reached = reached || !errors.Is(err, errNoStream)
		failures = append(failures, fmt.Errorf("%s: %w", p, err))
	}
	cause := store.ErrUnavailable
	if !reached && ctx.Err() == nil {
		cause = errNobody
	}
	return nil, fmt.Errorf("fetch body %v: %w: %v", id, cause, errors.Join(failures...))
}

func (r *Replica) fetchFrom(ctx context.Context, p store.ServerID, id store.BodyID, pace *pacer) (*spool, error) {
	for {
		st, err := r.pools.get(ctx, p, methodGet)
		if err != nil {
			return nil, err
		}
		s := &spool{}
		status, err := st.get(ctx, id, func(size int64) (io.Writer, error) {
			if pace == nil {
				return s, s.begin(r.cfg.SpoolDir, size)
			}
			return paced{ctx, pace, s}, s.begin(r.cfg.SpoolDir, size)
		})
		st.release(err == nil)
		if err == nil {
			if err = statusError(status); err == nil {
				err = s.verify(id)
			}
			if err != nil {
				return nil, errors.Join(err, s.Close())
			}
			return s, nil
		}
		if closeErr := s.Close(); closeErr != nil {
			return nil, closeErr
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if !st.reused {
			r.pools.failed(p) // it hangs, or breaks off
			return nil, err
		}
	}
}

// spoolMemoryBytes is how long a fetched container may be to stay in memory.
const spoolMemoryBytes = 1 << 20

// spool holds a fetched container, in memory or in a file without a name.
type spool struct {
	size   int64
	memory *bytes.Buffer
	file   *os.File
}

func (s *spool) begin(dir string, size int64) error {
	s.size = size
	if size <= spoolMemoryBytes {
		s.memory = bytes.NewBuffer(make([]byte, 0, size))
		return nil
	}
	f, err := os.CreateTemp(dir, "fetch-*")
	if err != nil {
		return fmt.Errorf("create spool file: %w", err)
	}
	s.file = f
	return os.Remove(f.Name()) // the system deletes it whatever happens
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.memory != nil {
		return s.memory.Write(p)
	}
	return s.file.Write(p)
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.memory != nil {
		return bytes.NewReader(s.memory.Bytes()).ReadAt(p, off)
	}
	return s.file.ReadAt(p, off)
}

// Open reads the container from its beginning.
func (s *spool) Open() *io.SectionReader { return io.NewSectionReader(s, 0, s.size) }

// Close implements io.Closer.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// verify reads everything once, so that not one wrong byte is ever handed out.
func (s *spool) verify(id store.BodyID) error {
	reader, err := blob.NewReader(s, s.size)
	if err != nil {
		return err
	}
	defer reader.Close()
	h := sha256.New()
	if _, err := reader.WriteTo(h); err != nil {
		return err
	}
	if [sha256.Size]byte(h.Sum(nil)) != id.Digest() {
		return fmt.Errorf("a body of another digest: %w", blob.ErrCorrupt)
	}
	return nil
}

type spooledReader struct {
	blob.Reader
	s *spool
}

func (r *spooledReader) Close() error { return errors.Join(r.Reader.Close(), r.s.Close()) }

// bodyReader reads from this node's store and changes over to another copy when that turns out to be corrupt.
type bodyReader struct {
	instead func() (blob.Reader, error) // nil once it was used

	pos int64 // of Read, Seek and WriteTo

	mu    sync.RWMutex
	inner blob.Reader   // guarded by mu
	old   []blob.Reader // replaced, closed with this reader: somebody may be reading from it; guarded by mu
}

func (b *bodyReader) current() blob.Reader {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.inner
}

// replace changes over from a reader that failed with err, if that helps.
func (b *bodyReader) replace(failed blob.Reader, err error) error {
	if !errors.Is(err, blob.ErrCorrupt) {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inner != failed {
		return nil // somebody else has
	}
	if b.instead == nil {
		return err
	}
	other, openErr := b.instead()
	if openErr != nil {
		return fmt.Errorf("this node's copy is corrupt, and there is no other: %w", openErr)
	}
	b.instead = nil
	b.old = append(b.old, b.inner)
	b.inner = other
	return nil
}

// Size implements blob.Reader.
func (b *bodyReader) Size() int64 { return b.current().Size() }

// ReadAt implements io.ReaderAt.
func (b *bodyReader) ReadAt(p []byte, off int64) (int, error) {
	for {
		in := b.current()
		n, err := in.ReadAt(p, off)
		if err == nil || err == io.EOF {
			return n, err
		}
		if err := b.replace(in, err); err != nil {
			return n, err
		}
	}
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.ReadAt(p, b.pos)
	b.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (b *bodyReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.Size()
	default:
		return 0, fmt.Errorf("seek body from %d: %w", whence, os.ErrInvalid)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek body to %d: %w", offset, os.ErrInvalid)
	}
	b.pos = offset
	return offset, nil
}

// WriteTo implements io.WriterTo.
func (b *bodyReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		in := b.current()
		if _, err := in.Seek(b.pos, io.SeekStart); err != nil {
			return total, err
		}
		n, err := in.WriteTo(w)
		total += n
		b.pos += n
		if err == nil {
			return total, nil
		}
		if err := b.replace(in, err); err != nil {
			return total, err
		}
	}
}

// Close implements io.Closer.
func (b *bodyReader) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.inner.Close()
	for _, o := range b.old {
		err = errors.Join(err, o.Close())
	}
	b.old = nil
	return err
}
