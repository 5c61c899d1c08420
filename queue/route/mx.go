package route

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/queue/route/dns"
)

// exchangers finds the hosts of a domain as RFC 5321 §5.1 says.
func (r *Router) exchangers(ctx context.Context, p *Plan) error {
	mx, err := r.cfg.Resolver.LookupMX(ctx, p.Domain)
	switch {
	case errors.Is(err, dns.ErrNoDomain):
		return permanent(550, "5.1.2", "The domain %s does not exist", p.Domain) // RFC 3463 §3.2, X.1.2
	case errors.Is(err, dns.ErrNoRecords):
		return r.implicit(ctx, p)
	case err != nil:
		return unanswered(p.Domain, err)
	}
	list := r.order(mx.Records)
	if len(list) == 0 {
		return permanent(556, "5.1.10", "The domain %s takes no mail", p.Domain) // RFC 7505 §4
	}
	c := collection{plan: p, self: r.self(p.Domain), secure: mx.Authentic}
	list = c.cutNamed(list)
	for _, f := range r.lookUp(ctx, list[:min(len(list), r.cfg.MaxHosts)]) {
		if !c.add(f, r.usable(f.answer.Records, r.cfg.Port)) {
			break
		}
	}
	if n := len(list) - r.cfg.MaxHosts; n > 0 {
		p.note("%d more mail exchangers are not used", n)
	}
	return c.verdict(len(mx.Records))
}

// implicit: RFC 5321 §5.1, a domain without MX records is its own mail exchanger. It may be an alias, other than the host of an MX record.
func (r *Router) implicit(ctx context.Context, p *Plan) error {
	f := r.lookUp(ctx, []candidate{{name: p.Domain}})[0]
	addrs := r.usable(f.answer.Records, r.cfg.Port)
	switch self := r.self(p.Domain); {
	case errors.Is(f.err, dns.ErrTemporary):
		return unanswered(p.Domain, f.err)
	case len(addrs) == 0:
		return permanent(550, "5.1.2", "The domain %s has no mail exchanger and no address", p.Domain)
	case self.named(f.answer.Name), slices.ContainsFunc(f.answer.Records, self.has):
		return loops(p.Domain, true)
	}
	p.Hosts = []Host{{Name: f.answer.Name, Addrs: addrs, Authentic: f.answer.Authentic}}
	return nil
}

// order sorts by preference, with equals in random order, "to spread the load" (RFC 5321 §5.1). A null MX counts for nothing here: alone, it
// leaves nothing, and beside others it should not be (RFC 7505 §3).
func (r *Router) order(records []dns.MX) []candidate {
	var list []candidate
	for _, mx := range records {
		if mx.Host != "" {
			list = append(list, candidate{name: mx.Host, preference: mx.Preference})
		}
	}
	r.mu.Lock()
	r.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	r.mu.Unlock()
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(a.preference, b.preference) })
	return unique(list)
}

// unique keeps the best of each name.
func unique(list []candidate) []candidate {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(c candidate) bool {
		twice := seen[c.name]
		seen[c.name] = true
		return twice
	})
}

// collection gathers the hosts of a domain, from the most preferred on.
type collection struct {
	plan   *Plan
	self   site
	secure bool // the MX records are authentic

	looped  bool   // this host is one of them
	pending *found // the best that the DNS had no answer for
}

// cutNamed drops this host and all that are not preferred to it: they would send the mail here (RFC 5321 §5.1).
func (c *collection) cutNamed(list []candidate) []candidate {
	for _, one := range list {
		if c.self.named(one.name) {
			c.plan.note("%s is this host: nothing from preference %d on", one.name, one.preference)
			c.looped = true
			return slices.DeleteFunc(list, func(other candidate) bool { return other.preference >= one.preference })
		}
	}
	return list
}

// add takes a host, or notes why not. It says whether less preferred ones may follow.
func (c *collection) add(f found, addrs []netip.AddrPort) bool {
	switch {
	case errors.Is(f.err, dns.ErrTemporary):
		c.pending = cmp.Or(c.pending, &f)
		c.plan.note("%s: %v", f.name, f.err)
	case f.err != nil:
		c.plan.note("%s: %v", f.name, f.err)
	case slices.ContainsFunc(f.answer.Records, c.self.has), c.self.named(f.answer.Name):
		c.cut(f)
		return false
	case f.answer.Aliased: // RFC 5321 §5.1, RFC 2181 §10.3
		c.plan.note("%s is an alias, of %s, which the host of an MX record must not be", f.name, f.answer.Name)
	case len(addrs) == 0:
		c.plan.note("%s: %v", f.name, errNoAddress)
	default:
		c.plan.Hosts = append(c.plan.Hosts, Host{Name: f.name, Preference: f.preference, Addrs: addrs, Authentic: c.secure && f.answer.Authentic})
	}
	return true
}

// cut is cutNamed for a host that is known by its addresses. Equal ones that came before it go, too.
func (c *collection) cut(f found) {
	c.plan.note("%s has an address of this host: nothing from preference %d on", f.name, f.preference)
	c.looped = true
	if c.pending != nil && c.pending.preference >= f.preference {
		c.pending = nil
	}
	c.plan.Hosts = slices.DeleteFunc(c.plan.Hosts, func(h Host) bool { return h.Preference >= f.preference })
}

// verdict: without a host, an answer that is missing is a reason to wait before anything else is a reason to give up.
func (c *collection) verdict(records int) error {
	domain := c.plan.Domain
	switch {
	case len(c.plan.Hosts) > 0:
		return nil
	case c.pending != nil:
		return unanswered("the mail exchangers of "+domain, c.pending.err)
	case c.looped:
		return loops(domain, records == 1)
	}
	return permanent(550, "5.4.4", "No mail exchanger of %s can be used: %s", domain, c.plan.Notes[0]) // RFC 3463 §3.5, X.4.4
}

// loops: RFC 3463 §3.5, X.4.6. When nobody but this host is named, its operator most likely forgot to say that the domain is local.
func loops(domain string, alone bool) *Error {
	if alone {
		return permanent(550, "5.4.6", "Mail for %s loops back to this host, which does not know the domain as its own", domain)
	}
	return permanent(550, "5.4.6", "Mail for %s loops back to this host, its best mail exchanger that can be used", domain)
}

// site is [Self], ready to compare.
type site struct {
	names map[string]bool
	addrs []netip.Addr
}

// self is whom the mail for a domain must not be given to.
func (r *Router) self(domain string) site {
	s := site{names: map[string]bool{}}
	if r.cfg.Local(domain) {
		return s
	}
	self := r.cfg.Self()
	for _, name := range self.Names {
		if name, err := asciiDomain(strings.TrimSuffix(name, ".")); err == nil {
			s.names[name] = true
		}
	}
	for _, a := range self.Addrs {
		s.addrs = append(s.addrs, a.Unmap().WithZone(""))
	}
	return s
}

func (s site) named(name string) bool { return s.names[name] }

func (s site) has(a netip.Addr) bool { return slices.Contains(s.addrs, a) }
