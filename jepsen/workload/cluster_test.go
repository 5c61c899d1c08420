package workload

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/site"
)

// cluster is a cluster of real processes, begun by "quorumail dev --json".
type cluster struct {
	bin, dir string
	nodes    []client.Node
	accounts []Account
	lab      *lab.Lab // where the sites are
	dns      *lab.DNS // whom the nodes ask
	sites    int      // made so far
}

// started is the one cluster of this package's tests.
var started struct {
	sync.Mutex
	*cluster
	stop func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if started.stop != nil {
		started.stop()
	}
	os.Exit(code)
}

// theCluster starts the cluster when it is needed first.
func theCluster(t *testing.T) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	started.Lock()
	defer started.Unlock()
	if started.cluster == nil {
		c, stop, err := startCluster()
		if err != nil {
			t.Fatal(err)
		}
		started.cluster, started.stop = c, stop
	}
	return started.cluster
}

func startCluster() (*cluster, func(), error) {
	dir, err := os.MkdirTemp("", "quorumail-workload-")
	if err != nil {
		return nil, nil, err
	}
	bin := filepath.Join(dir, "quorumail")
	build := exec.Command("go", "build", "-o", bin, "../../cmd/quorumail")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	l, err := lab.New(lab.Config{Nodes: 1, Namespaces: lab.Never}) // the nodes of dev are where the test is
	if err != nil {
		return nil, nil, err
	}
	d, err := l.StartDNS(context.Background())
	if err != nil {
		return nil, nil, err
	}
	also := filepath.Join(dir, "also.toml")
	if err := os.WriteFile(also, fmt.Appendf(nil, "[dns]\nservers = %q\n[delivery]\nport = %d\n", d.Address(), sitePort), 0o600); err != nil {
		return nil, nil, err
	}
	for try := 1; ; try++ {
		c, stop, err := startDev(bin, filepath.Join(dir, fmt.Sprint("try", try)), "--also", also)
		if err == nil {
			c.lab, c.dns = l, d
			return c, func() { stop(); _ = l.Close(); _ = os.RemoveAll(dir) }, nil
		}
		// The ports were free when they were chosen; another program may have taken one since.
		if try == 3 || !strings.Contains(err.Error(), "another program") && !strings.Contains(err.Error(), "address already in use") {
			return nil, nil, err
		}
	}
}

func startDev(bin, dir string, more ...string) (*cluster, func(), error) {
	cmd := exec.Command(bin, append([]string{"dev", "--nodes", "3", "--dir", dir, "--json"}, more...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("dev printed no description: %w\n%s", err, errs.String())
	}
	c, err := describe(bin, dir, line)
	if err != nil {
		stop()
	}
	return c, stop, err
}

// describe makes a cluster of what dev prints.
func describe(bin, dir string, line []byte) (*cluster, error) {
	var d struct {
		Nodes    []struct{ Name, SMTP, Submissions, IMAPS, Admin string }
		Accounts []Account
		CA       string
	}
	if err := json.Unmarshal(line, &d); err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(d.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", d.CA)
	}
	c := &cluster{bin: bin, dir: dir, accounts: d.Accounts}
	for _, n := range d.Nodes {
		c.nodes = append(c.nodes, client.Node{Name: n.Name, SMTP: n.SMTP, Submissions: n.Submissions, IMAPS: n.IMAPS,
			TLS: &tls.Config{RootCAs: pool, ServerName: n.Name + ".example.test"}, Admin: n.Admin, AdminPath: filepath.Join(dir, n.Name, "data", "admin.token")})
	}
	return c, nil
}

// env is what a test's workload works with: accounts of its own, among others.
func (c *cluster) env(t *testing.T) *Env {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	e := &Env{Nodes: func() []client.Node { return c.nodes }, Dialer: &net.Dialer{}, Seed: seed, Boxes: 6,
		History: history.NewRecorder(nil, history.Run{Seed: seed})}
	e.Admin = func(name string) *client.Admin {
		if n, ok := byName(c.nodes, name); ok {
			return client.NewAdmin(e.options(), n)
		}
		return nil
	}
	_, domain, _ := strings.Cut(c.accounts[0].Address, "@")
	for i := range 4 {
		a := Account{fmt.Sprintf("u%d.%x@%s", i, seed, domain), fmt.Sprintf("mật khẩu %x", seed)}
		if err := e.Admin(c.nodes[0].Name).AddAccount(t.Context(), a.Address, a.Password); err != nil {
			t.Fatal(err)
		}
		e.Accounts = append(e.Accounts, a)
	}
	return e
}

// sitePort is where sites take mail.
const sitePort = 2500

// elsewhere gives an env a site of its own, which records in its history.
func (c *cluster) elsewhere(t *testing.T, env *Env) *site.Site {
	t.Helper()
	c.sites++
	name := fmt.Sprint("site", c.sites)
	if err := c.lab.AddPlace(name); err != nil {
		t.Fatal(err)
	}
	l, err := c.lab.Listen(t.Context(), name, "tcp", fmt.Sprintf("%s:%d", c.lab.Address(name), sitePort))
	if err != nil {
		t.Fatal(err)
	}
	s := site.Start(site.Config{Name: name, Listener: l, History: env.History, Seed: env.Seed})
	t.Cleanup(func() { _ = s.Close() })
	domain := name + ".test"
	if err := c.dns.SetRecords(fmt.Sprintf("%s. 1 IN MX 10 mx.%s.\nmx.%s. 1 IN A %s\n", domain, domain, domain, c.lab.Address(name))); err != nil {
		t.Fatal(err)
	}
	env.Elsewhere = []string{domain}
	return s
}

// work runs a workload with several processes until enough says so, and then its final reads.
func work(t *testing.T, env *Env, w Workload, processes int, enough func(*history.History) bool) *history.History {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if err := w.Setup(ctx, env); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() { w.Process(running, env, p) })
	}
	for !enough(env.History.History()) {
		if ctx.Err() != nil {
			t.Error("the work does not get on")
			break
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
	stop()
	wg.Wait()
	if len(env.Elsewhere) > 0 {
		if err := Drain(ctx, env); err != nil {
			t.Error(err)
		}
	}
	if err := w.Final(ctx, env); err != nil {
		t.Error(err)
	}
	h := env.History.History()
	judge(t, h)
	return h
}

// judge lets the checkers say what they think of a history.
func judge(t *testing.T, h *history.History) {
	t.Helper()
	t.Log(tally(h))
	for _, n := range h.Notes {
		if n.Kind != "drained" {
			t.Errorf("note %+v", n)
		}
	}
	for _, r := range checker.All(h, checker.Options{Porcupine: 5 * time.Second}) {
		if r.Verdict != checker.Nothing {
			t.Log(r.Checker, r.Verdict, r.Why, r.Counts)
		}
		for _, v := range r.Violations {
			t.Errorf("%s: %s at %v: %s", r.Checker, v.Kind, v.At, v.Text)
		}
	}
}

// tally counts operations by kind and outcome, and shows some errors.
func tally(h *history.History) string {
	counts, shown := map[string]int{}, map[string]string{}
	for _, o := range h.Ops {
		key := string(o.Kind) + " " + string(o.Outcome)
		counts[key]++
		if o.Error != "" && shown[key] == "" {
			shown[key] = o.Error
		}
	}
	return fmt.Sprint(counts, shown)
}

func count(h *history.History, kind history.Kind, outcome history.Outcome) int {
	n := 0
	for _, o := range h.Ops {
		if o.Kind == kind && o.Outcome == outcome {
			n++
		}
	}
	return n
}

// finalLooks are the last whole looks by mailbox and node.
func finalLooks(t *testing.T, h *history.History) map[string]map[string]*history.Mailbox {
	t.Helper()
	found := map[string]map[string]*history.Mailbox{}
	for _, o := range h.Ops {
		if o.Kind != history.Read || o.Outcome != history.OK || !o.Mailbox.Final {
			continue
		}
		if found[o.Box] == nil {
			found[o.Box] = map[string]*history.Mailbox{}
		}
		found[o.Box][o.Node] = o.Mailbox
	}
	if len(found) == 0 {
		t.Error("no final reads")
	}
	for name, at := range found {
		if len(at) != 3 {
			t.Errorf("final reads of %s at %d nodes", name, len(at))
		}
	}
	return found
}

// sound demands what must hold of any history: times in order, one session on one node, all numbered.
func sound(t *testing.T, h *history.History) {
	t.Helper()
	type place struct {
		process int
		node    string
	}
	sessions := map[int]place{}
	last := map[int]time.Duration{}
	several := []history.Kind{history.Deliver, history.Accept, history.Notice} // one for each recipient, at the same time
	for _, o := range h.Ops {
		if o.Kind == history.Sink {
			continue // nobody of ours did it
		}
		if o.Return < o.Invoke || o.Invoke < last[o.Process] && !slices.Contains(several, o.Kind) {
			t.Errorf("times of %+v; the process's operation before ended at %v", o, last[o.Process])
		}
		last[o.Process] = o.Return
		if o.Outcome == history.OK && o.Session == 0 && o.Kind != history.Password {
			t.Errorf("no session: %+v", o)
		}
		at := place{o.Process, o.Node}
		if before, ok := sessions[o.Session]; ok && o.Session != 0 && before != at {
			t.Errorf("session %d is at %v and at %v", o.Session, before, at)
		}
		sessions[o.Session] = at
	}
}
