package queue

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/queue/route/tlspolicy"
)

// Protection adds to the hosts of a domain what the domain itself says of TLS: TLSA records where the DNS is validated (DANE, RFC 7672), else
// the policy that its web server shows (MTA-STS, RFC 8461). A domain that says nothing is served as its route says.
type Protection struct {
	Resolver dns.Resolver
	// Policy finds the MTA-STS policy of a domain; *tlspolicy.STS has it. Nil: nobody is asked.
	Policy func(ctx context.Context, domain string) (tlspolicy.STSPolicy, error)
	// DANE is whether TLSA records are looked for.
	DANE func() bool
	// STS is whether policies are.
	STS func() bool
	Now func() time.Time // nil: time.Now
}

// Protect is Mail.Protect. Its error says that no host may be used: the mail waits, since what is not proven now may be tomorrow.
func (p *Protection) Protect(ctx context.Context, plan route.Plan, r *remote.Route) error {
	if plan.Kind != route.ByMX || plan.MXDomain == "" {
		return nil // a smarthost's rule says all that there is to say
	}
	if p.DANE == nil || p.DANE() {
		if err := p.dane(ctx, plan, r); err != nil {
			return err
		}
	}
	if p.Policy == nil || p.STS != nil && !p.STS() {
		return nil
	}
	return p.sts(ctx, plan, r)
}

// dane: RFC 7672 §2.2. A host with TLSA records is spoken to by TLS that fits them, or not at all.
func (p *Protection) dane(ctx context.Context, plan route.Plan, r *remote.Route) error {
	kept := r.Hosts[:0]
	var failed error
	for i, h := range plan.Hosts {
		records, err := tlspolicy.TLSARecords(ctx, p.Resolver, h)
		if err != nil { // RFC 7672 §2.1.2: without an answer the host cannot be used
			failed = fmt.Errorf("the TLSA records of %s: %w", h.Name, err)
			continue
		}
		host := r.Hosts[i]
		switch {
		case tlspolicy.CanVerifyDANE(records):
			p.pin(&host, records, plan.MXDomain)
		case len(records) > 0: // RFC 7672 §2.2: whoever is there, the domain does mean TLS
			host.TLS = max(r.TLS, remote.TLSEncrypt)
		}
		kept = append(kept, host)
	}
	r.Hosts = kept
	if len(kept) == 0 {
		return failed
	}
	return nil
}

// pin has a host's certificate judged by its TLSA records.
func (p *Protection) pin(h *remote.Host, records []dns.TLSA, domain string) {
	names := []string{h.Name, domain} // RFC 7672 §3.2.2
	h.TLS, h.Authentic = remote.TLSEncrypt, true
	h.VerifyPeer = func(state tls.ConnectionState) error {
		return tlspolicy.VerifyDANE(records, state.PeerCertificates, names, p.now())
	}
}

// sts: RFC 8461 §5. Hosts that the policy does not name are left out; the others must show a certificate for their names. What DANE says
// of a host stands (RFC 8461 §2).
func (p *Protection) sts(ctx context.Context, plan route.Plan, r *remote.Route) error {
	policy, err := p.Policy(ctx, plan.MXDomain)
	if err != nil {
		return fmt.Errorf("the MTA-STS policy of %s: %w", plan.MXDomain, err)
	}
	if policy.Mode != tlspolicy.STSEnforce {
		return nil
	}
	r.Hosts = slices.DeleteFunc(r.Hosts, func(h remote.Host) bool { return !policy.Match(h.Name) })
	if len(r.Hosts) == 0 {
		return fmt.Errorf("no mail server of %s is named by its MTA-STS policy", plan.MXDomain)
	}
	for i := range r.Hosts {
		if h := &r.Hosts[i]; h.VerifyPeer == nil {
			h.TLS, h.Authentic = remote.TLSVerify, true
		}
	}
	return nil
}

func (p *Protection) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}
