package net

import (
	"fmt"
	stdnet "net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const (
	tunDevice = "/dev/net/tun"
	device    = "eth0" // the name in each namespace
)

// openTAP makes a TAP device in a namespace, with an address, up. It is gone when the file is closed.
func openTAP(namespace string, addr netip.Prefix, mtu int) (tap *os.File, at hardware, err error) {
	err = Inside(namespace, func() error {
		if tap, err = newTAP(); err != nil {
			return err
		}
		if err = configure(addr, mtu); err != nil {
			return err
		}
		at, err = hardwareAddress()
		return err
	})
	if err != nil && tap != nil {
		tap.Close()
	}
	return tap, at, err
}

// newTAP makes the device in the thread's namespace. The file is opened for waiting only after the device is made: the poller would be
// told of an error before.
func newTAP() (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunDevice, err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make TAP device %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), tunDevice), nil
}

func configure(addr netip.Prefix, mtu int) error {
	mask := stdnet.CIDRMask(addr.Bits(), 32)
	for _, step := range []struct {
		what    string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr.Addr().AsSlice()) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }},
		{"MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(uint32(mtu)); return nil }},
	} {
		if err := control(device, step.request, step.set); err != nil {
			return fmt.Errorf("set the %s of %s: %w", step.what, device, err)
		}
	}
	return bringUp(device)
}

// bringUp turns a device of the thread's namespace on.
func bringUp(name string) error {
	return wrap("turn "+name+" on", control(name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	}))
}

// control carries out one request on a device of the thread's namespace.
func control(name string, request uint, set func(*unix.Ifreq) error) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := set(r); err != nil {
		return err
	}
	return unix.IoctlIfreq(s, request, r)
}

func hardwareAddress() (hardware, error) {
	i, err := stdnet.InterfaceByName(device)
	if err != nil {
		return hardware{}, fmt.Errorf("find %s: %w", device, err)
	}
	return hardware(i.HardwareAddr), nil
}
