package net

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces is where iproute2 keeps network namespaces by name, so that "ip netns exec" finds ours.
const namespaces = "/run/netns"

// Supported says why network namespaces and TAP devices cannot be made here, or nil.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("TAP devices: %w", err)
	}
	f.Close()
	return apart(func() error {
		return wrap("make a network namespace", unix.Unshare(unix.CLONE_NEWNET))
	})
}

// AddNamespace makes a network namespace with its loopback device up, and tells its path. Its name must be new.
func AddNamespace(name string) (path string, err error) {
	if err := os.MkdirAll(namespaces, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of namespaces: %w", err)
	}
	path = filepath.Join(namespaces, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return "", fmt.Errorf("namespace %s: %w", name, err)
	}
	f.Close()
	err = apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := bringUp("lo"); err != nil {
			return err
		}
		return wrap("keep it under its name", unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""))
	})
	if err != nil {
		return "", errors.Join(fmt.Errorf("namespace %s: %w", name, err), os.Remove(path))
	}
	return path, nil
}

// RemoveNamespace forgets a namespace. The kernel frees it when the last process in it ends.
func RemoveNamespace(path string) error {
	// EINVAL: nothing is mounted there; whoever made the file died before.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	return nil
}

// Inside calls a function on a thread that is in the namespace with this path; sockets that it makes belong there for ever. What the function
// does in other goroutines is not inside.
func Inside(path string, f func() error) error {
	return apart(func() error {
		if err := enter(path); err != nil {
			return err
		}
		return f()
	})
}

// apart calls a function that may change the namespace of its thread. The thread goes back afterwards; if it cannot, it ends with the
// goroutine that is locked to it. Ending it always would be simpler, but kills children that asked for a signal when their parent's thread
// dies.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open the thread's namespace: %w", err)
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
		done <- err
	}()
	return <-done
}

func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer f.Close()
	return wrap("enter namespace "+path, unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
