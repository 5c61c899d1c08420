package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/jepsen/checker"
	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/db"
	"github.com/quorumail/quorumail/jepsen/disk"
	"github.com/quorumail/quorumail/jepsen/history"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/nemesis"
	"github.com/quorumail/quorumail/jepsen/workload"
)

func runCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "run", Short: "Run workloads and faults, and judge what happened", Args: cobra.NoArgs,
		Example: "  jepsen run --workload deliver --nemesis kill,power --time 2m\n  jepsen run --workload all --nemesis \"isolate leader\" --repeats 20 --hold 2s\n" +
			"  jepsen run --cluster mine.toml --fill-mailboxes --workload deliver,session --pause 20ms --time 10m",
		Long: "Run workloads and faults, and judge what happened.\n\n" + ownHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.own.cluster != "" {
				return runOwn(cmd.Context(), cmd, o)
			}
			return run(cmd.Context(), cmd, o)
		}}
	o.flags(c.Flags())
	return c
}

// running is a run under way.
type running struct {
	options
	loads   []workload.Workload
	faults  []nemesis.Fault
	dir     string // of the results
	work    string // of nodes, disks and sockets; removed at the end
	lock    *os.File
	log     *slog.Logger
	file    *os.File
	history *history.Recorder
	lab     *lab.Lab
	cluster *db.Cluster
	remote  remote
	env     *workload.Env
	print   io.Writer
}

// run does one whole run, prints the table and tells by its error how it went.
func run(ctx context.Context, cmd *cobra.Command, o options) error {
	_, err := perform(ctx, cmd.OutOrStdout(), o)
	return err
}

// perform does one whole run and prints the table. The error tells how it went, the results what the checkers found, as far as it came to that.
func perform(ctx context.Context, out io.Writer, o options) (_ []checker.Result, err error) {
	r := &running{options: o, print: out}
	if r.loads, r.faults, err = r.parse(); err != nil {
		return nil, err
	}
	if err := r.open(ctx); err != nil {
		return nil, exitError{3, errors.Join(fmt.Errorf("prepare the run, whose logs are in %q: %w", r.dir, err), r.close())}
	}
	fmt.Fprintf(out, "seed %d, results in %s\n", r.seed, r.dir)
	if err = r.fillMail(ctx); err == nil {
		err = r.drive(ctx)
	}
	err = errors.Join(err, r.close())
	results, reportErr := report(out, r.history.History(), r.dir, r.porcupine)
	return results, verdict(results, errors.Join(err, reportErr))
}

// open makes the lab, the cluster and the accounts.
func (r *running) open(ctx context.Context) (err error) {
	if r.bin, err = program(r.bin); err != nil {
		return fmt.Errorf("look for the program under test (make build makes it, --bin names another): %w", err)
	}
	if r.oldBin != "" {
		if r.oldBin, err = program(r.oldBin); err != nil {
			return fmt.Errorf("look for the old program (--old-bin): %w", err)
		}
	}
	if r.work, r.lock, err = workFolder(os.TempDir()); err != nil {
		return err
	}
	if r.dir = r.out; r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "jepsen-results-"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	if r.file, err = os.Create(filepath.Join(r.dir, historyName)); err != nil {
		return err
	}
	level := slog.LevelWarn
	if r.verbose {
		level = slog.LevelInfo
	}
	r.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	sweepFolders(os.TempDir(), r.log)
	r.history = history.NewRecorder(r.file, history.Run{Seed: r.seed, Workload: loadNames(r.loads), Nemesis: faultNames(r.faults), Nodes: r.nodes, Time: r.time, Args: r.args(), Version: version(ctx, r.bin)})
	places, err := namespaces(r.options.lab)
	if err != nil {
		return err
	}
	if r.lab, err = lab.New(lab.Config{Nodes: r.nodes, Namespaces: places, Seed: r.seed, Logger: r.log}); err != nil {
		return err
	}
	if err := r.openRemote(ctx); err != nil {
		return err
	}
	r.cluster, err = db.New(db.Config{Bin: r.bin, Dir: r.work, Lab: r.lab, History: r.history, Logger: r.log, Env: r.options.env, LogStore: r.logStore, Volume: r.volume,
		NameServer: r.remote.nameServer(), RemotePort: sitePort})
	if err != nil {
		return err
	}
	setup, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := r.cluster.Setup(setup); err != nil {
		return err
	}
	return r.populate(setup)
}

// program is the absolute path of a program that exists.
func program(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	return path, err
}

// volume makes a node's disk.
func (r *running) volume(name string) (disk.Volume, error) {
	kind := disk.Kind(r.disk)
	if r.disk == "auto" {
		kind = disk.FaultFS
		if err := disk.Supported(kind); err != nil {
			r.log.Warn("disks cannot lose power or fail here", "err", err)
			kind = disk.Plain
		}
	}
	h := fnv.New64a()
	h.Write([]byte(name)) // what survives differs from node to node
	return disk.New(disk.Config{Kind: kind, Dir: filepath.Join(r.work, name, "disk"), SizeBytes: 2<<30 + 2*int64(r.fill), Seed: r.seed ^ h.Sum64()})
}

func namespaces(name string) (lab.Namespaces, error) {
	switch name {
	case "auto":
		return lab.Auto, nil
	case "namespaces":
		return lab.Always, nil
	case "loopback":
		return lab.Never, nil
	}
	return 0, fmt.Errorf("--lab is %q: choose namespaces, loopback or auto", name)
}

// populate makes accounts and what the workloads need.
func (r *running) populate(ctx context.Context) error {
	r.env = &workload.Env{Nodes: r.cluster.Clients, Dialer: r.lab, Admin: r.admin, History: r.history, Seed: r.seed, Log: r.log, Pause: r.pause,
		FinalWait: min(r.heal, 3*time.Minute) + r.time/2, Elsewhere: r.remote.domains}
	admin := r.cluster.Nodes()[0].Admin()
	if err := admin.AddDomain(ctx, "example.test"); err != nil {
		return err
	}
	for i := range r.accounts {
		a := workload.Account{Address: fmt.Sprintf("u%d@example.test", i), Password: fmt.Sprintf("mật khẩu %d", i)}
		if err := admin.AddAccount(ctx, a.Address, a.Password); err != nil {
			return err
		}
		r.env.Accounts = append(r.env.Accounts, a)
	}
	for _, w := range r.loads {
		if err := w.Setup(ctx, r.env); err != nil {
			return fmt.Errorf("prepare %s: %w", w.Name(), err)
		}
	}
	return nil
}

func (r *running) admin(name string) *client.Admin {
	n, err := r.cluster.Node(name)
	if err != nil {
		n = r.cluster.Nodes()[0] // it left; any other does
	}
	return n.Admin()
}

// drive lets clients and nemesis run, heals, and reads everything.
func (r *running) drive(ctx context.Context) error {
	limit := r.time
	if r.repeats > 0 {
		limit = 24 * time.Hour // the repeats end it
	}
	clients, stop := context.WithTimeout(ctx, limit)
	defer stop()
	var wg sync.WaitGroup
	for i, w := range r.loads {
		for p := range r.processes {
			wg.Go(func() { w.Process(clients, r.env, i*r.processes+p) })
		}
	}
	t := &nemesis.Target{Cluster: r.cluster, Lab: r.lab, Rand: rand.New(rand.NewPCG(r.seed, 1)), History: r.history, Logger: r.log, OldBin: r.oldBin,
		DNS: r.remote.dns, Sites: r.remote.sites}
	err := nemesis.Run(clients, t, r.faults, nemesis.Schedule{Hold: r.hold, Quiet: r.quiet, Heal: r.heal, Most: r.most, Repeats: r.repeats, Pairs: r.pairs, Lead: r.lead})
	if r.repeats > 0 || err != nil {
		stop()
	}
	wg.Wait()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: what was recorded until then is kept, and says nothing about loss")
	}
	return r.final(ctx)
}

// final reads everything everywhere.
func (r *running) final(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute+r.time) // what took an hour to write takes time to read
	defer cancel()
	replaced, err := r.cluster.Heal(ctx)
	if len(replaced) > 0 {
		err = errors.Join(err, fmt.Errorf("data were lost at %s, after all faults were healed", strings.Join(replaced, ", ")))
	}
	if err != nil {
		r.unhealed(err)
		return fmt.Errorf("the cluster is not whole in the end: %w", err)
	}
	if nodes, known := r.cluster.Nodes(), r.cluster.Clients(); len(known) < len(nodes) {
		return fmt.Errorf("only %d of %d nodes can be read: the others' certificates are not known", len(known), len(nodes))
	}
	var errs []error
	if len(r.env.Elsewhere) > 0 {
		if err := workload.Drain(ctx, r.env); err != nil {
			return err
		}
	}
	for _, w := range r.loads {
		if err := w.Final(ctx, r.env); err != nil {
			err = fmt.Errorf("read everything of %s: %w", w.Name(), err)
			errs = append(errs, err)
			if client.IsRefusal(err) {
				r.unhealed(err) // a cluster that is whole does not show what it has: that is no fault of the run
			}
		}
	}
	return errors.Join(append(errs, r.compare(ctx))...)
}

// unhealed notes what is not as it should be though all faults were healed.
func (r *running) unhealed(err error) {
	r.history.Note(history.Note{At: r.history.Now(), Kind: "unhealed", Text: "in the end: " + err.Error()})
}

// compare notes every node's state hash at an index that all have in common, and lets each verify its own copy.
func (r *running) compare(ctx context.Context) error {
	for {
		hashes := map[string]client.StateHash{}
		indexes := map[uint64]bool{}
		for _, n := range r.cluster.Nodes() {
			h, err := n.Admin().StateHash(ctx)
			if err != nil {
				return fmt.Errorf("state hash of %s: %w", n.Name(), err)
			}
			hashes[n.Name()], indexes[h.Index] = h, true
		}
		if len(indexes) == 1 {
			for name, h := range hashes {
				r.history.Note(history.Note{At: r.history.Now(), Node: name, Kind: "hash", Index: h.Index, Text: h.Hash})
			}
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the nodes are never at one index: %v", hashes)
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, n := range r.cluster.Nodes() {
		err := n.Admin().Check(ctx)
		if err != nil && !client.IsRefusal(err) {
			return fmt.Errorf("let %s verify its copy: %w", n.Name(), err)
		}
		if err != nil {
			r.history.Note(history.Note{At: r.history.Now(), Node: n.Name(), Kind: "log", Text: "invariant: check says: " + err.Error()})
		}
	}
	return nil
}

// close keeps the logs, and ends and removes everything that the run made, but its results.
func (r *running) close() error {
	var errs []error
	if r.cluster != nil {
		errs = append(errs, r.cluster.CollectLogs(r.dir), r.cluster.Close())
	}
	errs = append(errs, r.remote.close())
	if r.lab != nil {
		errs = append(errs, r.lab.Close())
	}
	if r.history != nil {
		errs = append(errs, r.history.Flush())
	}
	if r.file != nil {
		errs = append(errs, r.file.Close())
	}
	if r.work != "" {
		errs = append(errs, os.RemoveAll(r.work))
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}

func loadNames(ws []workload.Workload) (out []string) {
	for _, w := range ws {
		out = append(out, w.Name())
	}
	return out
}

func faultNames(fs []nemesis.Fault) (out []string) {
	for _, f := range fs {
		out = append(out, f.Name)
	}
	return out
}
