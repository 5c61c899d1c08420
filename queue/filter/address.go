package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// envelope is a Message with its addresses in the form in which rules compare them, made once for all rules.
type envelope struct {
	*Message
	client     netip.Addr
	from       canonical
	recipients []canonical
}

// canonical is an address as [smtp.Address.Canonical] has it: as a whole, and in parts without quotes.
type canonical struct {
	address             smtp.Address
	text, local, domain string
}

func canonicalOf(a smtp.Address) canonical {
	return canonical{address: a, text: a.Canonical(), local: canonicalLocal(a.Local), domain: a.Domain}
}

func envelopeOf(m *Message) *envelope {
	e := &envelope{Message: m, client: m.Client.Unmap().WithZone(""), from: canonicalOf(m.From)}
	for _, to := range m.Recipients {
		e.recipients = append(e.recipients, canonicalOf(to))
	}
	return e
}

// clientMatch compiles an address or a CIDR prefix. IPv4 addresses written as IPv6 are IPv4.
func clientMatch(pattern string) (func(*envelope) (string, bool), error) {
	prefix, err := parsePrefix(strings.TrimSpace(pattern))
	if err != nil {
		return nil, err
	}
	return func(e *envelope) (string, bool) {
		if !e.client.IsValid() || !prefix.Contains(e.client) {
			return "", false
		}
		return e.client.String(), true
	}, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("client %q, expected an address such as 192.0.2.1 or a network such as 2001:db8::/32", s)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("client %q: write IPv4 networks as IPv4", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("client %q has bits beyond its length: did you mean %s?", s, p.Masked())
	}
	return p, nil
}

// addressMatch compiles a rule about the envelope's addresses.
func addressMatch(field, pattern string) (func(*envelope) (string, bool), error) {
	p, err := parseAddressPattern(pattern)
	if err != nil {
		return nil, err
	}
	return func(e *envelope) (string, bool) {
		look := e.recipients
		if field == FieldSender {
			look = []canonical{e.from}
		}
		for _, a := range look {
			if p.matches(a) {
				return "<" + a.address.String() + ">", true
			}
		}
		return "", false
	}, nil
}

// addressPattern matches addresses in canonical form.
type addressPattern struct {
	null   bool   // the null address alone
	exact  string // a whole address without wildcards, canonical
	local  glob   // nil for any
	domain glob   // nil for any
}

func (p addressPattern) matches(a canonical) bool {
	switch {
	case a.address.IsNull() || p.null:
		return a.address.IsNull() && p.null
	case p.exact != "":
		return p.exact == a.text
	}
	return p.domain.matches(a.domain) && p.local.matches(a.local)
}

// parseAddressPattern reads the forms that the package comment lists.
func parseAddressPattern(s string) (addressPattern, error) {
	s = strings.TrimSpace(s)
	switch s {
	case "<>":
		return addressPattern{null: true}, nil
	case "*", "*@*":
		return addressPattern{}, nil
	}
	if a, err := smtp.ParseAddress(s); err == nil && !hasWildcard(s) {
		return addressPattern{exact: a.Canonical()}, nil
	}
	at := strings.LastIndexByte(s, '@')
	p := addressPattern{}
	if local := s[:max(at, 0)]; local != "" {
		g, err := parseGlob(canonicalLocal(local))
		if err != nil {
			return p, err
		}
		p.local = g
	}
	domain, err := parseDomainPattern(s[at+1:])
	if err != nil {
		return p, fmt.Errorf("address pattern %q: %w", s, err)
	}
	p.domain = domain
	return p, nil
}

// parseDomainPattern brings each label without wildcards into the form that smtp.Address has.
func parseDomainPattern(s string) (glob, error) {
	if s == "*" {
		return nil, nil
	}
	if !hasWildcard(s) {
		domain, err := smtp.ParseDomain(s)
		if err != nil {
			return nil, err
		}
		return literalGlob(domain), nil
	}
	labels := strings.Split(s, ".")
	for i, label := range labels {
		switch {
		case label == "":
			return nil, errors.New("an empty label")
		case hasWildcard(label):
			labels[i] = canonicalLocal(label)
		default:
			domain, err := smtp.ParseDomain(label)
			if err != nil {
				return nil, err
			}
			labels[i] = domain
		}
	}
	return parseGlob(strings.Join(labels, "."))
}

func hasWildcard(s string) bool { return strings.ContainsAny(s, "*?") }

// canonicalLocal is what [smtp.Address.Canonical] does with a local part, without its quotes: lower case and NFC until nothing changes.
func canonicalLocal(s string) string {
	for range 4 {
		next := norm.NFC.String(strings.ToLower(s))
		if next == s {
			break
		}
		s = next
	}
	return s
}
