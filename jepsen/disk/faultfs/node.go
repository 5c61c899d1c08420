package faultfs

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is a file or folder. What it does not define passes through.
type node struct {
	fs.LoopbackNode
	d *Disk
}

func (n *node) path() string          { return "/" + n.Path(n.Root()) }
func (n *node) child(s string) string { return filepath.Join(n.path(), s) }
func (n *node) back() string          { return filepath.Join(n.RootData.Path, n.path()) }
func (n *node) ino() uint64           { return n.StableAttr().Ino }
func inodeOf(ch *fs.Inode) uint64     { return ch.StableAttr().Ino }
func failed(errno syscall.Errno) bool { return errno != 0 }
func refuse(err error) syscall.Errno  { return fs.ToErrno(err) }
func (n *node) allow(ctx context.Context, op, p string) syscall.Errno {
	_, errno := n.d.obey(ctx, op, p)
	return errno
}

// WrapChild makes what is found or made in this folder a node too.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, d: n.d}
}

// folder is the descriptor of a folder. Called with d.mu held.
func (n *node) folder() (*folder, error) {
	if in := n.d.folders[n.ino()]; in != nil {
		return in, nil
	}
	fd, err := unix.Open(n.back(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	in := &folder{fd: fd}
	n.d.folders[n.ino()] = in
	return in, nil
}

// made notes that a name was made in this folder. Called with d.mu held.
func (n *node) made(name string) syscall.Errno {
	in, err := n.folder()
	if err != nil {
		return refuse(err)
	}
	n.d.noteNames(move{n.d.plot(), place{in, name}})
	return 0
}

// Create makes a file.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.allow(ctx, "create", n.child(name)); failed(errno) {
		return nil, nil, 0, errno
	}
	if errno := n.d.enter(); failed(errno) {
		return nil, nil, 0, errno
	}
	defer n.d.mu.Unlock()
	if n.d.full() {
		return nil, nil, 0, syscall.ENOSPC
	}
	// The kernel asks for this only where it found no such name.
	ch, fh, _, errno := n.LoopbackNode.Create(ctx, name, flags&^syscall.O_TRUNC|syscall.O_EXCL, mode, out)
	if failed(errno) {
		return nil, nil, 0, errno
	}
	fh.(fs.FileReleaser).Release(ctx)
	if errno := n.made(name); failed(errno) {
		return nil, nil, 0, errno
	}
	h, err := n.d.handle(inodeOf(ch), filepath.Join(n.back(), name), n.child(name))
	if err != nil {
		return nil, nil, 0, refuse(err)
	}
	return ch, h, 0, 0
}

// Mkdir makes a folder.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.allow(ctx, "mkdir", n.child(name)); failed(errno) {
		return nil, errno
	}
	if errno := n.d.enter(); failed(errno) {
		return nil, errno
	}
	defer n.d.mu.Unlock()
	if n.d.full() {
		return nil, syscall.ENOSPC
	}
	ch, errno := n.LoopbackNode.Mkdir(ctx, name, mode, out)
	if failed(errno) {
		return nil, errno
	}
	return ch, n.made(name)
}

// Link gives a file another name.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.allow(ctx, "link", n.child(name)); failed(errno) {
		return nil, errno
	}
	if errno := n.d.enter(); failed(errno) {
		return nil, errno
	}
	defer n.d.mu.Unlock()
	from, ok := target.(*node)
	if !ok {
		return nil, syscall.EXDEV
	}
	if err := os.Link(from.back(), filepath.Join(n.back(), name)); err != nil {
		return nil, refuse(err)
	}
	if errno := n.made(name); failed(errno) {
		return nil, errno
	}
	return n.LoopbackNode.Lookup(ctx, name, out)
}

// Unlink removes a name of a file.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.allow(ctx, "unlink", n.child(name)); failed(errno) {
		return errno
	}
	return n.bury(name)
}

// Rmdir removes a folder.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if errno := n.allow(ctx, "rmdir", n.child(name)); failed(errno) {
		return errno
	}
	content, err := os.ReadDir(filepath.Join(n.back(), name))
	if err != nil {
		return refuse(err)
	}
	if len(content) > 0 {
		return syscall.ENOTEMPTY
	}
	return n.bury(name)
}

func (n *node) bury(name string) syscall.Errno {
	if errno := n.d.enter(); failed(errno) {
		return errno
	}
	defer n.d.mu.Unlock()
	in, err := n.folder()
	if err != nil {
		return refuse(err)
	}
	m := move{place{in, name}, n.d.plot()}
	if err := m.do(); err != nil {
		return refuse(err)
	}
	n.d.grew(-lastSize(m.to))
	n.d.noteNames(m)
	return 0
}

// lastSize is how many bytes go with a name: those of a file that has no other.
func lastSize(p place) int64 {
	var st unix.Stat_t
	if unix.Fstatat(p.in.fd, p.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return 0
	}
	return st.Size
}

// Rename moves a name, over another one if that is there.
func (n *node) Rename(ctx context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*node)
	if !ok || flags&^unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	if errno := n.allow(ctx, "rename", to.child(newName)); failed(errno) {
		return errno
	}
	if errno := n.d.enter(); failed(errno) {
		return errno
	}
	defer n.d.mu.Unlock()
	from, err := n.folder()
	if err != nil {
		return refuse(err)
	}
	into, err := to.folder()
	if err != nil {
		return refuse(err)
	}
	return n.d.rename(place{from, name}, place{into, newName}, flags)
}

// rename is called with d.mu held.
func (d *Disk) rename(from, to place, flags uint32) syscall.Errno {
	var moves []move
	var gone int64 // bytes of the file that is replaced
	var st unix.Stat_t
	if unix.Fstatat(to.in.fd, to.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		if flags&unix.RENAME_NOREPLACE != 0 {
			return syscall.EEXIST
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return syscall.EISDIR
		}
		gone = lastSize(to)
		// The new name must never be free meanwhile: a second name keeps the old file.
		grave := d.plot()
		if err := unix.Linkat(to.in.fd, to.name, grave.in.fd, grave.name, 0); err != nil {
			return refuse(err)
		}
		moves = append(moves, move{to, grave})
	}
	if err := unix.Renameat(from.in.fd, from.name, to.in.fd, to.name); err != nil {
		return refuse(err)
	}
	d.grew(-gone)
	d.noteNames(append(moves, move{from, to})...)
	return 0
}

// Open opens a file.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.allow(ctx, "open", n.path()); failed(errno) {
		return nil, 0, errno
	}
	if errno := n.d.enter(); failed(errno) {
		return nil, 0, errno
	}
	defer n.d.mu.Unlock()
	h, err := n.d.handle(n.ino(), n.back(), n.path())
	if err != nil {
		return nil, 0, refuse(err)
	}
	if flags&syscall.O_TRUNC != 0 {
		return h, 0, refuse(n.d.resize(h.f, 0))
	}
	return h, 0, 0
}

// OpendirHandle opens a folder, which can be synced.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.allow(ctx, "open", n.path()); failed(errno) {
		return nil, 0, errno
	}
	fh, f, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if failed(errno) {
		return nil, 0, errno
	}
	return &folderHandle{fh, n}, f, 0
}

// Setattr changes the size in the journal, and what is not modelled at once.
func (n *node) Setattr(ctx context.Context, fh fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.truncate(ctx, fh, int64(size)); failed(errno) {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	if h, ok := fh.(*handle); ok {
		return h.setattr(in, out)
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) truncate(ctx context.Context, fh fs.FileHandle, size int64) syscall.Errno {
	if errno := n.allow(ctx, "truncate", n.path()); failed(errno) {
		return errno
	}
	if errno := n.d.enter(); failed(errno) {
		return errno
	}
	defer n.d.mu.Unlock()
	if h, ok := fh.(*handle); ok {
		return refuse(n.d.resize(h.f, size))
	}
	f, err := n.d.open(n.ino(), n.back())
	if err != nil {
		return refuse(err)
	}
	return refuse(n.d.resize(f, size))
}

// Getattr asks the open file if there is one, for its name may be gone.
func (n *node) Getattr(ctx context.Context, fh fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.Lock()
	f := n.d.files[n.ino()]
	n.d.mu.Unlock()
	if h, ok := fh.(*handle); ok {
		f = h.f
	}
	if f == nil {
		return n.LoopbackNode.Getattr(ctx, nil, out)
	}
	return f.stat(out)
}

// Statfs says how much is free: what the test chose.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	errno := n.LoopbackNode.Statfs(ctx, out)
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.free >= 0 && out.Bsize > 0 {
		out.Bfree = uint64(n.d.free) / uint64(out.Bsize)
		out.Bavail = out.Bfree
	}
	return errno
}

// Mknod is refused: not modelled.
func (n *node) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// Symlink is refused: not modelled.
func (n *node) Symlink(context.Context, string, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// CopyFileRange is refused, so that copies are read and written.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.EOPNOTSUPP
}
