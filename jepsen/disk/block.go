package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// block is a real file system on a loop device. The node's folder lies below the root of the mount, so that it finds nothing of ours.
type block struct {
	cfg   Config
	image string // absolute, and without symbolic links: as the kernel names it

	mu      sync.Mutex
	mounted bool // guarded by mu
	cut     bool // the power went since it was mounted; guarded by mu
	full    bool // the filler is to be there; guarded by mu
}

func blockSupported(k Kind) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: mounting %s needs root", ErrUnsupported, k)
	}
	if _, err := exec.LookPath("mkfs." + string(k)); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("%w: no loop devices: %w", ErrUnsupported, err)
	}
	// The file systems that are modules are listed once they are loaded; mkfs cannot tell.
	raw, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(raw), "\t"+string(k)+"\n") && exec.Command("modprobe", string(k)).Run() != nil {
		return fmt.Errorf("%w: the kernel does not know %s", ErrUnsupported, k)
	}
	return nil
}

func newBlock(cfg Config) (Volume, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("find a volume's folder: %w", err)
	}
	if cfg.SizeBytes == 0 {
		cfg.SizeBytes = 2 << 30
	}
	v := &block{cfg: cfg, image: filepath.Join(dir, "image")}
	if err := os.MkdirAll(v.root(), 0o700); err != nil {
		return nil, fmt.Errorf("make a mount point: %w", err)
	}
	// A run that was killed leaves its mount.
	for unix.Unmount(v.root(), 0) == nil {
	}
	if _, err := os.Stat(v.image); err == nil {
		return v, nil
	}
	return v, v.format()
}

func (v *block) format() error {
	f, err := os.OpenFile(v.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make an image: %w", err)
	}
	if err := errors.Join(f.Truncate(v.cfg.SizeBytes), f.Close()); err != nil {
		return fmt.Errorf("make an image of %d bytes: %w", v.cfg.SizeBytes, err)
	}
	args := map[Kind][]string{Ext4: {"-q", "-F", "-m", "0", v.image}, XFS: {"-q", v.image}}[v.cfg.Kind]
	if out, err := exec.Command("mkfs."+string(v.cfg.Kind), args...).CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("mkfs.%s of %d bytes: %w: %s", v.cfg.Kind, v.cfg.SizeBytes, err, out), os.Remove(v.image))
	}
	return nil
}

func (v *block) Kind() Kind   { return v.cfg.Kind }
func (v *block) Path() string { return filepath.Join(v.root(), "data") }
func (v *block) root() string { return filepath.Join(v.cfg.Dir, "mnt") }

func (v *block) Mount() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mount()
}

// mount is called with v.mu held.
func (v *block) mount() error {
	if v.mounted {
		return nil
	}
	if err := detached(v.image); err != nil {
		return err
	}
	device, err := attach(v.image)
	if err != nil {
		return err
	}
	defer device.Close() // the mount holds it from now on
	// By itself ext4 writes its journal every 5 s: too little would be at risk.
	options := map[Kind]string{Ext4: "commit=300"}[v.cfg.Kind]
	if err := unix.Mount(device.Name(), v.root(), string(v.cfg.Kind), unix.MS_NOATIME, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", v.image, v.root(), err)
	}
	v.mounted, v.cut = true, false
	if err := v.settle(); err != nil {
		return err
	}
	if _, err := os.Stat(v.Path()); err == nil {
		return nil
	}
	if err := os.Mkdir(v.Path(), 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	return v.flush()
}

// flush makes everything safe.
func (v *block) flush() error {
	dir, err := os.Open(v.root())
	if err != nil {
		return fmt.Errorf("flush a volume: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", v.root(), err)
	}
	return nil
}

func (v *block) Unmount() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.unmount()
}

// unmount is called with v.mu held. It does not detach a busy mount: that would go on behind our back.
func (v *block) unmount() error {
	if !v.mounted {
		return nil
	}
	if err := retry(unix.EBUSY, func() error { return unix.Unmount(v.root(), 0) }); err != nil {
		return fmt.Errorf("unmount %s (does a program still use it?): %w", v.root(), err)
	}
	v.mounted = false
	return detached(v.image)
}

func (v *block) Cut() error {
	_, err := CutAll([]Volume{v})
	return err
}

func (v *block) arm() (func() error, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.mounted {
		return nil, errNotMounted
	}
	root, err := os.Open(v.root())
	if err != nil {
		return nil, err
	}
	return func() error {
		err := shutdown(root)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.cut = v.cut || err == nil
		return errors.Join(err, root.Close())
	}, nil
}

// shutdown stops a file system without a flush of its journal. Linux include/uapi/linux/fs.h: FS_IOC_SHUTDOWN is _IOR('X', 125, __u32), and
// FS_SHUTDOWN_FLAGS_NOLOGFLUSH is 2.
func shutdown(root *os.File) error {
	const (
		fsIocShutdown = 0x8004587d
		noLogFlush    = 2
	)
	if err := unix.IoctlSetPointerInt(int(root.Fd()), fsIocShutdown, noLogFlush); err != nil {
		return fmt.Errorf("shut down %s: %w", root.Name(), err)
	}
	return nil
}

func (v *block) Restore() (Loss, error) {
	v.mu.Lock()
	cut := v.cut
	v.mu.Unlock()
	if !cut {
		if err := v.Cut(); err != nil {
			return Loss{}, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.unmount(); err != nil {
		return Loss{}, err
	}
	return Loss{How: journalled}, v.mount()
}

func (v *block) Content(look func(dir string) error) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.mounted {
		if err := v.mount(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, v.unmount()) }()
	}
	return errors.Join(look(v.Path()), v.flush())
}

func (v *block) Inject(f Fault) (func(), error) { return nil, errInject(f) }

func (v *block) Close() error {
	if err := v.Unmount(); err != nil {
		return err
	}
	return removeAll(v.cfg.Dir)
}
