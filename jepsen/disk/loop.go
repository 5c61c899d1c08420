package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// attach makes a loop device over an image. The device goes when it is closed and nothing has it mounted.
func attach(image string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("ask for a loop device: %w", err)
	}
	defer control.Close()
	back, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open a disk's image: %w", err)
	}
	defer back.Close()
	var device *os.File
	// Another process may be faster and take the free device.
	err = retry(unix.EBUSY, func() error {
		device, err = configure(control, back)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a loop device over %s: %w", image, err)
	}
	return device, nil
}

func configure(control, back *os.File) (*os.File, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("find a free loop device: %w", err)
	}
	path := "/dev/loop" + strconv.Itoa(n)
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		// No udev made the file: block devices of loop have the major number 7.
		if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make %s: %w", path, err)
		}
		device, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	cfg := unix.LoopConfig{Fd: uint32(back.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], back.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &cfg); err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

var errAttached = errors.New("a loop device still holds the image: does a program in another mount namespace use it?")

// detached waits until no loop device holds an image. Before, a second one must not be made: two would write it.
func detached(image string) error {
	return retry(errAttached, func() error {
		backs, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			return err
		}
		for _, back := range backs {
			raw, err := os.ReadFile(back)
			if err == nil && strings.TrimSpace(string(raw)) == image {
				return fmt.Errorf("%s: %w", image, errAttached)
			}
		}
		return nil
	})
}
