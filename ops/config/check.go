package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// CheckFiles is Load, and looks whether this machine has what the file names: that the certificate and its key can be read and belong
// together, and that the data folder can be written. It changes nothing.
func CheckFiles(path string) error {
	_, _, err := checkFiles(path)
	return err
}

func checkFiles(path string) (*Config, *document, error) {
	c, d, err := load(path)
	if err != nil {
		return nil, nil, err
	}
	d.checkCertificate(c)
	d.checkDataDir(c.DataDir)
	if len(d.errs) > 0 {
		return nil, nil, d.sorted()
	}
	return c, d, nil
}

// Check is CheckFiles, and looks at what need not keep a node from starting but is wrong all the same: a certificate that is out of date
// or for another name, and ports that another program holds. It opens each port for a moment, unless the node runs.
func Check(path string, now time.Time) error {
	c, d, err := checkFiles(path)
	if err != nil {
		return err
	}
	d.checkValidity(c, now)
	d.checkFree(c)
	if len(d.errs) > 0 {
		return d.sorted()
	}
	return nil
}

// checkCertificate reads the certificate and its key.
func (d *document) checkCertificate(c *Config) {
	if c.TLS.Automatic() {
		return
	}
	readable := true
	for key, path := range map[string]string{"tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key} {
		if _, err := os.ReadFile(path); err != nil {
			d.report(key, fileTrouble(err))
			readable = false
		}
	}
	if !readable {
		return
	}
	if _, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key); err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		if strings.Contains(text, "does not match") {
			text = "the key is not that of the certificate: name the two that were made together"
		} else {
			text += ": both must be PEM files, the certificate with its chain"
		}
		d.report("tls.key", fmt.Sprintf("%s and %s: %s", c.TLS.Cert, c.TLS.Key, text))
	}
}

// fileTrouble says why a file cannot be read, without the system call.
func fileTrouble(err error) string {
	var pe *os.PathError
	switch {
	case errors.Is(err, os.ErrNotExist) && errors.As(err, &pe):
		return fmt.Sprintf("there is no file %s", pe.Path)
	case errors.Is(err, os.ErrPermission) && errors.As(err, &pe):
		return fmt.Sprintf("%s may not be read by this user: change its owner or mode", pe.Path)
	}
	return err.Error()
}

// checkDataDir looks at the nearest folder above that exists.
func (d *document) checkDataDir(dir string) {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			d.report("data_dir", fmt.Sprintf("%s is not a folder", at))
		case err == nil:
			if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
				d.report("data_dir", fmt.Sprintf("this user cannot write in %s (%v): make the folder %s and give it to the user that the node runs as", at, err, dir))
			}
		case errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at):
			continue
		case errors.Is(err, syscall.ENOTDIR):
			continue // a part of the path is a file: found above
		default:
			d.report("data_dir", fmt.Sprintf("look at the folder: %v", err))
		}
		return
	}
}

// checkValidity looks at the certificate's time and names.
func (d *document) checkValidity(c *Config, now time.Time) {
	if c.TLS.Automatic() {
		return
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		d.report("tls.cert", err.Error())
		return
	}
	leaf := pair.Leaf
	switch {
	case now.After(leaf.NotAfter):
		d.report("tls.cert", fmt.Sprintf("the certificate ran out on %s: get a new one", leaf.NotAfter.Format(time.DateOnly)))
	case now.Before(leaf.NotBefore):
		d.report("tls.cert", fmt.Sprintf("the certificate is good only from %s on: look at the clock of this machine", leaf.NotBefore.Format(time.DateOnly)))
	}
	if err := leaf.VerifyHostname(c.Hostname); err != nil {
		d.report("tls.cert", fmt.Sprintf("the certificate is not for hostname, which is %s; it is for %s", c.Hostname, strings.Join(leaf.DNSNames, ", ")))
	}
}

// checkFree looks whether the node could listen where it should.
func (d *document) checkFree(c *Config) {
	if admin := c.Listeners.Admin; admin != "" && !strings.HasPrefix(admin, "unix:") {
		if conn, err := net.DialTimeout("tcp", admin, time.Second); err == nil {
			_ = conn.Close() // it was only to see whether somebody answers
			if _, err := os.Stat(filepath.Join(c.DataDir, "node.json")); err == nil {
				return // the node runs: the ports are taken by itself
			}
		}
	}
	for _, f := range fields {
		address := c.listener(f.key)
		if _, _, err := splitAddress(address); address == "" || err != nil {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			d.report(f.key, portTrouble(address, err))
			continue
		}
		_ = l.Close() // nobody was let in
	}
}

// portTrouble says why an address cannot be listened on.
func portTrouble(address string, err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("%q is taken by another program: end that, or choose another port", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("%q may not be used by this user: ports below 1024 need the capability CAP_NET_BIND_SERVICE", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("%q is no address of this machine", address)
	}
	return fmt.Sprintf("%q cannot be used: %v", address, err)
}
