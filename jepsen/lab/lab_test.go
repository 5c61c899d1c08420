package lab_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	stdnet "net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/lab"
	"github.com/quorumail/quorumail/jepsen/net"
)

var _ client.Dialer = (*lab.Lab)(nil)

// patience is how long a test waits for what must happen, on a slow machine.
const patience = 20 * time.Second

// newLab makes a laboratory that the test's end closes.
func newLab(t *testing.T, nodes int, n lab.Namespaces) *lab.Lab {
	t.Helper()
	if n == lab.Always {
		if err := net.Supported(); err != nil {
			t.Skip(err)
		}
	}
	l, err := lab.New(lab.Config{Nodes: nodes, Namespaces: n, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// Connections reach a node from the clients and from nodes, and come from their addresses, in both kinds of laboratory.
func TestReach(t *testing.T) {
	for name, kind := range map[string]lab.Namespaces{"namespaces": lab.Always, "loopback": lab.Never} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 2, kind)
			added, err := l.Add()
			if err != nil || added != "n3" || strings.Join(l.Names(), " ") != "n1 n2 n3" {
				t.Fatalf("added %q, %v: %v", added, err, l.Names())
			}
			for _, to := range l.Names() {
				for _, from := range append(l.Names(), lab.Clients) {
					reach(t, l, from, to)
				}
			}
		})
	}
}

// reach sends something from one place to another, and checks whom it comes from.
func reach(t *testing.T, l *lab.Lab, from, to string) {
	t.Helper()
	ctx := deadline(t)
	listener, err := l.Listen(ctx, to, "tcp", l.Address(to)+":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := l.DialFrom(ctx, from, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	defer c.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if host, _, _ := stdnet.SplitHostPort(server.RemoteAddr().String()); host != l.Address(from) {
		t.Errorf("%s at %s is seen as %s", from, l.Address(from), host)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	_ = server.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "hello" {
		t.Errorf("%s to %s: %q, %v", from, to, got, err)
	}
}

// A command runs in the node's namespace, and its process is the program's own.
func TestCommandIsTheProgramItself(t *testing.T) {
	l := newLab(t, 1, lab.Always)
	cmd := l.Command(deadline(t), "n1", "sh", "-c", "echo $$; cat /proc/net/fib_trie")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid, rest, _ := strings.Cut(out.String(), "\n")
	if want := cmd.Process.Pid; pid != itoa(want) {
		t.Errorf("the program says that it is %s, not %d", pid, want)
	}
	if !strings.Contains(rest, l.Address("n1")) || strings.Contains(rest, l.Address(lab.Clients)) {
		t.Errorf("not in the node's namespace:\n%s", rest)
	}
	if err := l.Command(deadline(t), "n9", "true").Run(); err == nil {
		t.Error("a command ran at a node that there is not")
	}
}

// The switch of a laboratory parts its nodes.
func TestSwitchParts(t *testing.T) {
	l := newLab(t, 1, lab.Always)
	sw, err := l.Switch()
	if err != nil {
		t.Fatal(err)
	}
	if err := sw.Apply(net.Isolate("n1", []string{lab.Clients}, net.Both)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := l.DialContext(ctx, "tcp", l.Address("n1")+":7000"); !os.IsTimeout(err) {
		t.Errorf("dialing an isolated node: %v", err)
	}
	sw.Heal()
	reach(t, l, lab.Clients, "n1")
}

// Many clients that dial into silence at once all wait, and reach others meanwhile.
func TestManyDialsIntoSilence(t *testing.T) {
	l := newLab(t, 2, lab.Always)
	sw, err := l.Switch()
	if err != nil {
		t.Fatal(err)
	}
	if err := sw.Apply(net.OneWay([]string{"n1"}, []string{lab.Clients})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	const dials = 64
	for range dials {
		go func() {
			c, err := l.DialContext(ctx, "tcp", l.Address("n1")+":7000")
			if err == nil {
				c.Close()
			}
			errs <- err
		}()
	}
	reach(t, l, lab.Clients, "n2")
	cancel()
	for range dials {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it canceled", err)
		}
	}
}

func TestLoopbackSaysWhyItHasNoSwitch(t *testing.T) {
	l := newLab(t, 1, lab.Never)
	if sw, err := l.Switch(); sw != nil || err == nil {
		t.Errorf("%v, %v", sw, err)
	}
}

// What is left of a process that is gone is removed; what belongs to a living one is not, and a laboratory that is closed leaves nothing.
func TestNothingIsLeftBehind(t *testing.T) {
	if err := net.Supported(); err != nil {
		t.Skip(err)
	}
	gone := lostProcess(t)
	if _, err := net.AddNamespace("qj-" + itoa(gone) + "-0000-n1"); err != nil {
		t.Fatal(err)
	}
	alive, err := net.AddNamespace("qj-" + itoa(os.Getppid()) + "-test-n1")
	if err != nil {
		t.Fatal(err)
	}
	defer net.RemoveNamespace(alive)
	l, err := lab.New(lab.Config{Nodes: 1, Namespaces: lab.Always})
	if err != nil {
		t.Fatal(err)
	}
	if n := namespaces(t, gone); n != 0 {
		t.Errorf("%d namespaces of a process that is gone", n)
	}
	if n := namespaces(t, os.Getppid()); n == 0 {
		t.Error("the namespace of a living process was removed")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n := namespaces(t, os.Getpid()); n != 0 {
		t.Errorf("%d namespaces are left", n)
	}
	if _, err := l.Add(); err == nil {
		t.Error("a closed laboratory grew")
	}
}

func TestLoopbackAddressesAreNotShared(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "locks")
	seen := map[string]bool{}
	for range 5 {
		l, err := lab.New(lab.Config{Nodes: lab.MaxNodes, Namespaces: lab.Never, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, n := range append(l.Names(), lab.Clients) {
			if a := l.Address(n); seen[a] {
				t.Errorf("%s twice", a)
			} else {
				seen[a] = true
			}
		}
		if _, err := l.Add(); err == nil {
			t.Error("more nodes than there may be")
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v: other users cannot use the folder", info, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "127.*")); len(files) != len(seen) {
		t.Errorf("%d locks of %d addresses", len(files), len(seen))
	}
}
