package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

func TestExampleOfAClusterIsGood(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(ownExample, `ca          = "ca.pem"`, "", 1))
	nodes, accounts, err := readOwn(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 || nodes[0].AdminPath != filepath.Join(dir, "admin.token") || nodes[0].TLS.ServerName != "mx1.example.org" ||
		nodes[1].TLS.ServerName != "mx2.example.org" || nodes[1].AdminPath != "" || len(accounts) != 1 || accounts[0].Address != "jepsen1@example.org" {
		t.Errorf("got %+v, %+v", nodes, accounts)
	}
	for change, want := range map[string]string{
		"":                             "ca.pem",
		"smtp = / smpt = ":             "smpt",
		":993/":                        "imaps",
		`name        = "n2"/name="n1"`: "no other node",
		`admin_token = "admin.token"/`: "go together",
		"jepsen1@example.org/jepsen1":  "must be an address",
	} {
		text := strings.Replace(ownExample, "smtp        =", "smtp =", 1)
		if from, to, ok := strings.Cut(change, "/"); ok {
			text = strings.Replace(text, from, to, 1)
		}
		write(text)
		if _, _, err := readOwn(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", change, err)
		}
	}
}

func TestTypedFaults(t *testing.T) {
	h := history.NewRecorder(nil, history.Run{})
	var out bytes.Buffer
	typist := &typed{history: h, nodes: []string{"n1", "n2"}, out: &out}
	ended := typist.read(strings.NewReader("fault n1,n2 pulled the plug\nfault switch restarted\nfault n2\nhealed n1\nwhat\nnote it smokes\n\nend\nnote not read\n"))
	typist.close()
	got := h.History()
	if !ended || len(got.Faults) != 3 || len(got.Notes) != 1 || got.Notes[0].Text != "it smokes" || !strings.Contains(out.String(), "not understood") {
		t.Fatalf("ended %v, %+v, %+v\n%s", ended, got.Faults, got.Notes, out.String())
	}
	for i, want := range []history.Fault{{Name: "pulled the plug", Nodes: []string{"n1", "n2"}, Detail: "typed"},
		{Name: "switch restarted", Detail: "typed; nobody said that it was healed"}, {Name: "fault", Nodes: []string{"n2"}, Detail: "typed; nobody said that it was healed"}} {
		if f := got.Faults[i]; f.Name != want.Name || fmt.Sprint(f.Nodes) != fmt.Sprint(want.Nodes) || f.Detail != want.Detail || f.End < f.Start || f.Start <= 0 {
			t.Errorf("fault %d is %+v", i, f)
		}
	}
	if typist.read(strings.NewReader("healed\n")) {
		t.Error("the end of what is typed is no end of the run")
	}
}

// devCluster is a cluster that runs already, as "quorumail dev" describes it.
type devCluster struct {
	bin, dir string
	Nodes    []struct {
		Name, SMTP, Submissions, IMAPS, Admin string
		PID                                   int
	}
	Accounts []struct{ Address, Password string }
	CA       string
}

func startDev(t *testing.T) *devCluster {
	t.Helper()
	c := &devCluster{bin: buildProgram(t), dir: t.TempDir()}
	cmd := exec.Command(c.bin, "dev", "--nodes", "3", "--accounts", "4", "--dir", c.dir, "--json")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, c)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	return c
}

// file writes about the cluster, with the accounts from the given one on.
func (c *devCluster) file(t *testing.T, from int) string {
	t.Helper()
	var b strings.Builder
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "[[node]]\nname=%q\nsmtp=%q\nsubmissions=%q\nimaps=%q\nserver_name=%q\nca=%q\nadmin=%q\nadmin_token=%q\n", n.Name, n.SMTP, n.Submissions, n.IMAPS,
			n.Name+".example.test", c.CA, n.Admin, filepath.Join(c.dir, n.Name, "data", "admin.token"))
	}
	for _, a := range c.Accounts[from:] {
		fmt.Fprintf(&b, "[[account]]\naddress=%q\npassword=%q\n", a.Address, a.Password)
	}
	path := filepath.Join(t.TempDir(), "cluster.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runJepsen runs the command "run" as main does.
func runJepsen(t *testing.T, in io.Reader, args ...string) (string, error) {
	t.Helper()
	cmd := runCommand()
	var out lockedBuffer
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.b.String(), err
}

// lockedBuffer is for what several goroutines print.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestClusterOfOnesOwn: the run works on a cluster that somebody else started, while somebody else kills a node.
func TestClusterOfOnesOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	c := startDev(t)
	refusals := []struct {
		args []string
		want string
	}{
		{[]string{"--cluster", c.file(t, 2)}, "--fill-mailboxes"},
		{[]string{"--cluster", c.file(t, 0), "--fill-mailboxes"}, "--among-other-mail"}, // dev greets the first accounts
		{[]string{"--cluster", c.file(t, 2), "--fill-mailboxes", "--nemesis", "kill"}, "are yours"},
		{[]string{"--cluster", c.file(t, 2), "--fill-mailboxes", "--workload", "deliver,accounts"}, "settings"},
		{[]string{"--cluster", c.file(t, 2), "--fill-mailboxes", "--workload", "deliver,queue-remote"}, "the harness's own sites"},
	}
	for _, r := range refusals {
		if out, err := runJepsen(t, strings.NewReader(""), append(r.args, "--out", t.TempDir())...); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%v: %v\n%s", r.args, err, out)
		}
	}
	for range 2 { // the second finds the mail of the first
		c.oneRun(t)
	}
}

// restart starts a node that was killed. Its process may not have been collected yet, which counts as running, or not have let go of its files.
func (c *devCluster) restart(node string) ([]byte, error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		var errs bytes.Buffer
		cmd := exec.Command(c.bin, "dev", "restart", node, "--dir", c.dir)
		cmd.Stderr = &errs
		raw, err := cmd.Output()
		if err == nil {
			return raw, nil
		}
		ending := strings.Contains(errs.String(), "runs already") || strings.Contains(errs.String(), "resource temporarily unavailable")
		if !ending || time.Now().After(deadline) {
			return nil, fmt.Errorf("%w: %s", err, errs.String())
		}
	}
}

// oneRun kills n2 during a run, starts it again, and looks at what the run says.
func (c *devCluster) oneRun(t *testing.T) {
	t.Helper()
	in, typing := io.Pipe()
	dir := t.TempDir()
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := runJepsen(t, in, "--cluster", c.file(t, 2), "--fill-mailboxes", "--workload", "deliver,session", "--processes", "3", "--pause", "10ms", "--time", "5m", "--out", dir)
		in.Close() // also when it failed early: nobody shall wait for a reader
		ended <- result{out, err}
	}()
	say := func(line string) { _, _ = fmt.Fprintln(typing, line) } // that the run ended early is told by its result
	say("note the first line is read when the clients work")
	time.Sleep(time.Second) // clients work undisturbed for a while
	say("fault n2 killed")
	pid := c.Nodes[1].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	raw, err := c.restart("n2")
	if err == nil {
		err = json.Unmarshal(raw, &c.Nodes[1])
	}
	if err != nil || c.Nodes[1].PID == pid {
		t.Errorf("restart: %v, %s", err, raw)
	}
	say("healed")
	time.Sleep(time.Second) // clients see it back
	say("end")
	r := <-ended
	t.Log(r.out)
	if r.err != nil {
		t.Fatal(r.err)
	}
	h, err := history.Load(filepath.Join(dir, historyName))
	if err != nil {
		t.Fatal(err)
	}
	c.look(t, h)
	for _, want := range []string{"deliver        passed", "session        passed", "hashes         passed", "killed      "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the table does not say %q", want)
		}
	}
	if page, err := os.ReadFile(filepath.Join(dir, pageName)); err != nil || !bytes.Contains(page, []byte("killed")) {
		t.Errorf("the page does not tell of the fault: %v", err)
	}
}

func (c *devCluster) look(t *testing.T, h *history.History) {
	t.Helper()
	if len(h.Faults) != 1 || h.Faults[0].Name != "killed" || fmt.Sprint(h.Faults[0].Nodes) != "[n2]" || h.Faults[0].End <= h.Faults[0].Start {
		t.Fatalf("faults %+v", h.Faults)
	}
	during, after := 0, 0
	finals := map[string]bool{}
	for _, o := range h.Ops {
		switch {
		case o.Outcome != history.OK:
		case o.Kind == history.Read && o.Mailbox.Final:
			finals[o.Node] = true
		case o.Kind == history.Deliver && o.Return > h.Faults[0].End:
			after++
		case o.Kind == history.Deliver && o.Return > h.Faults[0].Start:
			during++
		}
	}
	if during == 0 || after == 0 || len(finals) != 3 {
		t.Errorf("%d deliveries in the fault, %d after it, final reads at %v", during, after, finals)
	}
}
