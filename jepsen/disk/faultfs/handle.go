package faultfs

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handle is an open file.
type handle struct {
	d    *Disk
	f    *file
	path string // when it was opened; for rules
}

// open finds or opens a file. Called with d.mu held.
func (d *Disk) open(ino uint64, back string) (*file, error) {
	if f := d.files[ino]; f != nil {
		return f, nil
	}
	b, err := os.OpenFile(back, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	f := &file{ino: ino, back: b}
	d.files[ino] = f
	return f, nil
}

// handle opens a file for a program. Called with d.mu held.
func (d *Disk) handle(ino uint64, back, path string) (*handle, error) {
	f, err := d.open(ino, back)
	if err != nil {
		return nil, err
	}
	f.handles++
	return &handle{d, f, path}, nil
}

// resize cuts or extends a file. Called with d.mu held.
func (d *Disk) resize(f *file, size int64) error {
	st, err := f.back.Stat()
	if err != nil {
		return err
	}
	if size == st.Size() {
		return nil
	}
	if more := size - st.Size(); more > 0 && d.room(more) < more {
		return syscall.ENOSPC
	}
	c := &byteChange{f: f, off: size, oldSize: st.Size(), newSize: size}
	if size < c.oldSize {
		c.old = make([]byte, c.oldSize-size)
		if _, err := f.back.ReadAt(c.old, size); err != nil {
			return err
		}
	}
	if err := f.back.Truncate(size); err != nil {
		return err
	}
	d.grew(c.newSize - c.oldSize)
	c.seq = d.nextSeq()
	f.changes = append(f.changes, c)
	return nil
}

// write writes as much as there is room for. Called with d.mu held.
func (d *Disk) write(f *file, b []byte, off int64) (int, error) {
	st, err := f.back.Stat()
	if err != nil {
		return 0, err
	}
	if more := off + int64(len(b)) - st.Size(); more > 0 {
		fits := int64(len(b)) - more + d.room(more)
		if fits <= 0 && len(b) > 0 {
			return 0, syscall.ENOSPC
		}
		b = b[:fits]
	}
	c := &byteChange{f: f, off: off, oldSize: st.Size(), new: slices.Clone(b)}
	if off < c.oldSize {
		c.old = make([]byte, min(int64(len(b)), c.oldSize-off))
		if _, err := f.back.ReadAt(c.old, off); err != nil {
			return 0, err
		}
	}
	n, err := f.back.WriteAt(b, off)
	if err != nil {
		return 0, err
	}
	d.grew(max(off+int64(len(b))-c.oldSize, 0))
	c.seq = d.nextSeq()
	f.changes = append(f.changes, c)
	return n, nil
}

// Read reads what was written, safe or not.
func (h *handle) Read(ctx context.Context, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	r, errno := h.d.obey(ctx, "read", h.path)
	if failed(errno) {
		return nil, errno
	}
	n, err := h.f.back.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, refuse(err)
	}
	if r != nil && r.Flip && n > 0 {
		h.d.mu.Lock()
		bit := h.d.rng.IntN(n * 8)
		h.d.mu.Unlock()
		b[bit/8] ^= 1 << (bit % 8)
	}
	return fuse.ReadResultData(b[:n]), 0
}

// Write writes into the backing file and the journal.
func (h *handle) Write(ctx context.Context, b []byte, off int64) (uint32, syscall.Errno) {
	r, errno := h.d.obey(ctx, "write", h.path)
	if dark := h.d.enter(); failed(dark) {
		return 0, dark
	}
	defer h.d.mu.Unlock()
	if failed(errno) {
		if r != nil && r.Short {
			_, _ = h.d.write(h.f, b[:len(b)/2], off) // it fails anyhow
		}
		return 0, errno
	}
	n, err := h.d.write(h.f, b, off)
	return uint32(n), refuse(err)
}

// Allocate extends the file by zeros; it reserves nothing.
func (h *handle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		return syscall.EOPNOTSUPP
	}
	if errno := h.allow(ctx, "write"); failed(errno) || mode != 0 {
		return errno
	}
	if errno := h.d.enter(); failed(errno) {
		return errno
	}
	defer h.d.mu.Unlock()
	st, err := h.f.back.Stat()
	if err != nil || int64(off+size) <= st.Size() {
		return refuse(err)
	}
	return refuse(h.d.resize(h.f, int64(off+size)))
}

func (h *handle) allow(ctx context.Context, op string) syscall.Errno {
	_, errno := h.d.obey(ctx, op, h.path)
	return errno
}

// Fsync makes the file's bytes safe.
func (h *handle) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	r, errno := h.d.obey(ctx, "fsync", h.path)
	if dark := h.d.enter(); failed(dark) {
		return dark
	}
	defer h.d.mu.Unlock()
	if failed(errno) {
		if r != nil && r.Forget {
			h.d.loseFile(h.f)
		}
		return errno
	}
	if r == nil || !r.Lie {
		h.d.syncFile(h.f)
	}
	return 0
}

// Release closes the handle.
func (h *handle) Release(context.Context) syscall.Errno {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.f.handles--
	h.d.drop(h.f)
	return 0
}

// Lseek finds data and holes.
func (h *handle) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	n, err := unix.Seek(int(h.f.back.Fd()), int64(off), int(whence))
	return uint64(n), refuse(err)
}

func (f *file) stat(out *fuse.AttrOut) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.back.Fd()), &st); err != nil {
		return refuse(err)
	}
	out.FromStat(&st)
	return 0
}

// setattr changes what is not modelled.
func (h *handle) setattr(in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if mode, ok := in.GetMode(); ok {
		if err := h.f.back.Chmod(os.FileMode(mode & 0o777)); err != nil {
			return refuse(err)
		}
	}
	modified, ok := in.GetMTime()
	if ok {
		ts := unix.NsecToTimespec(modified.UnixNano())
		if err := unix.UtimesNanoAt(int(h.f.back.Fd()), "", []unix.Timespec{ts, ts}, unix.AT_EMPTY_PATH); err != nil {
			return refuse(err)
		}
	}
	return h.f.stat(out)
}

// folderHandle is an open folder.
type folderHandle struct {
	fs.FileHandle
	n *node
}

// Readdirent reads the next name.
func (h *folderHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	return h.FileHandle.(fs.FileReaddirenter).Readdirent(ctx)
}

// Seekdir goes to a place among the names.
func (h *folderHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	return h.FileHandle.(fs.FileSeekdirer).Seekdir(ctx, off)
}

// Releasedir closes the handle.
func (h *folderHandle) Releasedir(ctx context.Context, flags uint32) {
	h.FileHandle.(fs.FileReleasedirer).Releasedir(ctx, flags)
}

// Fsyncdir makes the names in the folder safe.
func (h *folderHandle) Fsyncdir(ctx context.Context, _ uint32) syscall.Errno {
	r, errno := h.n.d.obey(ctx, "fsyncdir", h.n.path())
	if failed(errno) || r != nil && r.Lie {
		return errno
	}
	if errno := h.n.d.enter(); failed(errno) {
		return errno
	}
	defer h.n.d.mu.Unlock()
	in, err := h.n.folder()
	if err != nil {
		return refuse(err)
	}
	h.n.d.syncFolder(in)
	return 0
}
