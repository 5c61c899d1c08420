// Package routetest is a DNS for tests: a [Zone] of records that they write down, asked in memory by [Resolver] or over loopback by [Serve],
// with all the ways to fail that real servers have.
package routetest

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	miekg "github.com/miekg/dns"
)

// Failure is how a zone fails for a name.
type Failure int

const (
	// Silence gives no answer at all.
	Silence Failure = iota + 1
	// ServFail, Refused, FormErr and NotImp answer with that code.
	ServFail
	Refused
	FormErr
	NotImp
	// NoEDNS answers a query with EDNS as servers do that never heard of it, and others well.
	NoEDNS
	// Truncation leaves out the answer by UDP, and gives it by TCP.
	Truncation
	// TruncationEverywhere leaves it out by TCP, too.
	TruncationEverywhere
	// CutOff cuts the answer by UDP in the middle of a record, and gives it by TCP. In memory it is Truncation.
	CutOff
	// Lame answers like a server that is not responsible: no records, no authority, no recursion.
	Lame
	// LameDenial denies the name like a server that is not responsible for it.
	LameDenial
	// Referral answers with other name servers.
	Referral
	// Forgery answers first under a wrong ID, then about another name, and then well. In memory it answers well.
	Forgery
	// Garbage answers with bytes that are no message, by UDP, and then well. In memory it answers well.
	Garbage
)

// All as a name stands for every name.
const All = "*"

// Zone is everything that a DNS server of a test knows; it takes itself to be responsible for all names. It may be changed while it serves.
// The zero value is empty and ready.
type Zone struct {
	mu sync.Mutex
	// Guarded by mu. All keys are as canonical gives them.
	records map[string][]miekg.RR
	fails   map[string]Failure
	secure  map[string]bool
	chopped bool
	asked   map[string]int // by "MX example.org"
}

// New makes a zone of records as zone files have them, such as "example.org. 300 IN MX 10 mx.example.org."; class and TTL (an hour) may be
// left out. It panics on what is no record.
func New(records ...string) *Zone {
	z := new(Zone)
	z.Add(records...)
	return z
}

// Add adds records. An SOA record, of any name, says how long absences of all names last.
func (z *Zone) Add(records ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = map[string][]miekg.RR{}
	}
	for _, s := range records {
		rr, err := miekg.NewRR("$TTL 3600\n" + s)
		if err != nil || rr == nil {
			panic(fmt.Sprintf("routetest: record %q: %v", s, err))
		}
		name := canonical(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
	}
}

// Remove takes away all records of a name.
func (z *Zone) Remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, canonical(name))
}

// Fail makes questions for a name, or [All], fail; with 0, work again. A name goes before [All].
func (z *Zone) Fail(name string, how Failure) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.fails == nil {
		z.fails = map[string]Failure{}
	}
	z.fails[canonical(name)] = how
}

// Secure sets the AD bit in answers about names, or [All].
func (z *Zone) Secure(names ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.secure == nil {
		z.secure = map[string]bool{}
	}
	for _, name := range names {
		z.secure[canonical(name)] = true
	}
}

// Insecure takes back what Secure said of names.
func (z *Zone) Insecure(names ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, name := range names {
		z.secure[canonical(name)] = false
	}
}

// Chop makes the zone answer with the first alias of a chain alone, as servers do that do not own the next.
func (z *Zone) Chop() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.chopped = true
}

// Asked says how often a question came, such as Asked("MX", "example.org"); repetitions by TCP or without EDNS count.
func (z *Zone) Asked(kind, name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[kind+" "+canonical(name)]
}

// AskedInAll says how often each question came.
func (z *Zone) AskedInAll() map[string]int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.asked)
}

// canonical is a name as it comes in questions, with special bytes escaped one way.
func canonical(name string) string {
	if name == All {
		return name
	}
	var wire [256]byte
	if end, err := miekg.PackDomainName(miekg.Fqdn(name), wire[:], 0, nil, false); err == nil {
		name, _, _ = miekg.UnpackDomainName(wire[:end], 0) // what was just packed unpacks
	}
	return strings.ToLower(miekg.Fqdn(name))
}
