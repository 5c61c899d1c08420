package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	miekg "github.com/miekg/dns"

	"github.com/quorumail/quorumail/queue/route/flight"
)

// Client is a [Resolver] that asks servers which recurse for it, and remembers what they said. It may be used by many goroutines.
type Client struct {
	cfg        Config
	servers    []netip.AddrPort // as configured; empty: those of resolv.conf
	validating []netip.AddrPort
	resolvConf watched[resolvConf]
	hosts      watched[hostsFile]
	cache      *cache
	flights    flight.Group[question, result]
}

// question is what a server is asked. Class IN goes without saying.
type question struct {
	name string // as [fqdn] gives it
	kind uint16 // miekg.TypeMX and so on
}

// String is the question in errors and logs.
func (q question) String() string {
	return fmt.Sprintf("%s of %s", miekg.TypeToString[q.kind], plain(q.name))
}

// New makes a resolver. Nothing is asked or read before the first question.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	servers, err := parseServers(cfg.Servers)
	if err != nil {
		return nil, err
	}
	validating, err := parseServers(cfg.Validating)
	if err != nil {
		return nil, err
	}
	for _, v := range validating {
		if len(servers) > 0 && !slices.Contains(servers, v) {
			return nil, fmt.Errorf("dns: %v is to validate and is none of the servers", v) // or a slip would switch DANE off unseen
		}
	}
	return &Client{
		cfg: cfg, servers: servers, validating: validating,
		resolvConf: watched[resolvConf]{path: cfg.ResolvConf, parse: parseResolvConf, log: cfg.Logger},
		hosts:      watched[hostsFile]{path: cfg.HostsFile, parse: parseHosts, log: cfg.Logger},
		cache:      newCache(cfg.CacheEntries, cfg.CacheBytes, cfg.Now),
	}, nil
}

// LookupMX implements [Resolver].
func (d *Client) LookupMX(ctx context.Context, domain string) (Answer[MX], error) {
	return look(ctx, d, domain, miekg.TypeMX, toMX)
}

// LookupTXT implements [Resolver].
func (d *Client) LookupTXT(ctx context.Context, name string) (Answer[string], error) {
	return look(ctx, d, name, miekg.TypeTXT, toText)
}

// LookupTLSA implements [Resolver].
func (d *Client) LookupTLSA(ctx context.Context, port uint16, host string) (Answer[TLSA], error) {
	return look(ctx, d, fmt.Sprintf("_%d._tcp.%s", port, host), miekg.TypeTLSA, toTLSA)
}

// LookupPTR implements [Resolver].
func (d *Client) LookupPTR(ctx context.Context, addr netip.Addr) (Answer[string], error) {
	addr = addr.Unmap().WithZone("")
	if names := d.hosts.get().names[addr]; len(names) > 0 {
		return Answer[string]{Records: slices.Clone(names), Name: addr.String()}, nil
	}
	name, err := miekg.ReverseAddr(addr.String())
	if err != nil {
		return Answer[string]{}, fmt.Errorf("look up the name of %v: %w: %w", addr, ErrNoDomain, err)
	}
	return look(ctx, d, name, miekg.TypePTR, toName)
}

// LookupAddrs implements [Resolver]. When one family has an answer and the other fails, the answer is what there is.
func (d *Client) LookupAddrs(ctx context.Context, host string, family Family) (Answer[netip.Addr], error) {
	if known, ok := d.hosts.get().lookup(host); ok {
		return fromHosts(known, host, family)
	}
	switch family {
	case IPv4:
		return look(ctx, d, host, miekg.TypeA, toAddr)
	case IPv6:
		return look(ctx, d, host, miekg.TypeAAAA, toAddr)
	}
	var four, six Answer[netip.Addr]
	var err4, err6 error
	var both sync.WaitGroup
	both.Go(func() { six, err6 = look(ctx, d, host, miekg.TypeAAAA, toAddr) })
	four, err4 = look(ctx, d, host, miekg.TypeA, toAddr)
	both.Wait()
	return join(four, err4, six, err6)
}

// join makes one answer of those for A and AAAA.
func join(four Answer[netip.Addr], err4 error, six Answer[netip.Addr], err6 error) (Answer[netip.Addr], error) {
	switch {
	case err4 == nil && err6 == nil:
		four.Records = append(four.Records, six.Records...)
		four.Authentic = four.Authentic && six.Authentic
		return four, nil
	case err4 == nil:
		return four, nil
	case err6 == nil:
		return six, nil
	case errors.Is(err6, ErrTemporary):
		return Answer[netip.Addr]{}, err6 // there may be an address after all
	}
	return Answer[netip.Addr]{}, err4
}

// look asks for the records of one kind and makes of each what convert does; those that it refuses are left out.
func look[T any](ctx context.Context, d *Client, name string, kind uint16, convert func(miekg.RR) (T, bool)) (Answer[T], error) {
	full, err := fqdn(name)
	if err != nil {
		return Answer[T]{}, fmt.Errorf("look up %s of %q: %w: %w", miekg.TypeToString[kind], name, ErrNoDomain, err)
	}
	q := question{name: full, kind: kind}
	found, err := d.resolve(ctx, q)
	if err != nil {
		return Answer[T]{}, fmt.Errorf("look up %v: %w", q, err)
	}
	answer := Answer[T]{Name: plain(found.name), Aliased: found.name != full, Authentic: found.authentic}
	for _, rr := range found.records {
		if record, ok := convert(rr); ok {
			answer.Records = append(answer.Records, record)
		}
	}
	if len(answer.Records) == 0 {
		return Answer[T]{}, fmt.Errorf("look up %v: %w", q, ErrNoRecords)
	}
	return answer, nil
}

// resolve answers from the cache, or asks once for all who want to know the same.
func (d *Client) resolve(ctx context.Context, q question) (result, error) {
	if found, ok := d.cache.get(q); ok {
		d.cfg.Metrics.Questions.WithLabelValues("cached").Inc()
		return found, found.absent
	}
	found, err := d.flights.Do(ctx, q, func() (result, error) {
		// Another's question may have been answered between the look into the cache and this flight.
		if found, ok := d.cache.get(q); ok {
			return found, nil
		}
		found, err := d.ask(ctx, q)
		if err == nil {
			d.keep(q, found)
		}
		return found, err
	})
	switch {
	case err == nil:
		err = found.absent
	case !errors.Is(err, ErrTemporary):
		err = fmt.Errorf("%w: %w", ErrTemporary, err) // the caller's own context ended while another asked
	}
	d.cfg.Metrics.Questions.WithLabelValues(outcome(err)).Inc()
	return found, err
}

// outcome is a result's label.
func outcome(err error) string {
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, ErrTemporary):
		return "failed"
	}
	return "absent"
}
