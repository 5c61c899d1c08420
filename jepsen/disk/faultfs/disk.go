package faultfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ErrUnsupported: this process may not mount FUSE file systems here.
var ErrUnsupported = errors.New("mounting a FUSE file system needs root and /dev/fuse")

// Config says what to mount where.
type Config struct {
	Back      string // folder that holds the disk's content and the grave; made if missing
	Mount     string // where to mount; made if missing
	Journaled bool   // any fsync makes all changes of names safe
	Seed      uint64 // of what a crash keeps and of the rules' chances
}

// Disk is a mounted file system.
type Disk struct {
	cfg    Config
	server *fuse.Server
	root   *node
	grave  *folder
	dark   chan struct{} // closed when the power is lost

	mu      sync.Mutex
	off     bool               // power is lost: nothing works; guarded by mu
	free    int64              // bytes that Statfs says are free; negative for those of the backing folder; guarded by mu
	limited bool               // free is a limit, and kept up to date; guarded by mu
	rng     *rand.Rand         // guarded by mu
	rules   []*rule            // guarded by mu
	seq     uint64             // of the newest change; guarded by mu
	buried  uint64             // names in the grave were numbered up to here; guarded by mu
	files   map[uint64]*file   // with open handles or unsafe changes, by inode; guarded by mu
	folders map[uint64]*folder // that had changes, by inode; guarded by mu
	names   []*nameChange      // not safe yet, oldest first; guarded by mu
}

// Supported tells why Mount cannot work here, or nil.
func Supported() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", ErrUnsupported)
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return f.Close()
}

// Content is the folder in which the disk's content lies, for looks around the mount. It is whole after Crash and Unmount.
func Content(back string) string { return filepath.Join(back, "content") }

// Mount mounts what the backing folder holds.
func Mount(cfg Config) (*Disk, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	grave := filepath.Join(cfg.Back, "grave")
	// A server that was killed left what had been removed.
	if err := os.RemoveAll(grave); err != nil {
		return nil, fmt.Errorf("empty the grave: %w", err)
	}
	for _, dir := range []string{Content(cfg.Back), grave, cfg.Mount} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the folders of a disk: %w", err)
		}
	}
	fd, err := unix.Open(grave, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the grave: %w", err)
	}
	d := &Disk{cfg: cfg, free: -1, dark: make(chan struct{}), grave: &folder{fd: fd, path: grave}, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), files: map[uint64]*file{}, folders: map[uint64]*folder{}}
	if err := d.serve(); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return d, nil
}

func (d *Disk) serve() error {
	var st syscall.Stat_t
	if err := syscall.Stat(Content(d.cfg.Back), &st); err != nil {
		return fmt.Errorf("look at the backing folder: %w", err)
	}
	root := &node{LoopbackNode: fs.LoopbackNode{RootData: &fs.LoopbackRoot{Path: Content(d.cfg.Back), Dev: uint64(st.Dev)}}, d: d}
	root.RootData.RootNode = root
	// The kernel may remember: all changes come through it.
	remember := time.Minute
	server, err := fs.Mount(d.cfg.Mount, root, &fs.Options{AttrTimeout: &remember, EntryTimeout: &remember, NullPermissions: true,
		MountOptions: fuse.MountOptions{Name: "faultfs", FsName: "faultfs", DirectMountStrict: true, AllowOther: true, MaxWrite: 1 << 20, MaxBackground: 64}})
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.cfg.Mount, err)
	}
	d.server, d.root = server, root
	return nil
}

// Unmount ends the mount as a clean shutdown does: everything is kept.
func (d *Disk) Unmount() error {
	_, err := d.Crash(KeepAll)
	return err
}

// SetFree makes the file system say that so many bytes are free; negative for as many as under the backing folder. It limits nothing: Limit
// and a Rule with ENOSPC do.
func (d *Disk) SetFree(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.limited = bytes, false
}

// Limit lets files grow by so many bytes in all, and then answers ENOSPC; removing and cutting files makes room again. Negative ends it.
// Names need no room, but are not made when there is none.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.limited = bytes, bytes >= 0
}

// room is how many of the wanted bytes fit. Called with d.mu held.
func (d *Disk) room(want int64) int64 {
	if !d.limited {
		return want
	}
	return min(want, max(d.free, 0))
}

// full tells whether no name can be made. Called with d.mu held.
func (d *Disk) full() bool { return d.limited && d.free <= 0 }

// grew notes that so many bytes more are used. Called with d.mu held.
func (d *Disk) grew(bytes int64) {
	if d.limited {
		d.free -= bytes
	}
}

// DropCaches makes the kernel ask again for what it has read, so that a rule about reads has something to do.
func (d *Disk) DropCaches() { dropCaches(d.root.EmbeddedInode()) }

func dropCaches(n *fs.Inode) {
	_ = n.NotifyContent(0, 0) // the kernel may have forgotten the inode already
	for _, child := range n.Children() {
		dropCaches(child)
	}
}

// Unsafe counts the changes that a crash might forget now.
func (d *Disk) Unsafe() (bytes, names int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		bytes += len(f.changes)
	}
	return bytes, len(d.names)
}
