package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/checker"
)

// bite is a deliberately broken build and what shows it.
type bite struct {
	off   string   // the safety measures that are switched off, as QUORUMAIL_BROKEN takes them
	load  string   // workload
	fault string   // nemesis
	more  []string // further arguments of "jepsen run"
	shows string   // a regular expression that fits at least one violation, written as "checker: kind: text"
}

// bites has at least one line for each safety measure that a broken build can switch off. What the checkers saw of each, in several runs:
//
//	switched off            caught by (violations)
//	fsync-log               recovery (nodes refuse to start, for their logs are damaged); when a majority starts: deliver, linearizable, session
//	fsync-log, log-dropped  deliver (lost), imap (uid reused), linearizable, session, hashes; recovery (who votes is forgotten, too: nobody can lead; or an account)
//	fsync-body              recovery (bodies that no node has)
//	dedupe                  deliver (duplicated), linearizable, logs (check finds the body of an email listed for another)
//	barrier-none            session (read your writes), imap (uidnext and highestmodseq fell, returned), linearizable, deliver (stale)
//	barrier-alone           session (read your writes, monotonic reads), imap (the same), linearizable, deliver (stale)
//	quorum-set              recovery (bodies that a majority of the disks lacks)
//	log-dropped             deliver (lost, vanished), imap (uid reused), linearizable, session, hashes
var bites = []bite{
	{off: "fsync-log", load: "deliver", fault: "power loss of all", more: []string{"--repeats=2"}, shows: `^recovery: not whole: .*(damaged|data were lost)`},
	{off: "fsync-log,log-dropped", load: "deliver", fault: "power loss of all", more: []string{"--repeats=4", "--heal=20s"}, shows: `^(deliver: lost|session: |linearizable: |hashes: )|^recovery: not whole: .*(no leader|Wrong address or password)`},
	{off: "fsync-body", load: "deliver", fault: "power loss of all", more: []string{"--repeats=3", "--heal=15s"}, shows: `^recovery: not whole: .*Missing:[1-9]`},
	{off: "dedupe", load: "deliver", fault: "kill leader", more: []string{"--repeats=5", "--quiet=0.5", "--processes=12"}, shows: `^deliver: duplicated`},
	{off: "barrier-none", load: "session", fault: "none", more: []string{"--time=5s"}, shows: `^session: read your writes`},
	{off: "barrier-alone", load: "session", fault: "pause leader until deposed", more: []string{"--repeats=4"}, shows: `^session: |^linearizable: `},
	{off: "quorum-set", load: "deliver", fault: "power loss of all and a disk lost", more: []string{"--repeats=1"}, shows: `^recovery: not whole: .*lacks [1-9]\d* messages`},
	{off: "log-dropped", load: "deliver", fault: "log loses its end", more: []string{"--repeats=1"}, shows: `^deliver: lost`},
}

// biteTries is how often a bite is tried, each time with a fresh seed.
const biteTries = 4

// TestBrokenBuildsAreCaught shows that the harness notices when a promise is broken: each safety measure is switched off in turn, and some
// checker must say so; with the same builds, workloads and faults and everything switched on, none may.
func TestBrokenBuildsAreCaught(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("takes minutes; run without -short")
	case os.Getenv("QUORUMAIL_BITES") != "1":
		t.Skip("takes minutes; QUORUMAIL_BITES=1 runs it")
	case os.Geteuid() != 0:
		t.Skip("partitions and power losses need root")
	}
	brokenBin, wholeBin := buildProgram(t, "-tags=broken"), buildProgram(t)
	for _, name := range switches(t, brokenBin) {
		if !slices.ContainsFunc(bites, func(b bite) bool { return slices.Contains(strings.Split(b.off, ","), name) }) {
			t.Errorf("no bite switches %s off", name)
		}
	}
	for _, b := range bites {
		t.Run(b.off, func(t *testing.T) { b.mustBeCaught(t, brokenBin) })
	}
	t.Run("nothing switched off", func(t *testing.T) { mustPass(t, brokenBin) })
	t.Run("a whole build", func(t *testing.T) { mustPass(t, wholeBin) })
}

// buildProgram builds the program under test.
func buildProgram(t *testing.T, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "quorumail")
	args := append(append([]string{"build", "-o", bin}, flags...), "github.com/quorumail/quorumail/cmd/quorumail")
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return bin
}

// switches asks a broken build what it can switch off: it lists that when it is given a name that is none.
func switches(t *testing.T, bin string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, "--version")
	cmd.Env = append(os.Environ(), "QUORUMAIL_BROKEN=no-such-measure")
	out, err := cmd.CombinedOutput()
	m := regexp.MustCompile(`none of \[([^]]+)\]`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("a broken build does not list what it can switch off: %v\n%s", err, out)
	}
	return strings.Fields(string(m[1]))
}

// mustBeCaught runs the program that lacks a safety measure until a checker says that a promise was broken.
func (b bite) mustBeCaught(t *testing.T, bin string) {
	fits := regexp.MustCompile(b.shows)
	args := append([]string{"--env=QUORUMAIL_BROKEN=" + b.off, "--workload=" + b.load, "--nemesis=" + b.fault}, b.more...)
	for try := range biteTries {
		began := time.Now()
		r := jepsen(t, bin, args...)
		t.Logf("try %d, %v: exit code %d: %s", try+1, time.Since(began).Round(time.Second), r.code, strings.Join(r.kinds(), ", "))
		if r.code == 1 && slices.ContainsFunc(r.violations, fits.MatchString) {
			return
		}
		if r.code != 0 {
			t.Log(r.printed)
		}
	}
	t.Errorf("without %s nothing like %q was found in %d tries", b.off, b.shows, biteTries)
}

// mustPass runs all workloads and faults of the bites, once each, against a program that lacks nothing.
func mustPass(t *testing.T, bin string) {
	var loads, faults []string
	for _, b := range bites {
		loads, faults = append(loads, b.load), append(faults, b.fault)
	}
	slices.Sort(loads)
	slices.Sort(faults)
	r := jepsen(t, bin, "--env=QUORUMAIL_BROKEN=", "--workload="+strings.Join(slices.Compact(loads), ","), "--nemesis="+strings.Join(slices.Compact(faults), ","), "--repeats=1")
	if r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.printed)
	}
}

// outcome is what "jepsen run" ended with.
type outcome struct {
	code       int
	violations []string // as "checker: kind: text"
	printed    string
}

// kinds are the kinds of violations, each once, as "checker: kind".
func (o outcome) kinds() []string {
	var out []string
	for _, v := range o.violations {
		parts := strings.SplitN(v, ": ", 3)
		if kind := parts[0] + ": " + parts[1]; !slices.Contains(out, kind) {
			out = append(out, kind)
		}
	}
	return out
}

// jepsen does "jepsen run".
func jepsen(t *testing.T, bin string, args ...string) outcome {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetArgs(append([]string{"run", "--bin=" + bin, "--out=" + dir, "--hold=1s", "--heal=1m", "--accounts=8", "--processes=8", "--linearizable-time=10s"}, args...))
	err := c.ExecuteContext(t.Context())
	raw, readErr := os.ReadFile(filepath.Join(dir, resultsName))
	if readErr != nil {
		t.Fatalf("the run has no results: %v, %v\n%s", readErr, err, out.String())
	}
	var results []checker.Result
	if err := json.Unmarshal(raw, &results); err != nil {
		t.Fatal(err)
	}
	o := outcome{code: exitCode(err), printed: fmt.Sprintf("%v\n%s", err, out.String())}
	for _, r := range results {
		for _, v := range r.Violations {
			o.violations = append(o.violations, r.Checker+": "+v.Kind+": "+v.Text)
		}
	}
	return o
}
