package route

import (
	"fmt"
	"net/netip"
)

// Plan is where the mail for a destination goes, and under which conditions. With the kind [Discard] it has no hosts.
type Plan struct {
	Kind   Kind   // ByMX, Smarthost or Discard
	Domain string // the destination: A-labels, or an address literal

	// Hosts are to be tried in this order, each address of one before the next (RFC 5321 §5.1).
	Hosts []Host
	// Key is the same for domains whose mail goes to the same hosts in the same way because one rule or equal ones say so: they are one
	// destination, with one back-off. See [Router.Destination].
	Key string
	// MXDomain is the domain whose mail exchangers the hosts are: the one that MTA-STS (RFC 8461 §3) is asked for, and that a certificate may
	// name (RFC 7672 §3.2.2). "" for smarthosts and address literals.
	MXDomain string

	TLS      TLS
	Username string // for AUTH; "": none
	Password Secret

	Notes []string // what was left out, and why, for who asks how mail is routed
}

// Host is a host to deliver to.
type Host struct {
	Name       string // A-labels; for an address, the address
	Preference uint16 // lower is tried first; equal ones are already in random order
	Addrs      []netip.AddrPort
	// Authentic: that this is a host of the destination, its name and its addresses are validated answers of the DNS (RFC 7672 §2.2), so
	// that its TLSA records say something.
	Authentic bool
}

// note writes down what was left out.
func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}
