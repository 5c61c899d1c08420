package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// DefaultNodes is how many nodes a new cluster has.
const DefaultNodes = 3

// Options say what to run.
type Options struct {
	Nodes    int       // 1 to 9; 0 for those that Dir holds, or DefaultNodes
	Dir      string    // where everything lives
	Accounts int       // further accounts u000@example.test …, with one password
	Also     string    // further text of each node's configuration
	JSON     bool      // one JSON object on one line instead of the guide
	Bin      string    // the quorumail binary
	Out      io.Writer // the guide, or the JSON object
	Err      io.Writer // progress
}

// Each wait for a node while the cluster starts takes this long at most.
const startTimeout = 60 * time.Second

// stopTimeout is how long nodes may take to stop before they are killed.
const stopTimeout = 10 * time.Second

// Run starts the cluster, says how to use it, and keeps it until ctx ends; then it stops the nodes and returns nil.
func Run(ctx context.Context, o Options) error {
	if o.Accounts < 0 || o.Accounts > 1000 {
		return fmt.Errorf("--accounts is %d: choose 0 to 1000", o.Accounts)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("find the folder %s: %w", o.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the cluster: %w", err)
	}
	release, err := lock(dir)
	if err != nil {
		return err
	}
	defer release()
	l, err := openLayout(dir, o.Nodes)
	if err != nil {
		return err
	}
	l.stop(ctx, stopTimeout) // nodes that a dev left behind that was killed, and that have not noticed yet
	if err := l.checkPorts(); err != nil {
		return err
	}
	err = l.run(ctx, o)
	if ctx.Err() != nil {
		return nil // whatever went wrong did so because it was told to stop
	}
	return err
}

func (l *layout) run(ctx context.Context, o Options) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer l.stop(ctx, stopTimeout)
	progress := newScreen(o.Err)
	progress.say("starting %d nodes in %s", len(l.Nodes), l.dir)
	collect := func(cmd *exec.Cmd) {
		waiting.Go(func() { _ = cmd.Wait() }) // watch tells how the node is; this only lets the kernel forget it
	}
	if err := l.startAll(ctx, o, collect); err != nil {
		return err
	}
	if err := l.makeAccounts(ctx, o.Accounts); err != nil {
		return err
	}
	if err := l.greet(ctx); err != nil {
		return err
	}
	d, err := l.describe(ctx, o.Bin)
	if err != nil {
		return err
	}
	if o.JSON {
		if err := json.NewEncoder(o.Out).Encode(d); err != nil {
			return fmt.Errorf("print the description: %w", err)
		}
		l.watch(ctx, progress, o.Bin, false)
		return nil
	}
	out := newScreen(o.Out)
	out.say("%s", guide(d, l.dir))
	l.watch(ctx, out, o.Bin, true)
	out.say("stopping; the mail stays in %s", l.dir)
	return nil
}

func (l *layout) startAll(ctx context.Context, o Options, started func(*exec.Cmd)) error {
	for i, n := range l.Nodes {
		if err := l.writeConfig(n, o.Also); err != nil {
			return err
		}
		var extra []string
		if !l.Formed {
			var err error
			if extra, err = l.firstStart(ctx, i); err != nil {
				return err
			}
		}
		cmd, err := l.start(o.Bin, n.Name, extra...)
		if err != nil {
			return err
		}
		started(cmd)
		if !l.Formed {
			// Nodes join one by one, each only when the one before it votes.
			if err := l.waitFor(ctx, n.Name, "vote", votes(i+1)); err != nil {
				return err
			}
		}
	}
	for _, n := range l.Nodes {
		if err := l.waitFor(ctx, n.Name, "serve", func(s admin.Status) bool { return s.Ready && votes(len(l.Nodes))(s) }); err != nil {
			return err
		}
	}
	if l.Formed {
		return nil
	}
	l.Formed = true
	return l.save()
}

// firstStart is what a node's very first start needs: found the cluster, or join it.
func (l *layout) firstStart(ctx context.Context, i int) ([]string, error) {
	if _, err := os.Stat(filepath.Join(l.dataDir(l.Nodes[i].Name), "node.json")); err == nil {
		return nil, nil // an earlier run was ended between this node's start and the end of the forming
	}
	if i == 0 {
		return []string{"--init"}, nil
	}
	var inv admin.InviteResponse
	if err := l.client(l.Nodes[0].Name).Call(ctx, "invite", admin.InviteRequest{ValidMinutes: 10}, &inv); err != nil {
		return nil, fmt.Errorf("get an invite for node %s: %w", l.Nodes[i].Name, err)
	}
	return []string{"--join", inv.Token}, nil
}

func votes(n int) func(admin.Status) bool {
	return func(s admin.Status) bool {
		voters := 0
		for _, m := range s.Members {
			if m.Voter {
				voters++
			}
		}
		return voters >= n && s.Leader != ""
	}
}

func (l *layout) describe(ctx context.Context, bin string) (Description, error) {
	first := l.Nodes[0].Name
	d := Description{Accounts: l.Accounts, CA: filepath.Join(l.dataDir(first), "ca.pem"), Bin: bin, Config: l.configPath(first)}
	for _, n := range l.Nodes {
		var st admin.Status
		if err := l.client(n.Name).Call(ctx, "status", admin.Empty{}, &st); err != nil {
			return d, err
		}
		d.Nodes = append(d.Nodes, Node{Name: n.Name, PID: l.pid(n.Name), Leader: st.Leader == n.Name, SMTP: st.Listeners["smtp"], Submission: st.Listeners["submission"],
			Submissions: st.Listeners["submissions"], LMTP: st.Listeners["lmtp"], IMAP: st.Listeners["imap"], IMAPS: st.Listeners["imaps"], POP3: st.Listeners["pop3"],
			POP3S: st.Listeners["pop3s"], Admin: st.Listeners["admin"], Metrics: st.Listeners["metrics"]})
	}
	return d, nil
}

// Restart starts a node of the cluster that a dev runs in dir, waits until it serves, and describes it as one JSON object.
func Restart(ctx context.Context, dir, name, bin string, out io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find the folder %s: %w", dir, err)
	}
	if !locked(dir) {
		return fmt.Errorf("no cluster runs in %s: start it with: %s dev --dir %s", dir, bin, dir)
	}
	l, err := openLayout(dir, 0)
	if err != nil {
		return err
	}
	if _, ok := l.find(name); !ok {
		return fmt.Errorf("%s holds no node %q: there are %s", dir, name, strings.Join(l.names(), ", "))
	}
	cmd, err := l.start(bin, name)
	if err != nil {
		return err
	}
	if err := l.waitFor(ctx, name, "serve", func(s admin.Status) bool { return s.Ready }); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
	}{name, cmd.Process.Pid})
}

func (l *layout) names() []string {
	var names []string
	for _, n := range l.Nodes {
		names = append(names, n.Name)
	}
	return names
}
