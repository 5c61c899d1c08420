package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const minimal = "name = \"node1\"\nhostname = \"mail1.example.test\"\ndata_dir = \"data\"\n"

func TestLoadFillsDefaultsAndResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.toml")
	if err := os.WriteFile(path, []byte(minimal+"[raft]\nheartbeat = \"1s\"\n[listeners]\nimap = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Name: "node1", Hostname: "mail1.example.test", DataDir: filepath.Join(dir, "data"),
		Cluster:   Cluster{Listen: ":7400", Advertise: "mail1.example.test:7400", GossipListen: ":7401", GossipAdvertise: "mail1.example.test:7401"},
		Listeners: Listeners{SMTP: ":25", Submission: ":587", Submissions: ":465", IMAPS: ":993", Admin: "127.0.0.1:7402"},
		Log:       Log{Level: "info", Format: "text"}, Raft: Raft{LogStore: "wal", Heartbeat: time.Second, SnapshotEntries: 65536},
		Limits:   Limits{MinFreeDiskBytes: 1 << 30, MaxConnections: 10_000},
		Delivery: Delivery{Port: 25},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got.TLS.Automatic() {
		t.Error("no certificate named, and it is not the cluster's")
	}
	if err := CheckFiles(path); err != nil {
		t.Error(err)
	}
}

// Every mistake is answered with the line, what is wrong, and what would be right.
func TestParseExplainsMistakes(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"misspelt key", minimal + "[listeners]\nimapp = \":143\"\n", `node.toml:5: listeners.imapp: unknown key; did you mean "imap"?`},
		{"misspelt table", minimal + "[listener]\nimap = \":143\"\n", `node.toml:4: listener: unknown table; did you mean "listeners"?`},
		{"wrong table", minimal + "imap = \":143\"\n", `node.toml:4: imap: unknown key; "imap" belongs under [listeners]`},
		{"above tables", minimal + "[log]\nhostname = \"x\"\n", `node.toml:5: log.hostname: unknown key; "hostname" belongs above the first [table]`},
		{"cluster setting", minimal + "max_recipients = 5\n", `node.toml:4: max_recipients: unknown key; it is the same for the whole cluster: quorumail set smtp.max_recipients VALUE`},
		{"nothing near", minimal + "[raft]\ncolour = 1\n", `node.toml:5: raft.colour: unknown key; known here are log_store, heartbeat, snapshot_entries`},
		{"missing", "name = \"node1\"\ndata_dir = \"d\"\n", `node.toml: hostname: is missing: add hostname = "mail1.example.org" above the first [table]`},
		{"number for text", minimal + "[listeners]\nsmtp = 25\n", `node.toml:5: listeners.smtp: is a whole number, and must be a text in quotes, such as ":25"`},
		{"text for flag", minimal + "insecure_loopback_auth = \"yes\"\n", `node.toml:4: insecure_loopback_auth: is a text in quotes, and must be true or false, such as false`},
		{"text for number", minimal + "limits = {max_connections = \"9\"}\n", `node.toml:4: limits.max_connections: is a text in quotes, and must be a whole number, such as 10000`},
		{"dotted key", minimal + "limits.max_connections = 0\n", `node.toml:4: limits.max_connections: 0 is out of range: choose 1 to 1000000`},
		{"proxies", minimal + "[listeners]\nproxy_from = \"10.0.0.1, proxy.example.org\"\n", `node.toml:5: listeners.proxy_from: "proxy.example.org" is no network: write one such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1`},
		{"list for text", minimal + "[log]\nlevel = [\"info\"]\n", `node.toml:5: log.level: is a list, and must be a text in quotes, such as "info"`},
		{"value for table", minimal + "log = \"info\"\n", `node.toml:4: log: is a table: write [log] on a line of its own, and its keys below`},
		{"table for value", minimal + "[log.level]\nx = 1\n", `node.toml:4: log.level: is a table, and must be a text in quotes, such as "info"`},
		{"port alone", minimal + "[listeners]\nsmtp = \"25\"\n", `node.toml:5: listeners.smtp: "25" has no host part: write ":25" for all addresses of this machine`},
		{"no port", minimal + "[listeners]\nsmtp = \"192.0.2.1\"\n", `node.toml:5: listeners.smtp: "192.0.2.1" is not of the form "host:port", such as "192.0.2.1:25" or ":25"`},
		{"IPv6 without brackets", minimal + "[listeners]\nsmtp = \"2001:db8::1\"\n", `node.toml:5: listeners.smtp: "2001:db8::1" has no port: write "[2001:db8::1]:25", say`},
		{"port too large", minimal + "[listeners]\nsmtp = \":70000\"\n", `node.toml:5: listeners.smtp: ":70000" has the port "70000": choose a number from 1 to 65535`},
		{"bad host", minimal + "[listeners]\nsmtp = \"a b:25\"\n", `node.toml:5: listeners.smtp: "a b:25" has the host "a b": use an IP address or a host name, or leave it empty for all addresses`},
		{"same port", minimal + "[listeners]\nsmtp = \"127.0.0.1:993\"\n", `node.toml: listeners.imaps: ":993" is the port of listeners.smtp: each listener needs its own`},
		{"public admin", minimal + "[listeners]\nadmin = \":7402\"\n", `node.toml:5: listeners.admin: ":7402" is open to others: use a loopback address, such as "127.0.0.1:7402", or "unix:/path"`},
		{"relative socket", minimal + "[listeners]\nadmin = \"unix:x\"\n", `node.toml:5: listeners.admin: "unix:x" has no absolute path: write "unix:/run/quorumail/admin.sock", say`},
		{"public lmtp", minimal + "[listeners]\nlmtp = \"192.0.2.1:24\"\n", `node.toml:5: listeners.lmtp: "192.0.2.1:24" is open to others, and this listener asks for no login: use a loopback address, such as "127.0.0.1:24"`},
		{"unreachable", minimal + "[cluster]\nadvertise = \"0.0.0.0:7400\"\n", `node.toml:5: cluster.advertise: "0.0.0.0:7400" is no address that others can reach: name this node's own, such as "192.0.2.1:7400"`},
		{"half a certificate", minimal + "[tls]\ncert = \"c.pem\"\n", `node.toml:5: tls.cert: needs tls.key beside it; leave both out for a certificate from the cluster's own CA`},
		{"misspelt word", minimal + "[log]\nlevel = \"inof\"\n", `node.toml:5: log.level: "inof" is none of debug, info, warn, error; did you mean "info"?`},
		{"no unit", minimal + "[raft]\nheartbeat = \"250\"\n", `node.toml:5: raft.heartbeat: "250" is no length of time: write a number with its unit, such as "250ms", "10s", "5m", "12h" or "7d"`},
		{"too short", minimal + "[raft]\nheartbeat = \"1ms\"\n", `node.toml:5: raft.heartbeat: 1ms is out of range: choose 50ms to 10s`},
		{"no size", minimal + "[limits]\nmin_free_disk = \"much\"\n", `node.toml:5: limits.min_free_disk: "much" is no size: write a whole number with its unit, such as "512KiB", "50MiB" or "1GiB"`},
		{"node name", strings.Replace(minimal, "node1", "node 1", 1), `node.toml:1: name: "node 1" is no name of a node: use letters, digits and hyphens, at most 63, such as "node1"`},
		{"host name", strings.Replace(minimal, "mail1.example.test", "mail1..test", 1), `node.toml:2: hostname: "mail1..test" is no host name: use one such as "mail1.example.org"`},
		{"empty path", strings.Replace(minimal, `"data"`, `""`, 1), `node.toml:3: data_dir: a path is needed here`},
		{"two at once", "name = \"-\"\n" + minimal[len("name = \"node1\"\n"):] + "x = 1\n", "node.toml:1: name: \"-\" is no name of a node: use letters, digits and hyphens, at most 63, such as \"node1\"\n" +
			"node.toml:4: x: unknown key; known here are name, hostname, data_dir, insecure_loopback_auth"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, err := parse("node.toml", []byte(tc.in))
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("got %+v, %v", c, err)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseNamesTheLineOfASyntaxError(t *testing.T) {
	for _, in := range []string{minimal + "[log\n", minimal + "level = info\n", minimal + "name = \"again\"\n"} {
		_, _, err := parse("node.toml", []byte(in))
		if err == nil || !strings.HasPrefix(err.Error(), "node.toml:4: ") {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

// What "config show --defaults" prints is itself a good configuration, as it is and with every line put into force.
func TestDefaultsCanBeLoaded(t *testing.T) {
	text := Defaults()
	plain, _, err := parse("/etc/node.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > commentWidth && strings.HasPrefix(line, "# ") {
			t.Errorf("line of %d bytes: %s", len(line), line)
		}
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			line = line[1:]
		}
		lines = append(lines, line)
	}
	full, _, err := parse("/etc/node.toml", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, full); diff != "" {
		t.Error(diff)
	}
	for _, f := range fields {
		if !strings.Contains(text, lastPart(f.key)+" = ") {
			t.Errorf("%s is not in it", f.key)
		}
	}
}

func TestInForceIsTheSameConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.toml")
	write(t, path, minimal+"[listeners]\nimap = \"\"\nadmin = \"127.0.0.1:99\"\n[limits]\nmax_connections = 5\n[raft]\nheartbeat = \"1s\"\n")
	want, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := InForce(path)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := parse("/elsewhere/node.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadKeepsNotExist(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(Defaults()))
	f.Add([]byte("limits = {max_connections = 1}\n[[log]]\n\"a.b\".c = [1,{x=2}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, _, err := parse("node.toml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("%+v, %v", c, err)
		}
	})
}
