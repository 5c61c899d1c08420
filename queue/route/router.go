package route

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/quorumail/quorumail/queue/route/dns"
)

// Router finds the hosts that take a domain's mail. It may be used by many goroutines.
type Router struct {
	cfg  RouterConfig
	seed maphash.Seed // for hashes of passwords in keys

	mu     sync.Mutex
	random *rand.Rand // guarded by mu
}

// RouterConfig is what a [Router] needs.
type RouterConfig struct {
	Resolver dns.Resolver // required
	Table    func() Table // asked for each plan; default: no rules
	Self     func() Self  // asked for each plan; default: nobody
	// Local says whether this site takes the mail of a domain (A-labels) by now. Mail that waited since before goes here like anybody's, and
	// is no loop. Default: none.
	Local func(domain string) bool

	Families []dns.Family // which addresses are used, in this order; default IPv6, IPv4
	Port     uint16       // of mail exchangers; default 25
	MaxHosts int          // of a plan, the best ones; at least 2 (RFC 5321 §5.1); default 16
	MaxAddrs int          // of a host, the first ones; default 8

	Random rand.Source // for the order of equal hosts; default: seeded by the runtime
}

// Self is this site as senders see it: every node of it, since each can take what another sends out. Mail whose way leads here would loop.
// The addresses include 127.0.0.1 and ::1, unless something else listens there.
type Self struct {
	Names []string
	Addrs []netip.Addr
}

// NewRouter makes a router.
func NewRouter(cfg RouterConfig) (*Router, error) {
	if cfg.Table == nil {
		cfg.Table = func() Table { return Table{} }
	}
	if cfg.Self == nil {
		cfg.Self = func() Self { return Self{} }
	}
	if cfg.Local == nil {
		cfg.Local = func(string) bool { return false }
	}
	if cfg.Families == nil {
		cfg.Families = []dns.Family{dns.IPv6, dns.IPv4}
	}
	orElse(&cfg.Port, 25)
	orElse(&cfg.MaxHosts, 16)
	orElse(&cfg.MaxAddrs, 8)
	if cfg.Random == nil {
		cfg.Random = rand.NewPCG(rand.Uint64(), rand.Uint64())
	}
	return &Router{cfg: cfg, seed: maphash.MakeSeed(), random: rand.New(cfg.Random)}, cfg.validate()
}

func (c RouterConfig) validate() error {
	for i, f := range c.Families {
		if f != dns.IPv4 && f != dns.IPv6 || slices.Contains(c.Families[:i], f) {
			return fmt.Errorf("route: families %v, expected IPv4, IPv6 or both", c.Families)
		}
	}
	switch {
	case c.Resolver == nil:
		return errors.New("route: no Resolver")
	case len(c.Families) == 0:
		return errors.New("route: no family of addresses")
	case c.MaxHosts < 2, c.MaxAddrs < 1:
		return fmt.Errorf("route: MaxHosts %d, MaxAddrs %d: too few", c.MaxHosts, c.MaxAddrs)
	}
	return nil
}

// Hosts says where the mail for a destination goes: a domain, or an address literal. It has at least one host unless its kind is [Discard].
// The error is always an [*Error]; the plan has its key even then.
func (r *Router) Hosts(ctx context.Context, destination string) (Plan, error) {
	domain, err := asciiDomain(destination)
	if err != nil {
		return Plan{Key: invalidKey(destination)}, permanent(553, "5.1.3", "%+q is no domain", destination) // RFC 3463 §3.2, X.1.3
	}
	rule := r.cfg.Table().Decide(domain)
	p := Plan{Kind: rule.Kind, Domain: domain, Key: r.key(rule, domain), TLS: rule.TLS, Username: rule.Username, Password: rule.Password}
	switch {
	case rule.Kind == Discard:
		return p, nil
	case rule.Kind == Reject:
		err = rejected(rule)
	case rule.Kind == Smarthost:
		err = r.smarthosts(ctx, &p, rule)
	case isLiteral(domain):
		err = r.literal(&p)
	default:
		p.MXDomain = domain
		err = r.exchangers(ctx, &p)
	}
	if err != nil {
		return Plan{Key: p.Key}, err
	}
	return p, nil
}

// Destination is the key of the plan that Hosts would make now. It asks nobody, so that one can see what goes together before it is anybody's turn.
func (r *Router) Destination(domain string) string {
	ascii, err := asciiDomain(domain)
	if err != nil {
		return invalidKey(domain)
	}
	return r.key(r.cfg.Table().Decide(ascii), ascii)
}

func invalidKey(domain string) string { return "invalid:" + domain }

// key: domains that one smarthost passes on are one destination, if they log in there in the same way.
func (r *Router) key(rule Rule, domain string) string {
	switch rule.Kind {
	case Discard:
		return "discard"
	case Reject:
		return "reject:" + domain
	case Smarthost:
		key := fmt.Sprintf("smart:%s:%d/%s/%s", rule.Host, rule.Port, rule.TLS, rule.Username)
		if rule.Password != "" { // a wrong one must not count for the right one; keys come into logs, so it is told by a hash that says nothing elsewhere
			key += fmt.Sprintf("/%x", maphash.String(r.seed, string(rule.Password)))
		}
		return key
	}
	return "mx:" + domain
}

func rejected(rule Rule) error {
	reply, err := rule.reply()
	if err != nil {
		return permanent(550, "5.7.1", "Mail for this domain is not accepted") // of a Rule that no Table made
	}
	return reply
}

// literal: RFC 5321 §5.1 leaves nothing to look up.
func (r *Router) literal(p *Plan) error {
	inner := strings.TrimPrefix(strings.Trim(p.Domain, "[]"), "IPv6:")
	addr, err := netip.ParseAddr(inner)
	addr = addr.Unmap()
	switch list := r.usable([]netip.Addr{addr}, r.cfg.Port); {
	case err != nil || len(list) == 0:
		return permanent(550, "5.1.2", "No mail can be sent to the address %s", p.Domain)
	case r.self(p.Domain).has(addr):
		return loops(p.Domain, true)
	default:
		p.Hosts = []Host{{Name: addr.String(), Addrs: list}}
		return nil
	}
}

// smarthosts: what is wrong with a smarthost is this site's affair, and never a reason to return mail.
func (r *Router) smarthosts(ctx context.Context, p *Plan, rule Rule) error {
	list, err := rule.hosts()
	if err != nil {
		return &Error{Code: 451, Enhanced: "4.3.5", Text: "The route for this domain is wrong", cause: err} // RFC 3463 §3.4, X.3.5
	}
	for _, f := range r.lookUp(ctx, list) {
		addrs := r.usable(f.answer.Records, rule.Port)
		if len(addrs) == 0 {
			p.note("%s: %v", f.name, orNoAddress(f.err))
			err = f.err
			continue
		}
		p.Hosts = append(p.Hosts, Host{Name: f.name, Preference: f.preference, Addrs: addrs})
	}
	switch {
	case len(p.Hosts) > 0:
		return nil
	case errors.Is(err, dns.ErrTemporary):
		return unanswered(rule.Host, err)
	}
	return &Error{Code: 451, Enhanced: "4.3.5", Text: "No address is known for " + rule.Host, cause: orNoAddress(err)}
}

var errNoAddress = errors.New("no address that mail can be sent to")

func orNoAddress(err error) error {
	if err == nil {
		return errNoAddress
	}
	return err
}

// candidate is a host that mail may go to.
type candidate struct {
	name       string
	addr       netip.Addr // of a host that is named by its address
	preference uint16
}

// found is a candidate and what the DNS says of it.
type found struct {
	candidate
	answer dns.Answer[netip.Addr]
	err    error
}

// lookUp asks for the addresses of all at once: one whose servers are dead must not make the others wait.
func (r *Router) lookUp(ctx context.Context, list []candidate) []found {
	out := make([]found, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		out[i].candidate = c
		if c.addr.IsValid() {
			out[i].answer = dns.Answer[netip.Addr]{Records: []netip.Addr{c.addr}, Name: c.name}
			continue
		}
		all.Go(func() { out[i].answer, out[i].err = r.cfg.Resolver.LookupAddrs(ctx, c.name, r.family()) })
	}
	all.Wait()
	return out
}

// family is what to ask for.
func (r *Router) family() dns.Family {
	if len(r.cfg.Families) == 1 {
		return r.cfg.Families[0]
	}
	return dns.Any
}

// usable are the addresses that mail can be sent to, family by family, within one in the order in which they came (RFC 5321 §5.1).
func (r *Router) usable(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var list []netip.AddrPort
	for _, family := range r.cfg.Families {
		for _, a := range addrs {
			ap := netip.AddrPortFrom(a, port)
			if Reachable(a) && a.Is4() == (family == dns.IPv4) && !slices.Contains(list, ap) {
				list = append(list, ap)
			}
		}
	}
	return bounded(list, r.cfg.MaxAddrs)
}

// bounded leaves out the last ones of whichever family has more: many addresses of one that cannot be reached from here must not hide those of
// the other.
func bounded(list []netip.AddrPort, limit int) []netip.AddrPort {
	count := map[bool]int{}
	for _, a := range list {
		count[a.Addr().Is4()]++
	}
	for len(list) > limit {
		four := count[true] > count[false]
		if count[true] == count[false] {
			four = list[len(list)-1].Addr().Is4()
		}
		i := len(list) - 1
		for list[i].Addr().Is4() != four {
			i--
		}
		list, count[four] = slices.Delete(list, i, i+1), count[four]-1
	}
	return list
}

var thisNetwork = netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8)

// Reachable says whether mail can be sent to an address: nobody can be reached by an address that stands for no host, for many, or that means something on one link alone (RFC 6890
// §2.2.2). Private addresses and loopback may well be a site's own mail hosts.
func Reachable(a netip.Addr) bool {
	return a.IsValid() && !a.IsMulticast() && !a.IsUnspecified() && !thisNetwork.Contains(a) && a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		(a.Is4() || !a.IsLinkLocalUnicast())
}
