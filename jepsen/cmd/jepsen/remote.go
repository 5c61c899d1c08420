package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/site"
	"github.com/quorumail/quorumail/jepsen/workload"
)

const (
	// sites is how many other sites there are: what one of them does must not harm the mail to another.
	sites = 2
	// sitePort is where they take mail. 25 may need root.
	sitePort = 2500
	// siteTTL is how long nodes may remember where a site is, in seconds: so short that faults of the name servers are felt.
	siteTTL = 1
)

// remote is what the nodes send to.
type remote struct {
	dns     *lab.DNS
	sites   []*site.Site
	domains []string
}

// needsSites tells whether a workload sends mail to other sites, or may.
func needsSites(w workload.Workload) bool {
	n, ok := w.(interface{ NeedsSites() bool })
	return ok && n.NeedsSites()
}

// openRemote starts name server and sites, if a workload can use them. Without them the nodes' configuration is one that earlier versions read, too.
func (r *running) openRemote(ctx context.Context) (err error) {
	if !slices.ContainsFunc(r.loads, func(w workload.Workload) bool { return needsSites(w) || w.Name() == "resend" }) {
		return nil
	}
	if r.remote.dns, err = r.lab.StartDNS(ctx); err != nil {
		return err
	}
	var zone strings.Builder
	for i := range sites {
		name := fmt.Sprint("site", i+1)
		if err := r.lab.AddPlace(name); err != nil {
			return err
		}
		address := r.lab.Address(name)
		l, err := r.lab.Listen(ctx, name, "tcp", net.JoinHostPort(address, fmt.Sprint(sitePort)))
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		r.remote.sites = append(r.remote.sites, site.Start(site.Config{Name: name, Listener: l, History: r.history, From: r.nameOf, Seed: r.seed + uint64(i), Logger: r.log}))
		domain := name + ".test"
		r.remote.domains = append(r.remote.domains, domain)
		fmt.Fprintf(&zone, "%s. %d IN MX 10 mx.%s.\nmx.%s. %d IN A %s\n", domain, siteTTL, domain, domain, siteTTL, address)
	}
	return r.remote.dns.SetRecords(zone.String())
}

// nameOf is the node at an address.
func (r *running) nameOf(ip string) string {
	for _, name := range r.lab.Names() {
		if r.lab.Address(name) == ip {
			return name
		}
	}
	return ip
}

// nameServer is whom the nodes ask; "" when there is none.
func (m *remote) nameServer() string {
	if m.dns == nil {
		return ""
	}
	return m.dns.Address()
}

// close ends the sites. The name server ends with the lab.
func (m *remote) close() error {
	var errs []error
	for _, s := range m.sites {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
