package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/workload"
)

// ownExample is a file for --cluster.
const ownExample = `# A cluster for "jepsen run --cluster FILE". Names of files are relative to this one.

[[node]]                              # one for each node
name        = "n1"
smtp        = "mx1.example.org:25"    # mail from other servers
submissions = "mx1.example.org:465"   # mail from users, TLS from the start
imaps       = "mx1.example.org:993"
server_name = "mx1.example.org"       # in the certificate; default: the host of imaps
ca          = "ca.pem"                # the certificates that verify it; default: the system's
admin       = "unix:/run/quorumail/admin"  # optional: state hashes are compared where every node has one
admin_token = "admin.token"

[[node]]
name        = "n2"
smtp        = "mx2.example.org:25"
submissions = "mx2.example.org:465"
imaps       = "mx2.example.org:993"

[[account]]                           # made for the test: its mailboxes fill up; some eight are good
address  = "jepsen1@example.org"
password = "long and secret"
`

// ownCluster is what such a file says.
type ownCluster struct {
	Node []struct {
		Name        string `toml:"name"`
		SMTP        string `toml:"smtp"`
		Submissions string `toml:"submissions"`
		IMAPS       string `toml:"imaps"`
		ServerName  string `toml:"server_name"`
		CA          string `toml:"ca"`
		Admin       string `toml:"admin"`
		AdminToken  string `toml:"admin_token"`
	} `toml:"node"`
	Account []struct {
		Address  string `toml:"address"`
		Password string `toml:"password"`
	} `toml:"account"`
}

// readOwn reads and checks a file about a cluster of the administrator's own.
func readOwn(path string) ([]client.Node, []workload.Account, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read about the cluster (jepsen list --cluster-example shows such a file): %w", err)
	}
	defer f.Close()
	var c ownCluster
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(&c); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return nil, nil, fmt.Errorf("%s has what is not known:\n%s", path, strict.String())
		}
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	nodes, nodesErr := c.nodes(filepath.Dir(path))
	accounts, accountsErr := c.accounts()
	if err := errors.Join(nodesErr, accountsErr); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return nodes, accounts, nil
}

func (c *ownCluster) nodes(dir string) (nodes []client.Node, err error) {
	if len(c.Node) == 0 {
		err = errors.New("it names no [[node]]")
	}
	for i, n := range c.Node {
		if n.Name == "" || strings.ContainsAny(n.Name, " ,") || slices.ContainsFunc(nodes, func(o client.Node) bool { return o.Name == n.Name }) {
			err = errors.Join(err, fmt.Errorf("node %d: its name %q must be one word that no other node has", i+1, n.Name))
		}
		for what, address := range map[string]string{"smtp": n.SMTP, "submissions": n.Submissions, "imaps": n.IMAPS} {
			if _, _, bad := net.SplitHostPort(address); bad != nil {
				err = errors.Join(err, fmt.Errorf("node %s: %s is %q and must be host:port", n.Name, what, address))
			}
		}
		tlsConfig := &tls.Config{ServerName: n.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
		if tlsConfig.ServerName == "" {
			tlsConfig.ServerName, _, _ = net.SplitHostPort(n.IMAPS) // checked above
		}
		if n.CA != "" {
			pool, bad := certificates(beside(dir, n.CA))
			err = errors.Join(err, bad)
			tlsConfig.RootCAs = pool
		}
		if (n.Admin == "") != (n.AdminToken == "") {
			err = errors.Join(err, fmt.Errorf("node %s: admin and admin_token go together", n.Name))
		}
		nodes = append(nodes, client.Node{Name: n.Name, SMTP: n.SMTP, Submissions: n.Submissions, IMAPS: n.IMAPS, TLS: tlsConfig,
			Admin: n.Admin, AdminPath: beside(dir, n.AdminToken)})
	}
	return nodes, err
}

func (c *ownCluster) accounts() (accounts []workload.Account, err error) {
	if len(c.Account) == 0 {
		err = errors.New("it names no [[account]]")
	}
	for i, a := range c.Account {
		if !strings.Contains(a.Address, "@") || a.Password == "" {
			err = errors.Join(err, fmt.Errorf("account %d: %q must be an address, with a password", i+1, a.Address))
		}
		accounts = append(accounts, workload.Account{Address: a.Address, Password: a.Password})
	}
	return accounts, err
}

func beside(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func certificates(path string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}
