package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// hostsFile is what hosts(5) says.
type hostsFile struct {
	addrs map[string][]netip.Addr // by name, as [fqdn] gives it
	names map[netip.Addr][]string // without a final dot, the canonical one first
}

// parseHosts takes the lines that it understands.
func parseHosts(raw []byte) hostsFile {
	h := hostsFile{addrs: map[string][]netip.Addr{}, names: map[netip.Addr][]string{}}
	for line := range strings.Lines(string(raw)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		h.add(addr.Unmap(), fields[1:])
	}
	return h
}

func (h hostsFile) add(addr netip.Addr, names []string) {
	for _, name := range names {
		full, err := fqdn(name)
		if err != nil || slices.Contains(h.addrs[full], addr) {
			continue
		}
		h.addrs[full] = append(h.addrs[full], addr)
		key := addr.WithZone("")
		h.names[key] = append(h.names[key], plain(full))
	}
}

// lookup finds a host's addresses. A host that is in the file is not asked for elsewhere, not even for its other family.
func (h hostsFile) lookup(host string) ([]netip.Addr, bool) {
	if len(h.addrs) == 0 {
		return nil, false
	}
	full, err := fqdn(host)
	if err != nil {
		return nil, false
	}
	addrs, ok := h.addrs[full]
	return addrs, ok
}

func fromHosts(known []netip.Addr, host string, family Family) (Answer[netip.Addr], error) {
	answer := Answer[netip.Addr]{}
	for _, addr := range known {
		if family == Any || addr.Is4() == (family == IPv4) {
			answer.Records = append(answer.Records, addr)
		}
	}
	if len(answer.Records) == 0 {
		return answer, fmt.Errorf("look up %q in the hosts file: %w", host, ErrNoRecords)
	}
	full, err := fqdn(host)
	if err != nil {
		return Answer[netip.Addr]{}, fmt.Errorf("look up %q: %w: %w", host, ErrNoDomain, err)
	}
	answer.Name = plain(full)
	return answer, nil
}
