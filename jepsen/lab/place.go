package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/quorumail/quorumail/jepsen/net"
	"golang.org/x/sys/unix"
)

// place is where a node, or the clients, are.
type place struct {
	ip        netip.Addr
	namespace string // path; "" on loopback
	remove    func() error
}

// joined makes a namespace that the switch joins to the others.
func joined(sw *net.Switch, name, namespace string, ip netip.Addr) (*place, error) {
	path, err := net.AddNamespace(namespace)
	if err != nil {
		return nil, err
	}
	if err := sw.Attach(name, path, netip.PrefixFrom(ip, 24)); err != nil {
		return nil, errors.Join(err, net.RemoveNamespace(path))
	}
	return &place{ip: ip, namespace: path, remove: func() error { return net.RemoveNamespace(path) }}, nil
}

// loopbackTries is far more than any machine has laboratories.
const loopbackTries = 1000

// loopback takes an address of 127.0.0.0/8 that no other laboratory has: a fixed port on it can then be taken by nobody else.
func loopback(dir string) (*place, error) {
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "quorumail-loopback")
	}
	// All users of the machine share it, whatever the umask of the one that comes first.
	switch err := os.Mkdir(dir, 0o777); {
	case err == nil:
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return nil, fmt.Errorf("share the folder of locked addresses: %w", err)
		}
	case !errors.Is(err, os.ErrExist):
		return nil, fmt.Errorf("make the folder of locked addresses: %w", err)
	}
	for range loopbackTries {
		ip := netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(250)), byte(rand.IntN(256)), byte(1 + rand.IntN(250))})
		remove, err := lock(filepath.Join(dir, ip.String()))
		if err != nil {
			return nil, err
		}
		if remove != nil {
			return &place{ip: ip, remove: remove}, nil
		}
	}
	return nil, fmt.Errorf("no free loopback address after %d tries", loopbackTries)
}

// lock takes a file, or answers nil when another process has it. The kernel lets go of it when this process ends.
func lock(path string) (remove func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		if _, there := os.Stat(path); there == nil {
			return nil, nil // another user's
		}
		return nil, fmt.Errorf("lock an address: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, nil
	}
	// Whoever had it may have removed it between our opening and locking it; then a lock on it means nothing.
	mine, err := f.Stat()
	if now, err2 := os.Stat(path); err != nil || err2 != nil || !os.SameFile(mine, now) {
		f.Close()
		return nil, nil
	}
	return func() error { return errors.Join(os.Remove(path), f.Close()) }, nil
}
