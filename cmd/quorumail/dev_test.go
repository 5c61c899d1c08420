package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// await polls a condition: there is no event to wait for in other processes.
func await(t *testing.T, what string, good func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !good(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

func answers(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// The description is part of what scripts rely on: exactly these keys.
func TestDevDescribesItself(t *testing.T) {
	c := startCluster(t, 1, 2)
	raw, err := json.Marshal(c.Description)
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	sameKeys(t, d, "nodes", "accounts", "ca", "bin", "config")
	sameKeys(t, d["nodes"].([]any)[0], "name", "pid", "leader", "smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "admin", "metrics")
	sameKeys(t, d["accounts"].([]any)[0], "address", "password")
	if len(c.Accounts) != 4 || c.Accounts[2].Address != "u000@example.test" || c.Accounts[3].Address != "u001@example.test" || c.Accounts[2].Password != c.Accounts[3].Password {
		t.Errorf("accounts %+v", c.Accounts)
	}
	n := c.Nodes[0]
	if !n.Leader || n.PID != c.pid(0) || n.POP3 != "" || n.POP3S != "" {
		t.Errorf("node %+v", n)
	}
	for _, path := range []string{c.CA, c.Bin, c.Config} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	for _, a := range c.Accounts {
		for _, protocol := range []string{"imap", "smtp"} {
			if err := loginOver(protocol, n, a); err != nil {
				t.Errorf("%s logs in by %s: %v", a.Address, protocol, err)
			}
		}
	}
	resp, err := http.Get("http://" + n.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "\nquorumail_raft_leader 1\n") || !strings.Contains(string(body), `quorumail_imap_logins_total{result="ok"} 4`) {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	t.Run("refuses a second one", func(t *testing.T) {
		out, err := exec.Command(c.Bin, "dev", "--dir", c.dir).CombinedOutput()
		if err == nil || !strings.Contains(string(out), fmt.Sprintf("runs in %s already, as process %d", c.dir, c.cmd.Process.Pid)) {
			t.Errorf("%v, %s", err, out)
		}
	})
	t.Run("refuses to restart what runs", func(t *testing.T) {
		out, err := exec.Command(c.Bin, "dev", "restart", "n1", "--dir", c.dir).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "n1 runs already") {
			t.Errorf("%v, %s", err, out)
		}
	})
}

func sameKeys(t *testing.T, object any, want ...string) {
	t.Helper()
	var got []string
	for k := range object.(map[string]any) {
		got = append(got, k)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

// A killed node comes back by "dev restart"; when dev itself is killed nothing stays behind; the next dev finds the mail.
func TestDevLeavesNothingBehindAndFindsItsMailAgain(t *testing.T) {
	c := startCluster(t, 1, 0)
	n := c.Nodes[0]
	if err := deliver(n.SMTP, "x@example.net", c.Accounts[0].Address, []byte("Subject: stays\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	c.kill(0)
	await(t, "the killed node is gone", func() bool { return !answers(n.IMAP) })
	c.restart(0)
	restarted := c.pid(0)
	if restarted == n.PID {
		t.Error("the restarted node has its old process id")
	}

	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
	// The node was started by "dev restart", which has ended long ago: it follows the dev all the same.
	await(t, "the node ends with dev", func() bool { return syscall.Kill(restarted, 0) != nil || isZombie(restarted) })
	for _, address := range []string{n.SMTP, n.IMAP, n.Admin, n.Metrics} {
		if answers(address) {
			t.Errorf("%s is still listened on", address)
		}
	}
	if out, err := exec.Command(c.Bin, "dev", "restart", "n1", "--dir", c.dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "no cluster runs in") {
		t.Errorf("restart without dev: %v, %s", err, out)
	}

	passwords := c.Accounts
	c.run(c.Bin, 1, 1)
	if len(c.Accounts) != 3 || !reflect.DeepEqual(c.Accounts[:2], passwords) || c.Nodes[0].IMAP != n.IMAP {
		t.Errorf("the second run: %+v, the first: %+v", c.Description, passwords)
	}
	found := false
	for _, msg := range fetchAll(t, login(t, c.Nodes[0].IMAP, c.Accounts[0])) {
		found = found || headerValue(msg, "Subject") == "stays"
	}
	if !found {
		t.Error("the second run did not find the mail")
	}
}

// isZombie tells whether a process ended and was not collected by its parent: a test's container may have no init that does so.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestDevSaysWhatIsWrong(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	plan := func(name, text string) string {
		folder := filepath.Join(dir, name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "dev.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--nodes", "12", "--dir", filepath.Join(dir, "many")}, "--nodes is 12: choose 1 to 9"},
		{[]string{"--accounts", "-1", "--dir", filepath.Join(dir, "few")}, "--accounts is -1"},
		{[]string{"--dir", plan("taken", `{"nodes":[{"name":"n1","ports":{"smtp":`+port+`}}]}`)}, "port " + port + ", which node n1 uses for smtp, is taken by another program"},
		{[]string{"--dir", plan("damaged", "{")}, "dev.json is damaged"},
		{[]string{"--nodes", "2", "--dir", plan("other", `{"nodes":[{"name":"n1","ports":{}}]}`)}, "holds a cluster of 1 nodes, not 2"},
		{[]string{"--dir", filepath.Join(dir, "taken", "dev.json")}, "make the folder of the cluster"},
	} {
		out, err := exec.Command(bin, append([]string{"dev"}, tc.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tc.want) {
			t.Errorf("dev %s: %v\n%s\nwant %s", strings.Join(tc.args, " "), err, out, tc.want)
		}
	}
}
