package client

import (
	"context"
	"crypto/tls"
	"net"
)

// Dialer makes connections from where the clients are.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Node is where one node of the system is reached. Addresses are "host:port", "" for what it does not offer.
type Node struct {
	Name        string
	SMTP        string      // mail from other servers, in the clear
	Submissions string      // TLS from the start, login
	IMAPS       string      // TLS from the start
	POP3S       string      // TLS from the start
	TLS         *tls.Config // verifies the node's certificate; nil when it is not known yet

	Admin     string // "unix:/path" or "host:port" of the administrator's listener
	AdminPath string // the file with the administrator's token
}
