package client

import (
	"cmp"
	"time"
)

// Options are how clients behave. Zero fields take their defaults.
type Options struct {
	Dialer      Dialer        // required
	DialTimeout time.Duration // for a connection, with TLS; 2 s
	Timeout     time.Duration // for an operation on it, answers included, such as greeting and login; 8 s, longer than a node takes to find out that it cannot (4 s)
	Whole       time.Duration // for reading a mailbox with all its bodies; 2 min
}

func (o Options) filled() Options {
	o.DialTimeout = cmp.Or(o.DialTimeout, 2*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 8*time.Second)
	o.Whole = cmp.Or(o.Whole, 2*time.Minute)
	return o
}
