package main

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/queue/route"
)

// self is this site as other systems see it.
func (n *node) self() route.Self {
	var members, own []string
	for _, m := range n.cluster.Configuration().Servers {
		members = append(members, m.Address)
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		n.log.Warn("list this machine's addresses", "pkg", "main", "err", err)
	}
	for _, a := range list {
		own = append(own, a.String())
	}
	return siteOf(n.cfg, members, own)
}

// local says whether a domain is of this site; one that cannot be looked up is not.
func (n *node) local(domain string) bool {
	name, err := smtp.ParseDomain(domain)
	if err != nil {
		return false
	}
	v := n.replica.View()
	defer v.Close()
	_, err = v.Domain(name)
	return err == nil
}

// siteOf makes it out of where the members reach each other and of this machine's addresses, as networks. What listens at another port than that
// of other systems' mail is no mail server to them. The others are taken to listen as this node does: at all of their addresses, or at that
// where the members reach them.
func siteOf(cfg *config.Config, members, own []string) route.Self {
	s := route.Self{Names: []string{cfg.Hostname}}
	host, port, err := net.SplitHostPort(cfg.Listeners.SMTP)
	if err != nil || port != strconv.Itoa(cfg.Delivery.Port) {
		return s
	}
	listener, err := netip.ParseAddr(host)
	everywhere := err != nil || listener.IsUnspecified()
	if everywhere {
		for _, network := range own {
			if p, err := netip.ParsePrefix(network); err == nil {
				s.Addrs = append(s.Addrs, p.Addr().Unmap())
			}
		}
	} else {
		s.Addrs = append(s.Addrs, listener.Unmap())
	}
	if advertised, _, _ := net.SplitHostPort(cfg.Cluster.Advertise); !everywhere && advertised != listener.String() {
		return s
	}
	for _, member := range members {
		host, _, err := net.SplitHostPort(member)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(host); err == nil {
			s.Addrs = append(s.Addrs, a.Unmap())
		} else {
			s.Names = append(s.Names, host)
		}
	}
	return s
}
