package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// maxServers is how many of resolv.conf's servers count, as resolv.conf(5) says.
const maxServers = 3

// resolvConf is what resolv.conf(5) says of how to ask. Its search list and ndots are for people who type short names; the domains of mail
// are always absolute.
type resolvConf struct {
	servers  []netip.AddrPort
	timeout  time.Duration // 0: not said
	attempts int           // 0: not said
}

// parseResolvConf takes what it understands; the file has readers with extensions of their own.
func parseResolvConf(raw []byte) resolvConf {
	var conf resolvConf
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.ContainsAny(line[:1], "#;") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			conf.addServer(fields[1])
		case "options":
			for _, option := range fields[1:] {
				conf.option(option)
			}
		}
	}
	return conf
}

func (conf *resolvConf) addServer(s string) {
	addr, err := netip.ParseAddr(s)
	if err == nil && len(conf.servers) < maxServers {
		conf.servers = append(conf.servers, netip.AddrPortFrom(addr, 53))
	}
}

// option reads timeout:n and attempts:n, within the limits of resolv.conf(5).
func (conf *resolvConf) option(s string) {
	name, value, _ := strings.Cut(s, ":")
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return
	}
	switch name {
	case "timeout":
		conf.timeout = time.Duration(min(n, 30)) * time.Second
	case "attempts":
		conf.attempts = min(n, 5)
	}
}
