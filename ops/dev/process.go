package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quorumail/quorumail/ops/admin"
)

// start starts a node as a process of its own session, so that a Ctrl-C at the terminal reaches only dev, which stops the nodes in
// turn, and so that a node that "dev restart" started outlives that command. It ends with the dev that holds the lock.
func (l *layout) start(bin, name string, extra ...string) (*exec.Cmd, error) {
	if pid := l.pid(name); pid != 0 {
		return nil, fmt.Errorf("node %s runs already, as process %d", name, pid)
	}
	log, err := os.OpenFile(l.logPath(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of node %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(bin, append([]string{"serve", "--config", l.configPath(name), "--dev-lock", filepath.Join(l.dir, lockName)}, extra...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start node %s: %w", name, err)
	}
	if err := os.WriteFile(l.pidPath(name), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("write the process id of node %s: %w", name, err)
	}
	return cmd, nil
}

// stop ends every node that runs, in turn and the leader last: nodes that left all at once would wait for each other's votes. Each has the
// grace to stop before it is killed.
func (l *layout) stop(ctx context.Context, grace time.Duration) {
	var leaders, rest []string
	for _, n := range l.Nodes {
		switch {
		case l.pid(n.Name) == 0:
		case l.leads(ctx, n.Name):
			leaders = append(leaders, n.Name)
		default:
			rest = append(rest, n.Name)
		}
	}
	for _, name := range append(rest, leaders...) {
		l.stopNode(name, grace)
	}
}

func (l *layout) leads(ctx context.Context, name string) bool {
	// Run's own context is over when it stops the nodes.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var st admin.Status
	return l.client(name).Call(ctx, "status", admin.Empty{}, &st) == nil && st.State == "leader"
}

func (l *layout) stopNode(name string, grace time.Duration) {
	if pid := l.pid(name); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended in this moment, which is what is wanted
	}
	for deadline := time.Now().Add(grace); l.pid(name) != 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if pid := l.pid(name); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = os.Remove(l.pidPath(name)) // one that stays names a process that is gone, which l.pid sees
}

func (l *layout) client(name string) *admin.Client {
	p, _ := l.find(name)
	return admin.NewClient(p.address("admin"), l.dataDir(name))
}

// waitFor asks the node for its status until good says yes.
func (l *layout) waitFor(ctx context.Context, name, what string, good func(admin.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	for {
		var st admin.Status
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		last = l.client(name).Call(ask, "status", admin.Empty{}, &st)
		cancel()
		if last == nil && good(st) {
			return nil
		}
		if last == nil && st.NotReady != "" {
			last = errors.New(st.NotReady)
		}
		if l.pid(name) == 0 {
			return fmt.Errorf("node %s ended while starting; the end of its log (%s):\n%s", name, l.logPath(name), tail(l.logPath(name)))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for node %s to %s: %w (last answer: %v); the end of its log (%s):\n%s", name, what, ctx.Err(), last, l.logPath(name), tail(l.logPath(name)))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
