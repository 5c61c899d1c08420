package dev

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/config"
)

func TestPlanIsKept(t *testing.T) {
	dir := t.TempDir()
	l, err := openLayout(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, n := range l.Nodes {
		for _, name := range portNames {
			if port := n.Ports[name]; port == 0 || seen[port] {
				t.Errorf("port %d of %s at %s", port, name, n.Name)
			} else {
				seen[port] = true
			}
		}
	}
	again, err := openLayout(dir, 0)
	if err != nil || !reflect.DeepEqual(again, l) {
		t.Errorf("read back %+v, %v, want %+v", again, err, l)
	}
	// A plan of a version that knew fewer listeners gets the ports that it lacks, and keeps the others.
	kept := l.Nodes[0].Ports["imap"]
	delete(l.Nodes[0].Ports, "metrics")
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	if again, err = openLayout(dir, 2); err != nil || again.Nodes[0].Ports["metrics"] == 0 || again.Nodes[0].Ports["imap"] != kept {
		t.Errorf("an older plan: %+v, %v", again, err)
	}
	if _, err := openLayout(dir, 3); err == nil || !strings.Contains(err.Error(), "leave --nodes out") {
		t.Errorf("another number of nodes: %v", err)
	}
}

func TestWrittenConfigurationIsGood(t *testing.T) {
	l, err := openLayout(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.writeConfig(l.Nodes[0], "\n[dns]\nservers = \"127.0.0.1\"\n"); err != nil {
		t.Fatal(err)
	}
	if err := config.Check(l.configPath("n1"), time.Now()); err != nil {
		t.Error(err)
	}
	c, err := config.Load(l.configPath("n1"))
	if err != nil || !c.InsecureLoopbackAuth || c.DataDir != l.dataDir("n1") {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOneDevForEachFolder(t *testing.T) {
	dir := t.TempDir()
	if locked(dir) {
		t.Error("locked before anybody did so")
	}
	release, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !locked(dir) {
		t.Error("not locked")
	}
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "runs in "+dir+" already, as process ") {
		t.Errorf("a second lock: %v", err)
	}
	release()
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	again()
}

// A node ends when whoever holds the lock does, and not before.
func TestFollowEndsWithTheLock(t *testing.T) {
	dir := t.TempDir()
	release, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, lockName)
	ctx, err := Follow(t.Context(), path, func() {})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
		t.Fatal("ended while the lock was held")
	case <-time.After(50 * time.Millisecond): // it must not end; more time would only find more
	}
	release()
	<-ctx.Done()
	if next, err := lock(dir); err != nil {
		t.Errorf("the follower keeps the lock: %v", err)
	} else {
		next()
	}
	parent, cancel := context.WithCancel(t.Context())
	cancel()
	if ctx, err := Follow(parent, path, func() {}); err != nil || ctx.Err() == nil {
		t.Errorf("a context that was over already: %v, %v", ctx.Err(), err)
	}
	if _, err := Follow(t.Context(), filepath.Join(dir, "none"), func() {}); err == nil {
		t.Error("no lock file, and no error")
	}
}

func TestGuideSendsAndReadsWhereTheLeaderIsNot(t *testing.T) {
	d := Description{Bin: "/bin/quorumail", Config: "/x/n1/node.toml", Accounts: []Account{{"an@example.test", "p1"}, {"binh@example.test", "p2"}, {"u000@example.test", "p3"}}}
	for _, name := range []string{"n1", "n2", "n3"} {
		d.Nodes = append(d.Nodes, Node{Name: name, PID: 100 + int(name[1]-'0'), Submission: name + "-submission", IMAP: name + "-imap"})
	}
	for i := range d.Nodes {
		for j := range d.Nodes {
			d.Nodes[j].Leader = i == j
		}
		text, leader := lines(d, d.Nodes[(i+1)%3], d.Nodes[(i+2)%3], d.Nodes[i]), d.Nodes[i].Name
		all := guide(d, "/x")
		for _, line := range strings.Split(all, "\n") {
			if strings.Contains(line, "curl") && strings.Contains(line, leader+"-") {
				t.Errorf("%s leads and will be killed, but is asked: %s", leader, line)
			}
		}
		if !strings.Contains(all, "kill -9 10"+leader[1:]+"\n") || !strings.Contains(text, "kill -9") {
			t.Errorf("the line that kills %s is not in:\n%s", leader, all)
		}
	}
	d.Nodes = d.Nodes[:1]
	d.Nodes[0] = Node{Name: "n1", SMTP: "a:1", Submission: "a:2", Submissions: "a:3", LMTP: "a:4", IMAP: "a:5", IMAPS: "a:6", Admin: "a:7", Metrics: "a:8"}
	for port := 1; port <= 8; port++ {
		if all, at := guide(d, "/x"), fmt.Sprint("a:", port); !strings.Contains(all, at) {
			t.Errorf("the listener at %s is not in:\n%s", at, all)
		}
	}
	if all := guide(d, "/x"); strings.Contains(all, "kill -9") {
		t.Errorf("a cluster of one is said to survive:\n%s", all)
	}
}

func TestLiveLineIsOnlyForTerminals(t *testing.T) {
	var b bytes.Buffer
	s := newScreen(&b)
	s.show("live")
	s.say("stays %d", 1)
	if b.String() != "stays 1\n" {
		t.Errorf("printed %q", b.String())
	}
	if f, err := os.Open(os.DevNull); err != nil || newScreen(f).fd != -1 {
		t.Errorf("a file is taken for a terminal (%v)", err)
	}
}

// A pid file outlives its process; its number may be another's by then.
func TestOnlyARunningNodeCounts(t *testing.T) {
	const configPath = "/somewhere/node.toml"
	cmd := exec.Command("sh", "-c", "read line", "sh", configPath)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !runsNode(pid, configPath) || runsNode(pid, "/elsewhere/node.toml") || runsNode(os.Getpid(), configPath) {
		t.Error("the wrong process is taken for the node")
	}
	_ = in.Close()
	for !ended(pid) { // nobody has collected it yet
		time.Sleep(time.Millisecond) // between two looks
	}
	if runsNode(pid, configPath) {
		t.Error("a process that ended is taken for a node that runs")
	}
	_ = cmd.Wait()
	if runsNode(pid, configPath) {
		t.Error("a process that is gone is taken for a node that runs")
	}
}
