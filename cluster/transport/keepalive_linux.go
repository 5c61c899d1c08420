package transport

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A peer whose machine or network went away is given up after about this long, whether something is under way to it or not: a follower that
// takes in a checkpoint waits for nothing else, and cannot vote meanwhile.
const deadAfter = 10 * time.Second

func keepAlive(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	// Errors leave the kernel's defaults, which notice later.
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3})
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		// tcp(7): how long sent data may stay unacknowledged. A paused process does not count: its kernel acknowledges.
		_ = syscall.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
	})
}
