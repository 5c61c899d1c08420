package dns

import (
	"context"
	"errors"
	"net/netip"
)

// Resolver asks the DNS. Names may be given in Unicode or in ASCII, with or without a final dot; they are always taken as absolute. Names in
// answers are lower-case A-labels without a final dot.
//
// Every method fails with an error that wraps [ErrNoDomain], [ErrNoRecords] or [ErrTemporary], and nothing else.
type Resolver interface {
	// LookupMX asks for the mail exchangers of a domain, in the order in which they came. A null MX (RFC 7505) has the host "".
	LookupMX(ctx context.Context, domain string) (Answer[MX], error)
	// LookupAddrs asks for the addresses of a host, in the hosts file first. An IPv4 address is never in the form ::ffff:a.b.c.d.
	LookupAddrs(ctx context.Context, host string, family Family) (Answer[netip.Addr], error)
	// LookupTXT asks for texts, each with its strings joined (RFC 7208 §3.3). They are bytes as they came, not always UTF-8.
	LookupTXT(ctx context.Context, name string) (Answer[string], error)
	// LookupTLSA asks what is known of the certificate of a service on a TCP port (RFC 6698 §3).
	LookupTLSA(ctx context.Context, port uint16, host string) (Answer[TLSA], error)
	// LookupPTR asks for the names of an address, in the hosts file first. They are the claim of whoever has the address.
	LookupPTR(ctx context.Context, addr netip.Addr) (Answer[string], error)
}

// Answer is what the DNS knows of a name.
type Answer[T any] struct {
	Records []T    // at least one
	Name    string // whose records they are: the name that was asked for, or the one at the end of its chain of aliases (CNAME)
	Aliased bool   // Name came by an alias
	// Authentic: a server that is configured as validating says that all of the answer, aliases included, was signed and is right (the AD
	// bit, RFC 4035 §3.2.3). Never so for the hosts file.
	Authentic bool
}

// MX is a mail exchanger (RFC 5321 §5.1).
type MX struct {
	Preference uint16 // lower is better
	Host       string // "": none, the domain takes no mail
}

// TLSA is a statement about a certificate (RFC 6698 §2.1).
type TLSA struct {
	Usage    uint8 // 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE
	Selector uint8 // 0 the whole certificate, 1 its public key
	Matching uint8 // 0 as it is, 1 SHA-256, 2 SHA-512
	Data     []byte
}

// Family is a kind of addresses.
type Family uint8

const (
	Any  Family = iota // both IPv4 and IPv6
	IPv4               // A records
	IPv6               // AAAA records
)

var (
	// ErrNoDomain: the name does not exist (NXDOMAIN), or is none that could.
	ErrNoDomain = errors.New("no such domain")
	// ErrNoRecords: the name exists and has no records of the kind asked for (NODATA, RFC 2308 §2.2).
	ErrNoRecords = errors.New("no such records")
	// ErrTemporary: no server gave an answer. Later one may.
	ErrTemporary = errors.New("no answer from the DNS")
)
