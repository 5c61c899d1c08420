package dns

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// maxAliases bounds a chain of CNAME records. Those that real domains have are of two or three.
const maxAliases = 8

// result is what is known of a question after all aliases.
type result struct {
	records   []miekg.RR // of the kind asked for, at name
	name      string     // the end of the chain of aliases, as [fqdn] gives it
	authentic bool
	absent    error // ErrNoDomain or ErrNoRecords: that there are no records is the answer
	ttl       time.Duration
	sizeBytes int // of the messages it came in
}

// ask follows a question from alias to alias (RFC 1034 §5.2.2). Most servers give the whole chain in one answer; of one that does not, the
// end is asked for again. The error wraps [ErrTemporary].
func (d *Client) ask(ctx context.Context, q question) (result, error) {
	r := result{name: q.name, authentic: true, ttl: time.Duration(1<<63 - 1)}
	for aliases := 0; ; {
		m, authentic, err := d.exchange(ctx, question{name: r.name, kind: q.kind})
		if err != nil {
			return result{}, err
		}
		r.authentic = r.authentic && authentic
		r.sizeBytes += m.Len()
		before := aliases
		if aliases, err = r.follow(m, q.kind, aliases); err != nil {
			return result{}, err
		}
		if r.conclude(m, aliases > before) {
			return r, nil
		}
	}
}

// follow goes along the aliases within an answer and takes the records at their end.
func (r *result) follow(m *miekg.Msg, kind uint16, aliases int) (int, error) {
	for {
		r.records = r.take(m, kind)
		if len(r.records) > 0 {
			return aliases, nil
		}
		alias := r.take(m, miekg.TypeCNAME)
		if len(alias) == 0 {
			return aliases, nil
		}
		target := canonical(alias[0].(*miekg.CNAME).Target)
		if target == "" {
			return aliases, fmt.Errorf("%w: an alias of nothing, %s", ErrTemporary, plain(r.name))
		}
		if aliases++; aliases > maxAliases {
			return aliases, fmt.Errorf("%w: more than %d aliases, up to %s", ErrTemporary, maxAliases, plain(r.name))
		}
		r.name = target
	}
}

// take finds the records of a kind at the end of the chain as it is now. An answer lives as long as the first of its parts to expire.
func (r *result) take(m *miekg.Msg, kind uint16) []miekg.RR {
	var found []miekg.RR
	for _, rr := range m.Answer {
		h := rr.Header()
		if h.Rrtype == kind && h.Class == miekg.ClassINET && canonical(h.Name) == r.name {
			found = append(found, rr)
			r.ttl = min(r.ttl, lifetime(h.Ttl))
		}
	}
	return found
}

// conclude says whether the answer is complete, and what it means if it has no records.
func (r *result) conclude(m *miekg.Msg, moved bool) bool {
	switch {
	case len(r.records) > 0:
		return true
	case m.Rcode == miekg.RcodeNameError: // RFC 2308 §2.1: it is about the last name of the chain
		r.absent = ErrNoDomain
	case moved && !hasSOA(m):
		return false // the server told of an alias only
	default:
		r.absent = ErrNoRecords
	}
	r.ttl = min(r.ttl, negativeTTL(m))
	return true
}

func hasSOA(m *miekg.Msg) bool { return has(m.Ns, miekg.TypeSOA) }

func has(records []miekg.RR, kind uint16) bool {
	for _, rr := range records {
		if rr.Header().Rrtype == kind {
			return true
		}
	}
	return false
}

func toMX(rr miekg.RR) (MX, bool) {
	mx, ok := rr.(*miekg.MX)
	if !ok || mx.Mx == "" { // without data, not a null MX
		return MX{}, false
	}
	return MX{Preference: mx.Preference, Host: plain(canonical(mx.Mx))}, true
}

func toAddr(rr miekg.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *miekg.A:
		addr, ok := netip.AddrFromSlice(rr.A)
		return addr.Unmap(), ok
	case *miekg.AAAA:
		addr, ok := netip.AddrFromSlice(rr.AAAA)
		return addr.Unmap(), ok
	}
	return netip.Addr{}, false
}

func toText(rr miekg.RR) (string, bool) {
	txt, ok := rr.(*miekg.TXT)
	if !ok {
		return "", false
	}
	var text strings.Builder
	for _, s := range txt.Txt {
		text.WriteString(unescape(s))
	}
	return text.String(), true
}

func toTLSA(rr miekg.RR) (TLSA, bool) {
	tlsa, ok := rr.(*miekg.TLSA)
	if !ok {
		return TLSA{}, false
	}
	data, err := hex.DecodeString(tlsa.Certificate)
	return TLSA{Usage: tlsa.Usage, Selector: tlsa.Selector, Matching: tlsa.MatchingType, Data: data}, err == nil
}

func toName(rr miekg.RR) (string, bool) {
	ptr, ok := rr.(*miekg.PTR)
	if !ok || ptr.Ptr == "" {
		return "", false
	}
	return plain(canonical(ptr.Ptr)), true
}
