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
	"net/textproto"
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

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/dev"
)

// binary builds the program once for all whole-binary tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quorumail-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "quorumail")
	cmd := exec.Command("go", "build", "-tags", buildTags, "-o", bin, ".")
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

	also string // further configuration of each node
}

func startCluster(t testing.TB, nodes, accounts int) *devCluster {
	t.Helper()
	return startClusterWith(t, nodes, accounts, "")
}

// startClusterWith is startCluster with further configuration.
func startClusterWith(t testing.TB, nodes, accounts int, also string) *devCluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes; run without -short")
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	c := &devCluster{t: t, also: also}
	for try := 1; ; try++ {
		c.dir = t.TempDir()
		err := c.start(bin, nodes, accounts)
		if err == nil {
			break
		}
		// The ports were free when they were chosen; another program may have taken one since.
		if try == 3 || !strings.Contains(err.Error(), "another program") && !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
		t.Log(err)
	}
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

// run starts the cluster of c.dir, for the first time or again.
func (c *devCluster) run(bin string, nodes, accounts int) {
	c.t.Helper()
	if err := c.start(bin, nodes, accounts); err != nil {
		c.t.Fatal(err)
	}
}

func (c *devCluster) start(bin string, nodes, accounts int) error {
	also := filepath.Join(c.dir, "also.toml")
	if err := os.WriteFile(also, []byte(c.also), 0o600); err != nil {
		return err
	}
	c.cmd = exec.Command(bin, "dev", "--nodes", fmt.Sprint(nodes), "--accounts", fmt.Sprint(accounts), "--dir", c.dir, "--also", also, "--json")
	var errs bytes.Buffer
	c.cmd.Stderr = &errs
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = c.cmd.Wait()
		return fmt.Errorf("dev printed no description: %w\n%s", err, errs.String())
	}
	c.Description = dev.Description{}
	return json.Unmarshal(line, &c.Description)
}

func (c *devCluster) stop() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Signal(os.Interrupt)
		_ = c.cmd.Wait()
	}
}

// kill ends a node as a crash would.
func (c *devCluster) kill(i int) { c.signal(i, syscall.SIGKILL) }

func (c *devCluster) signal(i int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(c.pid(i), sig); err != nil {
		c.t.Fatalf("%v to %s: %v", sig, c.Nodes[i].Name, err)
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
		// The killed process may not have been collected yet, or not have let go of its files.
		ending := strings.Contains(string(out), "runs already") || strings.Contains(string(out), "resource temporarily unavailable")
		if !ending || time.Now().After(deadline) {
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

// admin asks a node one thing.
func (c *devCluster) admin(i int, method string, req, res any) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return admin.NewClient(c.Nodes[i].Admin, filepath.Join(c.dir, c.Nodes[i].Name, "data")).Call(ctx, method, req, res)
}

// check demands that every invariant holds on every node and that all have the same state.
func (c *devCluster) check() {
	c.t.Helper()
	for i, n := range c.Nodes {
		if err := c.admin(i, "check", admin.Empty{}, nil); err != nil {
			c.t.Errorf("check of %s: %v", n.Name, err)
		}
	}
	if err := sameHash(c.t, filepath.Join(c.dir, c.Nodes[0].Name, "node.toml")); err != nil {
		c.t.Error(err)
	}
}

// errUnknown marks a delivery whose outcome the client cannot know: after the final dot no answer came, or one that is not final.
var errUnknown = errors.New("it may have been taken")

// deliver sends one message. An error that wraps errUnknown means that it may have been taken, any other that it was not.
func deliver(address, from, to string, msg []byte) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
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
		return err // the final dot was not sent
	}
	err = w.Close()
	var reply *textproto.Error
	if err != nil && (!errors.As(err, &reply) || reply.Code < 500) {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	return err
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

// eachMessage reads every message of an account's INBOX, one by one, so that large mailboxes need little memory.
func eachMessage(t *testing.T, address string, a dev.Account, f func(imap.UID, []byte)) {
	t.Helper()
	c := login(t, address, a)
	defer c.Close()
	sel, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	for first := uint32(1); first <= sel.NumMessages; first += 500 {
		var some imap.SeqSet
		some.AddRange(first, min(first+499, sel.NumMessages))
		msgs, err := c.Fetch(some, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			f(m.UID, m.BodySection[0].Bytes)
		}
	}
}

// belowTrace is a message from the line on that begins with first: what was sent, without the trace fields above.
func belowTrace(msg []byte, first string) []byte {
	if i := bytes.Index(msg, []byte("\r\n"+first)); i >= 0 && !bytes.HasPrefix(msg, []byte(first)) {
		return msg[i+2:]
	}
	return msg
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
