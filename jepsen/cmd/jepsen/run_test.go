package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/quorumail/quorumail/jepsen/history"
)

// defaults are the options that the command line has when nothing is said.
func defaults(t *testing.T, args ...string) options {
	t.Helper()
	var o options
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.flags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestShortRun is a whole run with a few faults; what it found is found again by report.
func TestShortRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	bin, dir := buildProgram(t), t.TempDir()
	o := defaults(t, "--bin="+bin, "--out="+dir, "--workload=all", "--nemesis=kill leader,halves,pause one,restart one", "--repeats=1", "--hold=1s", "--processes=2", "--accounts=8")
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	if err := run(t.Context(), cmd, o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	h, err := history.Load(filepath.Join(dir, historyName))
	if err != nil {
		t.Fatal(err)
	}
	ok := map[history.Kind]int{}
	for _, op := range h.Ops {
		if op.Outcome == history.OK {
			ok[op.Kind]++
		}
	}
	for _, k := range []history.Kind{history.Deliver, history.Append, history.Store, history.Expunge, history.Move, history.Read, history.Login, history.Password,
		history.Accept, history.Sink, history.Notice} {
		if ok[k] == 0 {
			t.Errorf("nothing of the kind %s was acknowledged", k)
		}
	}
	if len(h.Faults) < 3 || len(h.Notes) == 0 || h.Run.Seed == 0 {
		t.Errorf("%d faults, %d notes, run %+v", len(h.Faults), len(h.Notes), h.Run)
	}
	for _, name := range []string{resultsName, pageName, "n1.log"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var again bytes.Buffer
	if err := verdict(report(&again, h, dir, time.Minute)); err != nil {
		t.Errorf("judged again: %v", err)
	}
}

func TestReplayHasTheOptionsOfTheRun(t *testing.T) {
	o := defaults(t, "--nemesis=kill leader,pause", "--seed=7", "--repeats=3", "--env=A=b c", "--env=D=e", "--quiet=0.5", "--disk=ext4")
	got, err := again(o.args(), options{bin: "x", out: "y"})
	if err != nil {
		t.Fatal(err)
	}
	if got.bin != "x" || got.out != "y" || strings.Join(got.args(), "|") != strings.Join(o.args(), "|") {
		t.Errorf("got  %q\nwant %q", got.args(), o.args())
	}
	if _, err := again(nil, options{}); err == nil {
		t.Error("a history without arguments")
	}
}

func TestOptionsSayWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"--nodes=6":            "--nodes is 6",
		"--processes=0":        "at least 1",
		"--quiet=1":            "--quiet is 1",
		"--workload=mail":      `no workload "mail"`,
		"--nemesis=earthquake": `no fault "earthquake"`,
		"--bin=/nowhere":       "",
	} {
		o := defaults(t, args)
		if _, _, err := o.parse(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
		if o.seed == 0 && want == "" {
			t.Errorf("%s: no seed", args)
		}
	}
}
