package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// checkTogether finds what is wrong between keys that are each right, and fills the addresses that follow from others.
func (d *document) checkTogether(c *Config) {
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		have, need := "tls.cert", "tls.key"
		if c.TLS.Cert == "" {
			have, need = need, have
		}
		d.report(have, fmt.Sprintf("needs %s beside it; leave both out for a certificate from the cluster's own CA", need))
	}
	d.checkAdvertise(c)
	d.checkPorts(c)
}

func (d *document) checkAdvertise(c *Config) {
	_, port, _ := splitAddress(c.Cluster.Listen)
	if c.Cluster.Advertise == "" {
		c.Cluster.Advertise = net.JoinHostPort(c.Hostname, strconv.Itoa(port))
	}
	if c.Cluster.GossipAdvertise == "" {
		host, _, _ := splitAddress(c.Cluster.Advertise)
		_, port, _ := splitAddress(c.Cluster.GossipListen)
		c.Cluster.GossipAdvertise = net.JoinHostPort(host, strconv.Itoa(port))
	}
}

// checkPorts refuses two listeners on one port of one address. "" and unspecified addresses overlap with every other.
func (d *document) checkPorts(c *Config) {
	type user struct{ key, host string }
	used := map[int][]user{}
	for _, f := range fields {
		address := c.listener(f.key)
		host, port, err := splitAddress(address)
		if address == "" || err != nil { // off, or a Unix socket
			continue
		}
		for _, other := range used[port] {
			if overlap(host, other.host) {
				d.report(f.key, fmt.Sprintf("%q is the port of %s: each listener needs its own", address, other.key))
				break
			}
		}
		used[port] = append(used[port], user{f.key, host})
	}
}

// listener is the address under a key that makes this node listen, "" for other keys.
func (c *Config) listener(key string) string {
	switch key {
	case "cluster.listen":
		return c.Cluster.Listen
	case "cluster.gossip_listen":
		return c.Cluster.GossipListen
	}
	if tableOf(key) == "listeners" {
		return c.Listeners.ByName()[lastPart(key)]
	}
	return ""
}

func overlap(a, b string) bool {
	all := func(host string) bool {
		ip := net.ParseIP(host)
		return host == "" || ip != nil && ip.IsUnspecified()
	}
	return a == b || all(a) || all(b)
}

// Check is Load, and looks at what the file names on this machine: that the certificate fits its key, and that the data folder is there or
// can be made. It changes nothing.
func Check(path string) error {
	c, err := Load(path)
	if err != nil {
		return err
	}
	if !c.TLS.Automatic() {
		if _, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key); err != nil {
			return fmt.Errorf("%s: tls.cert, tls.key: read the certificate: %w", path, err)
		}
	}
	return checkDataDir(path, c.DataDir)
}

// checkDataDir looks at the nearest folder above that exists.
func checkDataDir(path, dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s: data_dir: %s is not a folder", path, at)
		case err == nil:
			return nil
		case !os.IsNotExist(err) || at == filepath.Dir(at):
			return fmt.Errorf("%s: data_dir: look at the folder: %w", path, err)
		}
	}
}
