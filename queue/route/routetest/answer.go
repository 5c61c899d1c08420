package routetest

import (
	"strings"

	miekg "github.com/miekg/dns"
)

// answer is what the zone says, and how it fails beyond that.
func (z *Zone) answer(query *miekg.Msg, tcp bool) (*miekg.Msg, Failure) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := query.Question[0]
	name := canonical(q.Name)
	if z.asked == nil {
		z.asked = map[string]int{}
	}
	z.asked[miekg.TypeToString[q.Qtype]+" "+name]++
	m := new(miekg.Msg)
	m.SetReply(query)
	m.Authoritative, m.RecursionAvailable = true, true
	how := z.failure(name)
	if z.fail(m, query, how, tcp) {
		return m, how
	}
	z.fill(m, name, q.Qtype)
	if o := query.IsEdns0(); o != nil {
		m.SetEdns0(o.UDPSize(), false)
	}
	return m, how
}

func (z *Zone) failure(name string) Failure {
	if how, ok := z.fails[name]; ok {
		return how
	}
	return z.fails[All]
}

// fail makes m the failure, if that is one that a message can say.
func (z *Zone) fail(m, query *miekg.Msg, how Failure, tcp bool) bool {
	codes := map[Failure]int{ServFail: miekg.RcodeServerFailure, Refused: miekg.RcodeRefused, FormErr: miekg.RcodeFormatError, NotImp: miekg.RcodeNotImplemented}
	switch code, ok := codes[how]; {
	case ok:
		m.Rcode = code
	case how == NoEDNS && query.IsEdns0() != nil:
		m.Rcode, m.Question = miekg.RcodeFormatError, nil
	case how == Truncation && !tcp, how == CutOff && !tcp, how == TruncationEverywhere:
		m.Truncated = true
	case how == Lame, how == LameDenial:
		m.Authoritative, m.RecursionAvailable = false, false
		if how == LameDenial {
			m.Rcode = miekg.RcodeNameError
		}
	case how == Referral:
		m.Authoritative = false
		m.Ns = append(m.Ns, &miekg.NS{Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeNS, Class: miekg.ClassINET, Ttl: 60}, Ns: "elsewhere.test."})
	default:
		return false
	}
	return true
}

// fill answers as RFC 1034 §4.3.2 says.
func (z *Zone) fill(m *miekg.Msg, name string, kind uint16) {
	m.AuthenticatedData = true
	for range 20 { // a loop of aliases is told as far as this
		m.AuthenticatedData = m.AuthenticatedData && z.isSecure(name)
		found := z.of(name, kind)
		m.Answer = append(m.Answer, found...)
		if len(found) > 0 {
			return
		}
		alias := z.of(name, miekg.TypeCNAME)
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, alias[0])
		if z.chopped {
			return
		}
		name = canonical(alias[0].(*miekg.CNAME).Target)
	}
	if !z.exists(name) {
		m.Rcode = miekg.RcodeNameError
	}
	m.Ns = append(m.Ns, z.soa())
}

func (z *Zone) isSecure(name string) bool {
	if secure, ok := z.secure[name]; ok {
		return secure
	}
	return z.secure[All]
}

func (z *Zone) of(name string, kind uint16) []miekg.RR {
	var found []miekg.RR
	for _, rr := range z.records[name] {
		if rr.Header().Rrtype == kind {
			found = append(found, rr)
		}
	}
	return found
}

// exists: also a name that has nothing but names below it (RFC 8020 §2).
func (z *Zone) exists(name string) bool {
	for have, records := range z.records {
		if len(records) > 0 && (have == name || strings.HasSuffix(have, "."+name)) {
			return true
		}
	}
	return false
}

func (z *Zone) soa() miekg.RR {
	for _, records := range z.records {
		for _, rr := range records {
			if soa, ok := rr.(*miekg.SOA); ok {
				return soa
			}
		}
	}
	return &miekg.SOA{Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeSOA, Class: miekg.ClassINET, Ttl: 60}, Ns: "ns.test.", Mbox: "hostmaster.test.", Minttl: 60}
}
