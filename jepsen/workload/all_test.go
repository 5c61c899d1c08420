package workload

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/client"
	"github.com/quorumail/quorumail/jepsen/history"
)

// All workloads at once go on while a node dies and comes back, and the checkers find nothing.
func TestAllWorkloadsWhileANodeIsKilled(t *testing.T) {
	c := theCluster(t)
	env := c.env(t)
	env.Boxes = 12
	c.elsewhere(t, env)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	all := All()
	for _, w := range all {
		if err := w.Setup(ctx, env); err != nil {
			t.Fatal(err)
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, w := range all {
		for p := range 2 {
			wg.Go(func() { w.Process(running, env, p) })
		}
	}
	work := func(ops int) {
		t.Helper()
		for before := acknowledged(env); acknowledged(env) < before+ops; {
			if ctx.Err() != nil {
				t.Error("the work does not get on")
				return
			}
			time.Sleep(50 * time.Millisecond) // between two looks
		}
	}
	work(100)
	leader := c.leader(ctx, t, env)
	c.kill(t, leader)
	work(100)
	c.restart(ctx, t, leader)
	work(100)
	stop()
	wg.Wait()
	if err := Drain(ctx, env); err != nil {
		t.Error(err)
	}
	for _, w := range all {
		if err := w.Final(ctx, env); err != nil {
			t.Error(err)
		}
	}
	h := env.History.History()
	judge(t, h)
	finalLooks(t, h)
	failed, again := 0, 0
	for _, o := range h.Ops {
		if o.Outcome == history.Fail {
			failed++
		}
		if o.Outcome == history.OK && o.Attempt > 1 {
			again++
		}
	}
	if failed == 0 || again == 0 {
		t.Errorf("%d operations failed, %d succeeded at another node: nobody noticed the death of %s", failed, again, leader)
	}
}

// acknowledged is how many changes were.
func acknowledged(env *Env) int {
	h := env.History.History()
	return count(h, history.Deliver, history.OK) + count(h, history.Append, history.OK) + count(h, history.Store, history.OK)
}

func (c *cluster) leader(ctx context.Context, t *testing.T, env *Env) string {
	t.Helper()
	for ctx.Err() == nil {
		for _, n := range c.nodes {
			if s, err := client.NewAdmin(env.options(), n).Status(ctx); err == nil && s.State == "leader" {
				return n.Name
			}
		}
	}
	t.Fatal("nobody leads")
	return ""
}

func (c *cluster) kill(t *testing.T, node string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, node, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(raw), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// restart starts a killed node again, as soon as the dead process is gone.
func (c *cluster) restart(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	for {
		out, err := exec.CommandContext(ctx, c.bin, "dev", "restart", node, "--dir", c.dir).CombinedOutput()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("restart %s: %v\n%s", node, err, out)
		}
	}
}
