package db

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/disk"
	"github.com/quorumail/quorumail/jepsen/history"
)

// ErrEnded is that a node's process ended by itself.
var ErrEnded = errors.New("the node ended by itself")

// Ports of every node; they have an address of their own each.
const (
	PortCluster = 7400
	PortGossip  = 7401
	portMetrics = 7480
	portSMTP    = 2525
	portSubmit  = 2465
	portIMAP    = 2993
	portPOP3    = 2995
)

// Node is one node of the cluster.
type Node struct {
	c      *Cluster
	name   string
	dir    string
	volume disk.Volume

	act sync.Mutex // held while something is done to the process

	mu      sync.Mutex
	bin     string
	id      string // in the cluster, as it last said; "" before it was a member
	cmd     *exec.Cmd
	exited  chan struct{}
	ending  bool // we end it: that it ends is no news
	tls     *tls.Config
	started int64 // size of the log when the process started
}

func (c *Cluster) newNode(name string) (*Node, error) {
	n := &Node{c: c, name: name, dir: filepath.Join(c.cfg.Dir, name), bin: c.cfg.Bin}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", name, err)
	}
	var err error
	if n.volume, err = c.cfg.Volume(name); err != nil {
		return nil, fmt.Errorf("make the disk of %s: %w", name, err)
	}
	if err := n.volume.Mount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the disk of %s: %w", name, err), n.volume.Close())
	}
	return n, n.writeConfig()
}

// Name is n1, n2 and so on.
func (n *Node) Name() string { return n.name }

// Volume is its disk.
func (n *Node) Volume() disk.Volume { return n.volume }

// Bin is the program that the node runs, or will run when it is started.
func (n *Node) Bin() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bin
}

// ID is the node's id in the cluster, as far as it is known.
func (n *Node) ID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

// PID is the process's, 0 when none runs.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.alive() {
		return 0
	}
	return n.cmd.Process.Pid
}

// Alive tells whether the process runs, or stands still.
func (n *Node) Alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive()
}

// alive needs mu.
func (n *Node) alive() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

func (n *Node) dataDir() string    { return n.volume.Path() }
func (n *Node) configPath() string { return filepath.Join(n.dir, "node.toml") }
func (n *Node) logPath() string    { return filepath.Join(n.dir, "log") }
func (n *Node) socket() string     { return filepath.Join(n.dir, "admin") }

func (n *Node) at(port int) string { return fmt.Sprintf("%s:%d", n.c.cfg.Lab.Address(n.name), port) }

func (n *Node) hostname() string { return n.name + ".example.test" }

func (n *Node) writeConfig() error {
	text := fmt.Sprintf(`name = %q
hostname = %q
data_dir = %q
[cluster]
listen = %q
advertise = %q
gossip_listen = %q
gossip_advertise = %q
[listeners]
smtp = %q
submission = ""
submissions = %q
imap = ""
imaps = %q
metrics = %q
admin = %q
[raft]
log_store = %q
heartbeat = %q
snapshot_entries = %d
[limits]
min_free_disk = %q
`, n.name, n.hostname(), n.dataDir(), n.at(PortCluster), n.at(PortCluster), n.at(PortGossip), n.at(PortGossip), n.at(portSMTP),
		n.at(portSubmit), n.at(portIMAP), n.at(portMetrics), "unix:"+n.socket(), n.c.cfg.LogStore, n.c.cfg.Heartbeat, n.c.cfg.SnapshotEntries, n.c.cfg.MinFreeDisk)
	if n.c.cfg.NameServer != "" { // else the file is one that earlier versions of the program read, too
		text += fmt.Sprintf("[dns]\nservers = %q\n[delivery]\nport = %d\nsource = %q\n", n.c.cfg.NameServer, n.c.cfg.RemotePort, n.c.cfg.Lab.Address(n.name))
	}
	if err := os.WriteFile(n.configPath(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", n.name, err)
	}
	return nil
}

// Client says where clients reach the node. TLS is nil until the node has a certificate.
func (n *Node) Client() client.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tls == nil {
		if raw, err := os.ReadFile(filepath.Join(n.dataDir(), "ca.pem")); err == nil {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(raw)
			// Tickets of a session let a client that comes back save most of the handshake, as real ones do.
			n.tls = &tls.Config{RootCAs: pool, ServerName: n.hostname(), ClientSessionCache: tls.NewLRUClientSessionCache(64)}
		}
	}
	return client.Node{Name: n.name, SMTP: n.at(portSMTP), Submissions: n.at(portSubmit), IMAPS: n.at(portIMAP), TLS: n.tls,
		Admin: "unix:" + n.socket(), AdminPath: filepath.Join(n.dataDir(), "admin.token")}
}

// Admin asks the node as its administrator does.
func (n *Node) Admin() *client.Admin {
	return client.NewAdmin(client.Options{Dialer: n.c.cfg.Lab}, n.Client())
}

// Status is what the node says of itself.
func (n *Node) Status(ctx context.Context) (client.Status, error) {
	st, err := n.Admin().Status(ctx)
	if err == nil && st.ID != "" {
		n.mu.Lock()
		n.id = st.ID
		n.mu.Unlock()
	}
	return st, err
}

// Start starts the process of a member. It does nothing when it runs. The process outlives ctx.
func (n *Node) Start(ctx context.Context) error { return n.start(ctx) }

func (n *Node) start(ctx context.Context, extra ...string) error {
	n.act.Lock()
	defer n.act.Unlock()
	if n.Alive() {
		return nil
	}
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", n.name, err)
	}
	defer log.Close()
	size, err := log.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("look at the log of %s: %w", n.name, err)
	}
	n.mu.Lock()
	bin := n.bin
	n.mu.Unlock()
	cmd := n.c.cfg.Lab.Command(context.WithoutCancel(ctx), n.name, bin, append([]string{"serve", "--config", n.configPath()}, extra...)...)
	cmd.Env = append(os.Environ(), n.c.cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	exited := make(chan struct{})
	n.mu.Lock()
	n.cmd, n.exited, n.ending, n.started = cmd, exited, false, size
	n.mu.Unlock()
	go n.collect(cmd, exited)
	return nil
}

// collect waits for the end of a process and notes it when nobody asked for it.
func (n *Node) collect(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	n.mu.Lock()
	ending := n.ending
	n.mu.Unlock()
	if !ending {
		n.c.cfg.History.Note(history.Note{At: n.c.cfg.History.Now(), Node: n.name, Kind: "ended", Text: fmt.Sprintf("%v: %s", err, n.LastWords())})
	}
	close(exited)
}

// LastWords is the last line of its log.
func (n *Node) LastWords() string {
	raw, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return lastLine(raw)
}

// sinceStart is what the process that was started last has logged.
func (n *Node) sinceStart() []byte {
	raw, err := os.ReadFile(n.logPath())
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil || int64(len(raw)) < n.started {
		return nil
	}
	return raw[n.started:]
}

// signalKill sends SIGKILL and does not wait.
func (n *Node) signalKill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alive() {
		n.ending = true
		_ = n.cmd.Process.Kill() // it may have ended meanwhile
	}
}

// Shoot sends SIGKILL and does not wait until the process is gone, nor for what else is done to it: for moments that do not last. Kill it afterwards.
func (n *Node) Shoot() { n.signalKill() }

// Kill ends the process at once (SIGKILL) and waits until it is gone.
func (n *Node) Kill() {
	n.act.Lock()
	defer n.act.Unlock()
	n.signalKill()
	n.wait()
}

func (n *Node) wait() {
	n.mu.Lock()
	exited := n.exited
	n.mu.Unlock()
	if exited != nil {
		<-exited
	}
}

// Stop ends the process politely (SIGTERM) and waits until it is gone.
func (n *Node) Stop(ctx context.Context) error {
	n.act.Lock()
	defer n.act.Unlock()
	n.mu.Lock()
	if !n.alive() {
		n.mu.Unlock()
		return nil
	}
	n.ending = true
	cmd, exited := n.cmd, n.exited
	n.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not stop: %w", n.name, ctx.Err())
	}
}

// Pause makes the process stand still (SIGSTOP): its sockets stay open.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alive() {
		_ = n.cmd.Process.Signal(s) // it may have ended meanwhile
	}
}

// Upgrade stops the node and starts it with another program.
func (n *Node) Upgrade(ctx context.Context, bin string) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	n.bin = bin
	n.mu.Unlock()
	return n.Start(ctx)
}

// wipe makes the disk of a dead node empty.
func (n *Node) wipe() error {
	err := n.volume.Content(func(dir string) error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("wipe %s: %w", n.name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tls = nil
	return nil
}

// forget is after the removal of a wiped node from the cluster: it is nobody.
func (n *Node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id = ""
}

// WaitReady waits until the node serves clients. The error is ErrEnded, with the node's last words, when the process ended instead.
func (n *Node) WaitReady(ctx context.Context) error {
	return n.waitStatus(ctx, "serve", func(s client.Status) bool { return s.Ready && s.Listeners["imaps"] != "" && s.Listeners["smtp"] != "" })
}

// revive waits until the node serves, and starts it again when it ends: the error is ErrEnded when it says that it has to be replaced, or
// does not last.
func (n *Node) revive(ctx context.Context) error {
	for tries := 0; ; tries++ {
		err := n.WaitReady(ctx)
		if !errors.Is(err, ErrEnded) || n.refused() || tries == maxTries {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
}

func (n *Node) waitStatus(ctx context.Context, what string, good func(client.Status) bool) error {
	for began := time.Now(); ; {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		st, err := n.Status(try)
		cancel()
		if err == nil && good(st) {
			return nil
		}
		if !n.Alive() {
			return fmt.Errorf("%s: %w: %s", n.name, ErrEnded, n.LastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to %s: %w (it says %+v, %v)", n.name, what, ctx.Err(), st, err)
		case <-time.After(50*time.Millisecond + time.Since(began)/32): // what takes long is asked seldom: to count missing bodies is work
		}
	}
}
