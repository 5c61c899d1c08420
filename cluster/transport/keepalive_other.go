//go:build !linux

package transport

import (
	"net"
	"time"
)

func keepAlive(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		// An error leaves the system's defaults, which notice later.
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3})
	}
}
