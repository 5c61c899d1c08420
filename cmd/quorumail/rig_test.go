package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/disk/faultfs"
	"github.com/quorumail/quorumail/ops/admin"
)

// soak tells whether the full figures are wanted.
func soak() bool { return os.Getenv("QUORUMAIL_SOAK") != "" }

// seedOf is the seed of a random test: QUORUMAIL_SEED, or a fresh one. It is printed.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("QUORUMAIL_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatalf("QUORUMAIL_SEED: %v", err)
		}
	}
	t.Logf("seed %d (QUORUMAIL_SEED=%d repeats what is random here)", seed, seed)
	return seed
}

// loopback takes an address of 127.0.0.0/8 for a rig's node alone, as long as the test runs: fixed ports on an address of one's own cannot
// be taken by others, whatever else runs on this machine.
func loopback(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "quorumail-loopback")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(dir, 0o777) // all users of the machine share it, whatever the first one's umask
	for {
		ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(256), 1+rand.IntN(250))
		path := filepath.Join(dir, ip)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			f.Close()
			continue
		}
		t.Cleanup(func() { _ = os.Remove(path); f.Close() })
		return ip
	}
}

// rig is a cluster of real processes, each on a disk that can crash.
type rig struct {
	t        *testing.T
	bin      string
	logStore string
	nodes    []*rigNode
	accounts []admin.AccountRequest
}

// rigNode is one node of a rig.
type rigNode struct {
	rig    *rig
	name   string
	ip     string
	dir    string // configuration, log and disk
	rng    *rand.Rand
	disk   *faultfs.Disk
	cmd    *exec.Cmd
	exited chan struct{}
	admin  *admin.Client
}

func (n *rigNode) smtp() string   { return n.ip + ":2525" }
func (n *rigNode) imap() string   { return n.ip + ":1143" }
func (n *rigNode) data() string   { return filepath.Join(n.dir, "data") }
func (n *rigNode) config() string { return filepath.Join(n.dir, "node.toml") }
func (n *rigNode) log() string    { return filepath.Join(n.dir, "log") }

// newRig starts a cluster and makes accounts u0@example.test and so on.
func newRig(t *testing.T, seed uint64, logStore string, nodes, accounts int) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	if err := faultfs.Supported(); err != nil {
		t.Skip(err)
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, bin: bin, logStore: logStore}
	dir := t.TempDir()
	ips := make([]string, nodes)
	for i := range ips {
		ips[i] = loopback(t)
	}
	t.Cleanup(r.close)
	for i := range nodes {
		n := &rigNode{rig: r, name: fmt.Sprintf("n%d", i+1), ip: ips[i], dir: filepath.Join(dir, fmt.Sprint("n", i+1)), rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		// The token is read around the mount: the backing folder holds what the program wrote.
		n.admin = admin.NewClient(n.ip+":7402", faultfs.Content(n.back()))
		n.mount()
		n.writeConfig()
		r.nodes = append(r.nodes, n)
		r.join(n)
	}
	r.makeAccounts(accounts)
	return r
}

func (n *rigNode) back() string { return filepath.Join(n.dir, "disk") }

func (n *rigNode) writeConfig() {
	n.rig.t.Helper()
	text := fmt.Sprintf(`name = %q
hostname = "%s.example.test"
data_dir = %q
insecure_loopback_auth = true
[cluster]
listen = "%s:7400"
advertise = "%s:7400"
gossip_listen = "%s:7401"
[listeners]
smtp = "%s:2525"
submission = ""
submissions = ""
imap = "%s:1143"
imaps = ""
admin = "%s:7402"
[raft]
log_store = %q
heartbeat = "100ms"
snapshot_entries = 24
[limits]
min_free_disk = "16MiB"
`, n.name, n.name, n.data(), n.ip, n.ip, n.ip, n.ip, n.ip, n.ip, n.rig.logStore)
	if err := os.WriteFile(n.config(), []byte(text), 0o600); err != nil {
		n.rig.t.Fatal(err)
	}
}

func (n *rigNode) mount() {
	n.rig.t.Helper()
	var err error
	n.disk, err = faultfs.Mount(faultfs.Config{Back: n.back(), Mount: n.data(), Journaled: n.rng.IntN(3) == 0, Seed: n.rng.Uint64()})
	if err != nil {
		n.rig.t.Fatal(err)
	}
}

func (n *rigNode) start(extra ...string) {
	n.rig.t.Helper()
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	defer log.Close()
	n.cmd = exec.Command(n.rig.bin, append([]string{"serve", "--config", n.config()}, extra...)...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		n.rig.t.Fatal(err)
	}
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { _ = cmd.Wait(); close(exited) }(n.cmd, n.exited)
}

// kill ends the process at once and waits until it is gone.
func (n *rigNode) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended on its own
	<-n.exited
}

// stop ends the process politely.
func (n *rigNode) stop() {
	n.rig.t.Helper()
	_ = n.cmd.Process.Signal(os.Interrupt) // if it has ended, the wait ends
	select {
	case <-n.exited:
	case <-time.After(30 * time.Second):
		n.rig.t.Fatalf("%s does not stop; the end of its log:\n%s", n.name, n.tail())
	}
}

// powerLoss crashes the disk of a killed node, and makes it usable again.
func (n *rigNode) powerLoss() (faultfs.Keep, faultfs.Loss) {
	n.rig.t.Helper()
	keep := []faultfs.Keep{faultfs.KeepNone, faultfs.KeepNone, faultfs.KeepPrefix, faultfs.KeepPrefix, faultfs.KeepRandom, faultfs.KeepRandom, faultfs.KeepAll}[n.rng.IntN(7)]
	loss, err := n.disk.Crash(keep)
	if err != nil {
		n.rig.t.Fatal(err)
	}
	n.mount()
	return keep, loss
}

func (n *rigNode) call(method string, req, res any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return n.admin.Call(ctx, method, req, res)
}

// waitFor polls the node's status until good says yes.
func (n *rigNode) waitFor(what string, good func(admin.Status) bool) {
	n.rig.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		var st admin.Status
		err := n.call("status", admin.Empty{}, &st)
		if err == nil && good(st) {
			return
		}
		select {
		case <-n.exited:
			n.rig.t.Fatalf("%s ended while the test waited for it to %s; the end of its log:\n%s", n.name, what, n.tail())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			n.rig.t.Fatalf("%s did not %s (%v, %+v); the end of its log:\n%s", n.name, what, err, st, n.tail())
		}
	}
}

func (n *rigNode) ready() {
	n.rig.t.Helper()
	n.waitFor("serve", func(s admin.Status) bool { return s.Ready && s.Listeners["imap"] != "" && s.Listeners["smtp"] != "" })
}

func (n *rigNode) tail() string {
	raw, err := os.ReadFile(n.log())
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-3000):])
}

// join starts a node for the first time.
func (r *rig) join(n *rigNode) {
	r.t.Helper()
	if len(r.nodes) == 1 {
		n.start("--init")
	} else {
		var inv admin.InviteResponse
		if err := r.nodes[0].call("invite", admin.InviteRequest{ValidMinutes: 10}, &inv); err != nil {
			r.t.Fatal(err)
		}
		n.start("--join", inv.Token)
	}
	voters := len(r.nodes)
	n.waitFor("vote", func(s admin.Status) bool {
		count := 0
		for _, m := range s.Members {
			if m.Voter {
				count++
			}
		}
		return s.Ready && count == voters
	})
}

func (r *rig) makeAccounts(accounts int) {
	r.t.Helper()
	if err := r.nodes[0].call("domain.add", admin.DomainRequest{Name: "example.test"}, nil); err != nil {
		r.t.Fatal(err)
	}
	for i := range accounts {
		a := admin.AccountRequest{Address: fmt.Sprintf("u%d@example.test", i), Password: "password of the rig"}
		if err := r.nodes[0].call("account.add", a, nil); err != nil {
			r.t.Fatal(err)
		}
		r.accounts = append(r.accounts, a)
	}
}

// check demands that every invariant holds on every node, and that nodes at the same index have the same state.
func (r *rig) check() {
	r.t.Helper()
	for _, n := range r.nodes {
		if err := n.call("check", admin.Empty{}, nil); err != nil {
			r.t.Errorf("check of %s: %v", n.name, err)
		}
	}
	r.sameHash()
}

// sameHash compares the states of the nodes that the rig still has; "admin state-hash --all" would wait for members that are gone.
func (r *rig) sameHash() {
	r.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) { // polls until all are at one index
		seen := map[uint64]map[string]bool{}
		for _, n := range r.nodes {
			var h admin.StateHash
			if err := n.call("state-hash", admin.Empty{}, &h); err != nil {
				r.t.Errorf("state hash of %s: %v", n.name, err)
				return
			}
			if seen[h.Index] == nil {
				seen[h.Index] = map[string]bool{}
			}
			seen[h.Index][h.Hash] = true
		}
		if len(seen) == 1 {
			for index, hashes := range seen {
				if len(hashes) > 1 {
					r.t.Errorf("the nodes differ at index %d: %v", index, hashes)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("the nodes are never at one index: %v", seen)
			return
		}
	}
}

// close ends all processes and mounts.
func (r *rig) close() {
	for _, n := range r.nodes {
		n.kill()
		if n.disk != nil {
			if err := n.disk.Unmount(); err != nil {
				r.t.Error(err)
			}
		}
		if r.t.Failed() {
			r.t.Logf("the end of the log of %s:\n%s", n.name, n.tail())
		}
	}
}
