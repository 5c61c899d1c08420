package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// networkOf splits an admin address, "host:port" or "unix:/path", into what package net wants.
func networkOf(address string) (network, where string) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	return "tcp", address
}

// Listen opens the admin listener at "host:port" or "unix:/path". A socket's file that a node left behind which was killed is replaced; one
// at which somebody answers is not. Only the node's own user may connect to a socket's file.
func Listen(address string) (net.Listener, error) {
	network, where := networkOf(address)
	if network == "unix" {
		if c, err := net.Dial(network, where); err == nil {
			return nil, errors.Join(fmt.Errorf("listen at %s: another program answers there", where), c.Close())
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(where) // if it stays, Listen says why
		}
	}
	l, err := net.Listen(network, where)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := os.Chmod(where, 0o600); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}
