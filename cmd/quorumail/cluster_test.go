package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/quorumail/quorumail/ops/dev"
)

// binary builds the program once for all whole-binary tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quorumail-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "quorumail")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// devCluster is a cluster of real processes, begun by "quorumail dev --json".
type devCluster struct {
	dev.Description
	t   testing.TB
	dir string
	cmd *exec.Cmd
}

func startCluster(t *testing.T, nodes, accounts int) *devCluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	c := &devCluster{t: t, dir: t.TempDir()}
	c.run(bin, nodes, accounts)
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			for _, n := range c.Nodes {
				raw, _ := os.ReadFile(filepath.Join(c.dir, n.Name, "log"))
				t.Logf("the end of the log of %s:\n%s", n.Name, raw[max(0, len(raw)-3000):])
			}
		}
	})
	return c
}

func (c *devCluster) run(bin string, nodes, accounts int) {
	c.t.Helper()
	c.cmd = exec.Command(bin, "dev", "--nodes", fmt.Sprint(nodes), "--accounts", fmt.Sprint(accounts), "--dir", c.dir, "--json")
	var errs bytes.Buffer
	c.cmd.Stderr = &errs
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = c.cmd.Wait()
		c.t.Fatalf("dev printed no description: %v\n%s", err, errs.String())
	}
	c.Description = dev.Description{}
	if err := json.Unmarshal(line, &c.Description); err != nil {
		c.t.Fatalf("%v in %s", err, line)
	}
}

func (c *devCluster) stop() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Signal(os.Interrupt)
		_ = c.cmd.Wait()
	}
}

// kill ends a node as a crash would.
func (c *devCluster) kill(i int) {
	c.t.Helper()
	pid := c.pid(i)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Fatalf("kill %s: %v", c.Nodes[i].Name, err)
	}
}

func (c *devCluster) pid(i int) int {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, c.Nodes[i].Name, "pid"))
	if err != nil {
		c.t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(raw), &pid); err != nil {
		c.t.Fatal(err)
	}
	return pid
}

func (c *devCluster) restart(i int) {
	c.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := exec.Command(c.Bin, "dev", "restart", c.Nodes[i].Name, "--dir", c.dir).CombinedOutput()
		if err == nil {
			return
		}
		// The killed process may not have been collected yet.
		if !strings.Contains(string(out), "runs already") || time.Now().After(deadline) {
			c.t.Fatalf("restart %s: %v\n%s", c.Nodes[i].Name, err, out)
		}
	}
}

// leader is the index of the node that leads now.
func (c *devCluster) leader() int {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		for i, n := range c.Nodes {
			out, err := exec.Command(c.Bin, "status", "--json", "--config", filepath.Join(c.dir, n.Name, "node.toml")).Output()
			var st struct{ State string }
			if err == nil && json.Unmarshal(out, &st) == nil && st.State == "leader" {
				return i
			}
		}
	}
	c.t.Fatal("nobody leads")
	return -1
}

// errUnknown marks a delivery whose outcome the client cannot know.
var errUnknown = errors.New("no answer to the final dot")

// deliver sends one message. errUnknown wraps an error after the final dot.
func deliver(address, from, to string, msg []byte) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	return nil
}

func login(t *testing.T, address string, a dev.Account) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Login(a.Address, a.Password).Wait(); err != nil {
		t.Fatalf("log in at %s: %v", address, err)
	}
	return c
}

// fetchAll reads every message of INBOX, in order.
func fetchAll(t *testing.T, c *imapclient.Client) [][]byte {
	t.Helper()
	sel, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if sel.NumMessages == 0 {
		return nil
	}
	var all imap.SeqSet
	all.AddRange(1, sel.NumMessages)
	msgs, err := c.Fetch(all, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, m := range msgs {
		out = append(out, m.BodySection[0].Bytes)
	}
	return out
}

// appendMessage stores a message exactly as it is.
func appendMessage(c *imapclient.Client, mailbox string, msg []byte) (*imap.AppendData, error) {
	cmd := c.Append(mailbox, int64(len(msg)), nil)
	if _, err := cmd.Write(msg); err != nil {
		return nil, err
	}
	if err := cmd.Close(); err != nil {
		return nil, err
	}
	return cmd.Wait()
}

func runTool(t *testing.T, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
