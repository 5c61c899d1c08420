package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxFileBytes bounds the file: a configuration is small, and whatever is not is a mistake.
const maxFileBytes = 1 << 20

// Config is one node's configuration. Every field is set and checked when Load returns it. What the keys mean stands in fields.go, and in
// the output of [Defaults].
type Config struct {
	Name                 string // of the node, unique in the cluster
	Hostname             string // in greetings and trace fields
	DataDir              string // absolute
	InsecureLoopbackAuth bool   // plain ports accept logins from loopback

	Cluster   Cluster
	Listeners Listeners
	TLS       TLS
	Log       Log
	Raft      Raft
	Limits    Limits
	DNS       DNS
	Delivery  Delivery
}

// Cluster says how the node talks to the others. Addresses are "host:port".
type Cluster struct {
	Listen          string // TLS between nodes: Raft, RPC, bodies
	Advertise       string // where the others reach Listen; never an unspecified address
	GossipListen    string // UDP and TCP
	GossipAdvertise string // where the others reach GossipListen
}

// Listeners are the addresses for clients, "host:port" each, "" for a listener that is off.
type Listeners struct {
	SMTP        string // mail from other servers, STARTTLS
	Submission  string // mail from users, STARTTLS
	Submissions string // mail from users, TLS from the start (RFC 8314 §3.3)
	LMTP        string // mail from a local server (RFC 2033)
	IMAP        string // STARTTLS
	IMAPS       string // TLS from the start
	Admin       string // "127.0.0.1:port" or "unix:/path"
	Metrics     string // HTTP, /metrics

	ProxyFrom []netip.Prefix // proxies, whose connections begin with a PROXY header
}

// ByName lists the listeners under their keys.
func (l Listeners) ByName() map[string]string {
	return map[string]string{"smtp": l.SMTP, "submission": l.Submission, "submissions": l.Submissions, "lmtp": l.LMTP, "imap": l.IMAP,
		"imaps": l.IMAPS, "admin": l.Admin, "metrics": l.Metrics}
}

// TLS names the certificate for clients. Both empty: the node gets one from the cluster's own CA.
type TLS struct {
	Cert string // absolute path of a PEM file, the whole chain
	Key  string // absolute path of a PEM file
}

// Automatic tells whether the certificate comes from the cluster's CA.
func (t TLS) Automatic() bool { return t.Cert == "" && t.Key == "" }

// Log says what is logged to standard error.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Raft tunes the replicated log.
type Raft struct {
	LogStore  string        // wal, bolt
	Heartbeat time.Duration // also the election timeout; the lease is half of it

	SnapshotEntries int // after so many, the state is made durable and the log is cut
}

// Limits protect the node.
type Limits struct {
	MinFreeDiskBytes int64 // below it, no new mail is taken
	MaxConnections   int   // of each listener
}

// DNS says who is asked where mail goes.
type DNS struct {
	Servers    string // addresses with commas between them; "": those of /etc/resolv.conf
	Validating string // those of them that check DNSSEC, on a way that nobody can change
}

// Delivery says how mail leaves for other systems.
type Delivery struct {
	Port   int    // where their servers listen: 25
	Source string // at most one IPv4 and one IPv6 address of this machine; "": the system chooses
}

// SourceAddrs are the addresses of Source, which was checked.
func (d Delivery) SourceAddrs() (list []netip.Addr) {
	for _, s := range List(d.Source) {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// List splits a value of several words at commas and spaces.
func List(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// Load reads and checks a node's configuration file. Relative paths in it are taken from the folder of the file. The error is [Errors]
// when the file can be read and its content is at fault.
func Load(path string) (*Config, error) {
	c, _, err := load(path)
	return c, err
}

func load(path string) (*Config, *document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, nil, fmt.Errorf("read the configuration: %s has more than %d bytes, which no configuration needs", path, maxFileBytes)
	}
	return parse(path, text)
}

// parse is Load for text that was read from path.
func parse(path string, text []byte) (*Config, *document, error) {
	doc, err := read(path, text)
	if err != nil {
		return nil, nil, err
	}
	c := &Config{}
	doc.fill(c)
	if len(doc.errs) == 0 {
		doc.checkTogether(c)
	}
	if len(doc.errs) > 0 {
		return nil, nil, doc.sorted()
	}
	return c, doc, c.makeAbsolute(path)
}

func (c *Config) makeAbsolute(path string) error {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("find the folder of %s: %w", path, err)
	}
	for _, p := range []*string{&c.DataDir, &c.TLS.Cert, &c.TLS.Key} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return nil
}
