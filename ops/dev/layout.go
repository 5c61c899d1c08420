package dev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumail/quorumail/store/durable"
)

// Node is one node as scripts see it: addresses are "127.0.0.1:port", "" for what is not there.
type Node struct {
	Name        string `json:"name"`
	PID         int    `json:"pid"`
	Leader      bool   `json:"leader"`
	SMTP        string `json:"smtp"`
	Submission  string `json:"submission"`
	Submissions string `json:"submissions"`
	LMTP        string `json:"lmtp"`
	IMAP        string `json:"imap"`
	IMAPS       string `json:"imaps"`
	POP3        string `json:"pop3"`
	POP3S       string `json:"pop3s"`
	Admin       string `json:"admin"`
	Metrics     string `json:"metrics"`
}

// Account is an account that dev made.
type Account struct {
	Address  string `json:"address"`
	Password string `json:"password"`
}

// Description is the cluster as one JSON object.
type Description struct {
	Nodes    []Node    `json:"nodes"`
	Accounts []Account `json:"accounts"`
	CA       string    `json:"ca"`     // path of the CA certificate
	Bin      string    `json:"bin"`    // path of the binary
	Config   string    `json:"config"` // path of node 1's configuration
}

// layout is what dev.json remembers between runs.
type layout struct {
	dir string

	Nodes    []placed  `json:"nodes"`
	Accounts []Account `json:"accounts"` // made already
	Formed   bool      `json:"formed"`   // the cluster is whole; from now on nodes only start
	Greeted  bool      `json:"greeted"`  // the first messages are delivered
}

// placed is a node's fixed ports.
type placed struct {
	Name  string         `json:"name"`
	Ports map[string]int `json:"ports"`
}

var portNames = []string{"cluster", "gossip", "smtp", "submission", "submissions", "lmtp", "imap", "imaps", "admin", "metrics"}

func (l *layout) path() string                    { return filepath.Join(l.dir, "dev.json") }
func (l *layout) nodeDir(name string) string      { return filepath.Join(l.dir, name) }
func (l *layout) configPath(name string) string   { return filepath.Join(l.dir, name, "node.toml") }
func (l *layout) dataDir(name string) string      { return filepath.Join(l.dir, name, "data") }
func (l *layout) logPath(name string) string      { return filepath.Join(l.dir, name, "log") }
func (l *layout) pidPath(name string) string      { return filepath.Join(l.dir, name, "pid") }
func (p placed) address(port string) string       { return "127.0.0.1:" + strconv.Itoa(p.Ports[port]) }
func (l *layout) find(name string) (placed, bool) { return findPlaced(l.Nodes, name) }

func findPlaced(nodes []placed, name string) (placed, bool) {
	for _, n := range nodes {
		if n.Name == name {
			return n, true
		}
	}
	return placed{}, false
}

// openLayout reads dev.json in dir, or plans n nodes (0: DefaultNodes) on free ports when there is none. dir is absolute.
func openLayout(dir string, n int) (*layout, error) {
	l := &layout{dir: dir}
	raw, err := os.ReadFile(l.path())
	if errors.Is(err, os.ErrNotExist) {
		return l, l.plan(n)
	}
	if err != nil {
		return nil, fmt.Errorf("read the plan of this cluster: %w", err)
	}
	if err := json.Unmarshal(raw, l); err != nil || len(l.Nodes) == 0 {
		return nil, fmt.Errorf("%s is damaged (%v): remove the folder %s to begin anew", l.path(), err, dir)
	}
	if n > 0 && n != len(l.Nodes) {
		return nil, fmt.Errorf("%s holds a cluster of %d nodes, not %d: leave --nodes out, or name another folder with --dir", dir, len(l.Nodes), n)
	}
	return l, l.givePorts()
}

func (l *layout) plan(n int) error {
	if n == 0 {
		n = DefaultNodes
	}
	if n < 1 || n > 9 {
		return fmt.Errorf("--nodes is %d: choose 1 to 9", n)
	}
	for i := range n {
		p := placed{Name: "n" + strconv.Itoa(i+1), Ports: map[string]int{}}
		l.Nodes = append(l.Nodes, p)
		if err := os.MkdirAll(l.nodeDir(p.Name), 0o700); err != nil {
			return fmt.Errorf("make the folder of node %s: %w", p.Name, err)
		}
	}
	return l.givePorts()
}

// givePorts gives every listener that has no port yet one that is free now, and keeps to it.
func (l *layout) givePorts() error {
	taken, changed := map[int]bool{}, false
	for _, n := range l.Nodes {
		for _, port := range n.Ports {
			taken[port] = true
		}
	}
	for _, n := range l.Nodes {
		for _, name := range portNames {
			if n.Ports[name] != 0 {
				continue
			}
			port, err := freePort(taken)
			if err != nil {
				return err
			}
			n.Ports[name], changed = port, true
		}
	}
	if !changed {
		return nil
	}
	return l.save()
}

// freePort finds a port that is free now, below the range that the kernel gives to outgoing connections, so that none of those can
// sit on it while a node is down.
func freePort(taken map[int]bool) (int, error) {
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		if taken[port] || checkPort(port) != nil {
			continue
		}
		taken[port] = true
		return port, nil
	}
	return 0, errors.New("found no free port between 20000 and 29999 on 127.0.0.1")
}

// checkPort looks whether a port is free, for TCP and, as gossip needs it, for UDP.
func checkPort(port int) error {
	address := "127.0.0.1:" + strconv.Itoa(port)
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	return errors.Join(udp.Close(), tcp.Close())
}

// checkPorts says clearly which port somebody else holds.
func (l *layout) checkPorts() error {
	for _, n := range l.Nodes {
		for _, name := range portNames {
			if err := checkPort(n.Ports[name]); err != nil {
				return fmt.Errorf("port %d, which node %s uses for %s, is taken by another program: end that program, or name another folder with --dir",
					n.Ports[name], n.Name, name)
			}
		}
	}
	return nil
}

func (l *layout) save() error {
	raw, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if err := durable.WriteFile(l.path(), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// pid is the process that runs a node now, 0 for none.
func (l *layout) pid(name string) int {
	raw, err := os.ReadFile(l.pidPath(name))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || !runsNode(pid, l.configPath(name)) {
		return 0
	}
	return pid
}

// runsNode tells whether pid is a node with that configuration, and not a later process that was given the same number.
func runsNode(pid int, configPath string) bool {
	for range 100 {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return false
		}
		if len(cmdline) > 0 {
			return slices.Contains(strings.Split(string(cmdline), "\x00"), configPath)
		}
		// A process that ended and was not collected has no command line any more; one that the kernel is just starting has none yet.
		if ended(pid) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// ended tells whether a process only waits to be collected, or is gone.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The state follows the name, which stands in brackets and may hold some itself, proc(5).
	_, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

func (l *layout) writeConfig(p placed, also string) error {
	text := fmt.Sprintf(`# Written by "quorumail dev".
name = %q
hostname = %q
data_dir = %q
insecure_loopback_auth = true

[cluster]
listen = %q
advertise = %q
gossip_listen = %q

[listeners]
smtp = %q
submission = %q
submissions = %q
lmtp = %q
imap = %q
imaps = %q
admin = %q
metrics = %q

[limits]
min_free_disk = "256MiB"
`, p.Name, p.Name+".example.test", l.dataDir(p.Name), p.address("cluster"), p.address("cluster"), p.address("gossip"),
		p.address("smtp"), p.address("submission"), p.address("submissions"), p.address("lmtp"), p.address("imap"), p.address("imaps"), p.address("admin"), p.address("metrics"))
	if err := os.WriteFile(l.configPath(p.Name), []byte(text+also), 0o600); err != nil {
		return fmt.Errorf("write the configuration of node %s: %w", p.Name, err)
	}
	return nil
}
