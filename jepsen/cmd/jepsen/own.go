package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/workload"
)

// ownHelp is of "jepsen run".
const ownHelp = `Without --cluster, run makes a cluster of its own in network namespaces, causes the faults, and removes it all.

With --cluster FILE, clients work on a cluster that runs already, from this machine, without root and without touching the nodes. The faults are yours:
pull plugs, restart nodes, and type what you do, so that it stands in the history, the table and the page. FILE names the nodes and some accounts that
were made for the test ("jepsen list --cluster-example" shows one). Their mailboxes fill up, which --fill-mailboxes must allow; accounts whose INBOX
holds mail of others are refused. The workload "accounts" is left out, for it would change settings of the cluster, and so is "queue-remote", for the
cluster does not send to the harness's sites; "resend" has local recipients only.`

// ownOptions are those of a run on a cluster of the administrator's own.
type ownOptions struct {
	cluster  string
	consent  bool
	anyInbox bool
}

func (o *ownOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.cluster, "cluster", "", "file about a cluster that runs already, to work on instead of one made for the run")
	f.BoolVar(&o.consent, "fill-mailboxes", false, "with --cluster: yes, the mailboxes of its accounts may fill up with the test's mail")
	f.BoolVar(&o.anyInbox, "among-other-mail", false, "with --cluster: also when an INBOX holds mail that is not of such runs")
}

// own is a run on such a cluster.
type own struct {
	options
	cmd      *cobra.Command
	loads    []workload.Workload
	nodes    []client.Node
	accounts []workload.Account
	history  *history.Recorder
	env      *workload.Env
}

// runOwn does one whole run on a cluster of the administrator's own.
func runOwn(ctx context.Context, cmd *cobra.Command, opts options) (err error) {
	r := &own{options: opts, cmd: cmd}
	if err := r.check(); err != nil {
		return err
	}
	if r.out == "" {
		if r.out, err = os.MkdirTemp("", "jepsen-results-"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(r.out, historyName))
	if err != nil {
		return err
	}
	defer f.Close()
	r.history = history.NewRecorder(f, history.Run{Seed: r.seed, Workload: loadNames(r.loads), Nemesis: []string{"the administrator"}, Nodes: len(r.nodes), Time: r.time,
		Args: r.args(), Version: r.version(ctx)})
	fmt.Fprintf(cmd.OutOrStdout(), "seed %d, results in %s\n", r.seed, r.out)
	if err := r.prepare(ctx); err != nil {
		return exitError{3, err}
	}
	err = r.drive(ctx)
	err = errors.Join(err, r.history.Flush())
	results, reportErr := report(cmd.OutOrStdout(), r.history.History(), r.out, r.porcupine)
	return verdict(results, errors.Join(err, reportErr))
}

// check looks at the options and reads the file.
func (r *own) check() (err error) {
	if r.cmd.Flags().Changed("nemesis") || r.cmd.Flags().Changed("repeats") || r.fill > 0 {
		return errors.New("--nemesis, --repeats and --fill do not go with --cluster: the faults on a cluster of your own are yours")
	}
	if r.loads, _, err = r.parse(); err != nil {
		return err
	}
	if r.nodes, r.accounts, err = readOwn(r.own.cluster); err != nil {
		return err
	}
	r.loads = slices.DeleteFunc(r.loads, func(w workload.Workload) bool {
		return (w.Name() == "accounts" || needsSites(w)) && r.workloads == "all"
	})
	if slices.Contains(loadNames(r.loads), "accounts") {
		return errors.New("the workload accounts changes settings of the cluster, which stay: it is not for a cluster of your own")
	}
	if slices.ContainsFunc(r.loads, needsSites) {
		return errors.New("the workload queue-remote is about mail to the harness's own sites: it is not for a cluster of your own")
	}
	if !r.own.consent {
		return fmt.Errorf("the mailboxes of %d accounts, %s and so on, would fill up: allow it with --fill-mailboxes", len(r.accounts), r.accounts[0].Address)
	}
	return nil
}

// version is what the first node with an administrator's listener says.
func (r *own) version(ctx context.Context) string {
	for _, n := range r.nodes {
		if a := r.admin(n.Name); a != nil {
			if st, err := a.Status(ctx); err == nil {
				return st.Version
			}
		}
	}
	return "unknown"
}

// admin is nil for a node whose administrator's listener the file does not name.
func (r *own) admin(name string) *client.Admin {
	for _, n := range r.nodes {
		if n.Name == name && n.Admin != "" {
			return client.NewAdmin(client.Options{Dialer: &net.Dialer{}}, n)
		}
	}
	return nil
}

// prepare makes sure that every account can be used at every node, and makes what the workloads need.
func (r *own) prepare(ctx context.Context) error {
	level := slog.LevelWarn
	if r.verbose {
		level = slog.LevelDebug
	}
	r.env = &workload.Env{Nodes: func() []client.Node { return r.nodes }, Dialer: &net.Dialer{}, Admin: r.admin, History: r.history, Seed: r.seed, Accounts: r.accounts,
		Pause: r.pause, Log: slog.New(slog.NewTextHandler(r.cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))}
	ctx, cancel := context.WithTimeout(ctx, r.heal)
	defer cancel()
	for i, a := range r.accounts {
		if err := r.mayFill(ctx, r.nodes[i%len(r.nodes)], a); err != nil {
			return err
		}
	}
	if err := r.awaitNodes(ctx); err != nil {
		return err
	}
	for _, w := range r.loads {
		if err := w.Setup(ctx, r.env); err != nil {
			return fmt.Errorf("prepare %s: %w", w.Name(), err)
		}
	}
	return nil
}

// mayFill refuses an account whose INBOX holds what no run sent.
func (r *own) mayFill(ctx context.Context, n client.Node, a workload.Account) error {
	c, err := client.DialIMAP(ctx, client.Options{Dialer: &net.Dialer{}}, n, a.Address, a.Password)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Address, err)
	}
	defer c.Close()
	box, err := c.Look(ctx, "INBOX")
	if err != nil {
		return fmt.Errorf("look at the INBOX of %s: %w", a.Address, err)
	}
	others := 0
	for _, m := range box.Messages {
		if m.ID == "" {
			others++
		}
	}
	if others > 0 && !r.own.anyInbox {
		return fmt.Errorf("the INBOX of %s holds %d messages that no such run sent: name accounts that were made for the test (or say --among-other-mail)", a.Address, others)
	}
	return nil
}

// awaitNodes waits until every node lets an account log in, and, where it can be asked, says that it is ready and lacks no body.
func (r *own) awaitNodes(ctx context.Context) error {
	for _, n := range r.nodes {
		for {
			err := r.serves(ctx, n)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s does not serve: %w", n.Name, err)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return nil
}

func (r *own) serves(ctx context.Context, n client.Node) error {
	c, err := client.DialIMAP(ctx, client.Options{Dialer: &net.Dialer{}}, n, r.accounts[0].Address, r.accounts[0].Password)
	if err != nil {
		return err
	}
	c.Close()
	a := r.admin(n.Name)
	if a == nil {
		return nil
	}
	st, err := a.Status(ctx)
	if err == nil && (!st.Ready || st.Missing > 0) {
		err = fmt.Errorf("it is not whole: %d bodies are missing; %s", st.Missing, st.NotReady)
	}
	return err
}

// drive lets clients work while the administrator types, and reads everything in the end.
func (r *own) drive(ctx context.Context) error {
	fmt.Fprintf(r.cmd.OutOrStdout(), "clients work for %v\n%s", r.time, typedHelp)
	clients, stop := context.WithTimeout(ctx, r.time)
	defer stop()
	t := &typed{history: r.history, out: r.cmd.OutOrStdout()}
	for _, n := range r.nodes {
		t.nodes = append(t.nodes, n.Name)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if t.read(interruptible(clients, r.cmd.InOrStdin())) {
			stop()
		}
	})
	for i, w := range r.loads {
		for p := range r.processes {
			wg.Go(func() { w.Process(clients, r.env, i*r.processes+p) })
		}
	}
	wg.Wait()
	t.close()
	if ctx.Err() != nil {
		return errors.New("interrupted: what was recorded until then is kept, and says nothing about loss")
	}
	return r.final(ctx)
}

// final waits until all nodes serve, and reads everything everywhere.
func (r *own) final(ctx context.Context) error {
	fmt.Fprintln(r.cmd.OutOrStdout(), "reading everything at every node")
	ctx, cancel := context.WithTimeout(ctx, 2*r.heal)
	defer cancel()
	whole, cancelWhole := context.WithTimeout(ctx, r.heal)
	defer cancelWhole()
	if err := r.awaitNodes(whole); err != nil {
		r.history.Note(history.Note{At: r.history.Now(), Kind: "unhealed", Text: "in the end: " + err.Error()})
		return err
	}
	for _, w := range r.loads {
		if err := w.Final(ctx, r.env); err != nil {
			return fmt.Errorf("read everything of %s: %w", w.Name(), err)
		}
	}
	r.compare(ctx)
	return nil
}

// compareTries is how often nodes are asked for state hashes: while other mail comes in they are hardly ever at one index.
const compareTries = 20

// compare notes the state hashes of all nodes at one index, if all can be asked and are ever at one.
func (r *own) compare(ctx context.Context) {
	why := "not every node has an admin address in the file"
	for range compareTries {
		hashes := map[string]client.StateHash{}
		indexes := map[uint64]bool{}
		for _, n := range r.nodes {
			a := r.admin(n.Name)
			if a == nil {
				break
			}
			h, err := a.StateHash(ctx)
			if err != nil {
				why = strings.TrimSpace(err.Error())
				break
			}
			hashes[n.Name], indexes[h.Index] = h, true
		}
		if len(hashes) == len(r.nodes) && len(indexes) == 1 {
			for name, h := range hashes {
				r.history.Note(history.Note{At: r.history.Now(), Node: name, Kind: "hash", Index: h.Index, Text: h.Hash})
			}
			return
		}
		if len(hashes) == len(r.nodes) {
			why = "the nodes were never at one index"
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.history.Note(history.Note{At: r.history.Now(), Kind: "info", Text: "state hashes were not compared: " + why})
}
