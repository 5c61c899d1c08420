package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumail/quorumail/ops/bench"
)

// The benchmarks of a whole cluster on this machine. Each measures once, whatever -benchtime says: the figures are those of its metrics.

// BenchmarkDelivery sends at all three nodes and waits until each message is visible at another.
func BenchmarkDelivery(b *testing.B) {
	c := startCluster(b, 3, 16)
	for _, kib := range []int{1, 4, 20, 200} {
		for _, clients := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("KiB=%d/clients=%d", kib, clients), func(b *testing.B) {
				o := bench.Options{Clients: clients, SizeBytes: kib << 10, Seed: uint64(kib*1000 + clients), Messages: messages(kib, clients), Spent: c.spent}
				for _, n := range c.Nodes {
					o.SMTP, o.IMAP = append(o.SMTP, n.SMTP), append(o.IMAP, n.IMAP)
				}
				for _, a := range c.Accounts {
					o.Accounts = append(o.Accounts, bench.Account{Address: a.Address, Password: a.Password})
				}
				r, err := bench.Run(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(r.PerSecond, "delivered/s")
				b.ReportMetric(r.AckP50Ms, "ack-p50-ms")
				b.ReportMetric(r.AckP99Ms, "ack-p99-ms")
				b.ReportMetric(r.VisibleP99Ms, "visible-p99-ms")
				b.ReportMetric(r.CPUMsPerMessage, "cpu-ms/msg")
				b.ReportMetric(float64(r.WrittenPer), "written-B/msg")
				b.ReportMetric(float64(r.CompressedBytes), "compressed-B/msg")
			})
		}
	}
}

// messages keeps each measurement to some seconds. QUORUMAIL_MESSAGES is another number.
func messages(kib, clients int) int {
	if n, err := strconv.Atoi(os.Getenv("QUORUMAIL_MESSAGES")); err == nil {
		return max(n, clients)
	}
	n := 6000
	switch {
	case clients == 1:
		n = 300
	case kib >= 200:
		n = 600
	}
	return max(n, 2*clients)
}

// spent adds up what the nodes' processes have used.
func (c *devCluster) spent(context.Context) (s bench.Spent, err error) {
	out, err := exec.Command(c.Bin, "admin", "spent", "--json", "--config", c.Config).Output()
	if err != nil {
		return s, fmt.Errorf("ask what the nodes used: %w", err)
	}
	return s, json.Unmarshal(out, &s)
}

// BenchmarkFailover kills the leader, again and again, and tells how long nobody could deliver at the other nodes.
func BenchmarkFailover(b *testing.B) {
	c := startCluster(b, 3, 0)
	var gaps []time.Duration
	for range 9 {
		leader := c.leader()
		var others []string
		for i, n := range c.Nodes {
			if i != leader {
				others = append(others, n.SMTP)
			}
		}
		done := make(chan time.Duration, len(others))
		var ready sync.WaitGroup
		killed := make(chan time.Time)
		for _, address := range others {
			ready.Add(1)
			go func() {
				if err := deliver(address, "", c.Accounts[0].Address, []byte("Subject: before\r\n\r\nx\r\n")); err != nil {
					b.Errorf("before the kill: %v", err)
				}
				ready.Done()
				start := <-killed
				for {
					if err := deliver(address, "", c.Accounts[0].Address, []byte("Subject: after\r\n\r\nx\r\n")); err == nil {
						break
					}
					time.Sleep(2 * time.Millisecond) // asks again until somebody takes it
				}
				done <- time.Since(start)
			}()
		}
		ready.Wait()
		c.kill(leader)
		now := time.Now()
		for range others {
			killed <- now
		}
		for range others {
			gaps = append(gaps, <-done)
		}
		c.restart(leader)
		c.untilCaughtUp(b, leader)
	}
	slices.Sort(gaps)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(gaps[len(gaps)/2].Milliseconds()), "median-ms")
	b.ReportMetric(float64(gaps[len(gaps)-1].Milliseconds()), "max-ms")
}

func (c *devCluster) untilCaughtUp(b *testing.B, i int) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // polls a condition
		out, err := exec.Command(c.Bin, "status", "--json", "--config", filepath.Join(c.dir, c.Nodes[i].Name, "node.toml")).Output()
		var st struct {
			Ready           bool
			Commit, Applied uint64
		}
		if err == nil && json.Unmarshal(out, &st) == nil && st.Ready && st.Commit == st.Applied {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not catch up: %s", c.Nodes[i].Name, out)
		}
	}
}

// BenchmarkIdle tells how much memory a node needs that has nothing to do.
func BenchmarkIdle(b *testing.B) {
	c := startCluster(b, 3, 0)
	var most float64
	for i := range c.Nodes {
		most = max(most, rssMiB(b, c.pid(i)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(most, "RSS-MiB")
}

func rssMiB(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// BenchmarkMillion fills a cluster with 1,000,000 messages of 1 KiB and tells what a node needs to hold them, and how long it takes to serve
// again after kill -9. It takes a quarter of an hour, so it runs with QUORUMAIL_SOAK=1 only; QUORUMAIL_MESSAGES is another number.
func BenchmarkMillion(b *testing.B) {
	if os.Getenv("QUORUMAIL_SOAK") == "" {
		b.Skip("takes a quarter of an hour: set QUORUMAIL_SOAK=1")
	}
	total := 1_000_000
	if s := os.Getenv("QUORUMAIL_MESSAGES"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	c := startCluster(b, 3, 16)
	o := bench.Options{Clients: 128, SizeBytes: 1 << 10, Seed: 1, Messages: total}
	for _, n := range c.Nodes {
		o.SMTP, o.IMAP = append(o.SMTP, n.SMTP), append(o.IMAP, n.IMAP)
	}
	for _, a := range c.Accounts {
		o.Accounts = append(o.Accounts, bench.Account{Address: a.Address, Password: a.Password})
	}
	r, err := bench.Run(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	var most float64
	for i := range c.Nodes {
		most = max(most, rssMiB(b, c.pid(i)))
	}
	c.kill(1)
	begun := time.Now()
	c.restart(1) // returns when the node serves
	took := time.Since(begun)
	c.untilCaughtUp(b, 1)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(r.PerSecond, "delivered/s")
	b.ReportMetric(most, "RSS-MiB")
	b.ReportMetric(rssMiB(b, c.pid(1)), "RSS-MiB-after-restart")
	b.ReportMetric(took.Seconds(), "restart-s")
}
