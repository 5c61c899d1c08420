package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
)

// Duration is time.Duration; the name keeps the table in fields.go readable.
type Duration = time.Duration

// Bounds of raft.heartbeat: under the lower one, a pause of the garbage collector or of a shared disk looks like a dead leader.
const (
	minHeartbeat = 50 * time.Millisecond
	maxHeartbeat = 10 * time.Second
)

func text(at func(*Config) *string, check func(string) error) setter {
	return func(c *Config, v any) error {
		s := v.(string)
		if err := check(s); err != nil {
			return err
		}
		*at(c) = s
		return nil
	}
}

func flag(at func(*Config) *bool) setter {
	return func(c *Config, v any) error {
		*at(c) = v.(bool)
		return nil
	}
}

func number(at func(*Config) *int, least, most int64) setter {
	return func(c *Config, v any) error {
		n := v.(int64)
		if n < least || n > most {
			return fmt.Errorf("%d is out of range: choose %d to %d", n, least, most)
		}
		*at(c) = int(n)
		return nil
	}
}

func duration(at func(*Config) *Duration, least, most time.Duration) setter {
	return func(c *Config, v any) error {
		d, err := parseDuration(v.(string))
		if err != nil {
			return err
		}
		if d < least || d > most {
			return fmt.Errorf("%v is out of range: choose %v to %v", d, least, most)
		}
		*at(c) = d
		return nil
	}
}

func size(at func(*Config) *int64, least, most int64) setter {
	return func(c *Config, v any) error {
		n, err := store.ParseSize(v.(string))
		if err != nil {
			return err
		}
		if n < least || n > most {
			return fmt.Errorf("%s is out of range: choose %s to %s", store.FormatSize(n), store.FormatSize(least), store.FormatSize(most))
		}
		*at(c) = n
		return nil
	}
}

// off lets a check pass the empty string, which switches the thing off or leaves it to its rule.
func off(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		for _, w := range words {
			if s == w {
				return nil
			}
		}
		return fmt.Errorf("%q is none of %s%s", s, strings.Join(words, ", "), didYouMean(s, words))
	}
}

func nodeName(s string) error {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("%q is no name of a node: use letters, digits and hyphens, at most 63, such as \"node1\"", s)
	}
	return nil
}

func hostName(s string) error {
	d, err := smtp.ParseDomain(s)
	if err != nil || strings.HasPrefix(d, "[") {
		return fmt.Errorf("%q is no host name: use one such as \"mail1.example.org\"", s)
	}
	return nil
}

func nameServers(s string) error {
	for _, one := range List(s) {
		if _, err := netip.ParseAddrPort(one); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(strings.Trim(one, "[]")); err != nil {
			return fmt.Errorf("%q is no address of a name server: use one such as \"192.0.2.1\" or \"[2001:db8::1]:5353\"", one)
		}
	}
	return nil
}

func sourceAddresses(s string) error {
	var four, six int
	for _, one := range List(s) {
		a, err := netip.ParseAddr(one)
		switch {
		case err != nil || a.IsUnspecified():
			return fmt.Errorf("%q is no address of this machine: use one such as \"192.0.2.1\" or \"2001:db8::1\"", one)
		case a.Unmap().Is4():
			four++
		default:
			six++
		}
	}
	if four > 1 || six > 1 {
		return errors.New("at most one IPv4 and one IPv6 address can be given")
	}
	return nil
}

func filePath(s string) error {
	if s == "" || strings.ContainsRune(s, 0) {
		return errors.New("a path is needed here")
	}
	return nil
}

// splitAddress checks "host:port" and returns its parts.
func splitAddress(s string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		if _, perr := strconv.ParseUint(s, 10, 16); perr == nil {
			return "", 0, fmt.Errorf("%q has no host part: write \":%s\" for all addresses of this machine", s, s)
		}
		if _, perr := netip.ParseAddr(s); perr == nil && strings.Contains(s, ":") {
			return "", 0, fmt.Errorf("%q has no port: write \"[%s]:25\", say", s, s)
		}
		return "", 0, fmt.Errorf("%q is not of the form \"host:port\", such as \"192.0.2.1:25\" or \":25\"", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q has the port %q: choose a number from 1 to 65535", s, p)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil && hostName(host) != nil {
		return "", 0, fmt.Errorf("%q has the host %q: use an IP address or a host name, or leave it empty for all addresses", s, host)
	}
	return host, int(n), nil
}

func listenAddress(s string) error {
	_, _, err := splitAddress(s)
	return err
}

func reachableAddress(s string) error {
	host, _, err := splitAddress(s)
	if err != nil {
		return err
	}
	if ip, perr := netip.ParseAddr(host); host == "" || perr == nil && ip.IsUnspecified() {
		return fmt.Errorf("%q is no address that others can reach: name this node's own, such as \"192.0.2.1:7400\"", s)
	}
	return nil
}

func loopbackAddress(s string) error {
	host, _, err := splitAddress(s)
	if err != nil {
		return err
	}
	if !isLoopback(host) {
		return fmt.Errorf("%q is open to others, and this listener asks for no login: use a loopback address, such as \"127.0.0.1:24\"", s)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func adminAddress(s string) error {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%q has no absolute path: write \"unix:/run/quorumail/admin.sock\", say", s)
		}
		// 108 bytes with the ending zero is what the kernel takes, unix(7).
		if len(path) > 107 {
			return fmt.Errorf("%q is longer than the 107 bytes that a socket's path may have", s)
		}
		return nil
	}
	host, _, err := splitAddress(s)
	if err != nil {
		return err
	}
	if !isLoopback(host) {
		return fmt.Errorf("%q is open to others: use a loopback address, such as \"127.0.0.1:7402\", or \"unix:/path\"", s)
	}
	return nil
}
