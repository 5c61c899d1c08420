package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/quorumail/quorumail/jepsen/nemesis"
	"github.com/quorumail/quorumail/jepsen/workload"
)

// options are what a run is told.
type options struct {
	bin, oldBin string
	out         string
	workloads   string
	faults      string
	seed        uint64
	time        time.Duration
	nodes       int
	processes   int
	accounts    int
	disk        string
	lab         string
	logStore    string
	env         []string
	hold        time.Duration
	quiet       float64
	heal        time.Duration
	most        int
	repeats     int
	pairs       bool
	porcupine   time.Duration
	verbose     bool
	fill        size
	pause       time.Duration
	lead        time.Duration
	own         ownOptions
}

func (o *options) flags(f *pflag.FlagSet) {
	f.StringVar(&o.bin, "bin", "bin/quorumail", "the program under test")
	f.StringVar(&o.oldBin, "old-bin", "", "an earlier version of it, for upgrades")
	f.StringVar(&o.out, "out", "", "folder for history, report and logs (default: a new one under /tmp)")
	f.StringVar(&o.workloads, "workload", "all", "workloads, separated by commas; see list")
	f.StringVar(&o.faults, "nemesis", "all", "faults or groups of faults, separated by commas; see list")
	f.Uint64Var(&o.seed, "seed", 0, "repeats what is random; 0: a fresh one, which is printed")
	f.DurationVar(&o.time, "time", time.Minute, "how long clients and nemesis run")
	f.IntVar(&o.nodes, "nodes", 3, "nodes, 1 to 5")
	f.IntVar(&o.processes, "processes", 6, "clients of each workload")
	f.IntVar(&o.accounts, "accounts", 60, "accounts")
	f.StringVar(&o.disk, "disk", "auto", "disks of the nodes: faultfs, ext4, xfs, plain, or auto: faultfs where FUSE works, else plain")
	f.StringVar(&o.lab, "lab", "auto", "where the nodes run: namespaces (root), loopback, or auto")
	f.StringVar(&o.logStore, "log-store", "wal", "raft.log_store of the nodes")
	f.StringArrayVar(&o.env, "env", nil, "NAME=VALUE for the nodes' processes")
	f.DurationVar(&o.hold, "hold", 5*time.Second, "how long a fault lasts, about")
	f.Float64Var(&o.quiet, "quiet", 0.25, "share of the time without faults, about")
	f.DurationVar(&o.heal, "heal", 5*time.Minute, "how long the cluster may take to be whole after a fault")
	f.IntVar(&o.most, "most", 2, "faults at once")
	f.IntVar(&o.repeats, "repeats", 0, "cause every chosen fault in turn, so many times, instead of at random until the time is over")
	f.BoolVar(&o.pairs, "pairs", false, "cause every chosen fault once alone, then every pair of them that may come together, until the time is over")
	f.DurationVar(&o.porcupine, "linearizable-time", time.Minute, "how long the checker of linearizability may think")
	f.BoolVar(&o.verbose, "verbose", false, "log every fault and every step")
	f.Var(&o.fill, "fill", "how much mail the cluster holds before the clients start, such as 2GiB")
	f.DurationVar(&o.pause, "pause", 0, "how long a client waits between two operations, about")
	o.own.flags(f)
	f.DurationVar(&o.lead, "lead", 0, "how long the clients work before the first fault (default: half of --hold)")
}

// parse checks the options and finds what they name.
func (o *options) parse() ([]workload.Workload, []nemesis.Fault, error) {
	faults, err := nemesis.Parse(o.faults)
	if err != nil {
		return nil, nil, err
	}
	var loads []workload.Workload
	for name := range strings.SplitSeq(o.workloads, ",") {
		if name == "all" {
			loads = append(loads, workload.All()...)
			continue
		}
		w := workload.ByName(strings.TrimSpace(name))
		if w == nil {
			return nil, nil, fmt.Errorf("there is no workload %q: see jepsen list", name)
		}
		loads = append(loads, w)
	}
	if o.nodes < 1 || o.nodes > 5 {
		err = errors.Join(err, fmt.Errorf("--nodes is %d: choose 1 to 5", o.nodes))
	}
	if o.processes < 1 || o.accounts < 1 {
		err = errors.Join(err, errors.New("--processes and --accounts must be at least 1"))
	}
	if o.heal <= 0 {
		err = errors.Join(err, fmt.Errorf("--heal is %v: it must be more than 0", o.heal))
	}
	if o.quiet < 0 || o.quiet >= 1 {
		err = errors.Join(err, fmt.Errorf("--quiet is %v: choose 0 or more, and less than 1", o.quiet))
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()>>1 + 1
	}
	return loads, faults, err
}

// args are what "jepsen run" has to be told to repeat the run.
func (o *options) args() []string {
	out := []string{"--workload=" + o.workloads, "--nemesis=" + o.faults, fmt.Sprintf("--seed=%d", o.seed), fmt.Sprintf("--time=%v", o.time), fmt.Sprintf("--nodes=%d", o.nodes),
		fmt.Sprintf("--processes=%d", o.processes), fmt.Sprintf("--accounts=%d", o.accounts), "--disk=" + o.disk, "--lab=" + o.lab, "--log-store=" + o.logStore,
		fmt.Sprintf("--hold=%v", o.hold), fmt.Sprintf("--quiet=%v", o.quiet), fmt.Sprintf("--heal=%v", o.heal), fmt.Sprintf("--most=%d", o.most), fmt.Sprintf("--repeats=%d", o.repeats), fmt.Sprintf("--pairs=%v", o.pairs)}
	out = append(out, "--fill="+o.fill.String(), fmt.Sprintf("--pause=%v", o.pause), fmt.Sprintf("--lead=%v", o.lead))
	if o.own.cluster != "" {
		out = append(out, "--cluster="+o.own.cluster)
	}
	for _, e := range o.env {
		out = append(out, "--env="+e)
	}
	return out
}
