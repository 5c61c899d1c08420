package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/ops/admin"
)

// Mail at one node moves the figures of all.
func TestFiguresMove(t *testing.T) {
	c := startCluster(t, 3, 0)
	growing := map[int][]string{
		0: {`replica_proposals_total{result="applied"}`, "replica_propose_seconds_count", "replica_barrier_seconds_count", "replica_upload_bytes_total", "blob_puts_total",
			"blob_put_bytes_total", "blob_fsyncs_total", "blob_sync_waits_total", "blob_bodies", "raft_commit_index", "raft_applied_index", "state_written_bytes_total"},
		1: {"replica_received_bytes_total", "blob_puts_total", "blob_fsyncs_total", "blob_bodies", "raft_applied_index", "state_written_bytes_total"},
	}
	before := map[string]float64{}
	value := func(node int, name string) float64 { return figure(t, c.Nodes[node], "quorumail_"+name) }
	key := func(node int, name string) string { return fmt.Sprint(node, " ", name) }
	for node, names := range growing {
		for _, name := range names {
			before[key(node, name)] = value(node, name)
		}
	}
	for i := range 5 {
		// Too long to travel in the log, and not to be compressed to less.
		msg := append([]byte(fmt.Sprintf("Subject: %d\r\n\r\n", i)), randomLines(i, 100_000)...)
		if err := deliver(c.Nodes[0].SMTP, "", c.Accounts[0].Address, msg); err != nil {
			t.Fatal(err)
		}
	}
	for node, names := range growing {
		for _, name := range names {
			await(t, fmt.Sprintf("%s of %s grows beyond %v", name, c.Nodes[node].Name, before[key(node, name)]), func() bool { return value(node, name) > before[key(node, name)] })
		}
	}
	leaders := 0.0
	for i := range c.Nodes {
		leaders += value(i, "raft_leader")
		for _, name := range []string{"raft_term", "state_memtable_bytes", "disk_free_bytes", "raftlog_disk_bytes", "state_disk_bytes", "blob_disk_bytes", "blob_segments", "blob_live_bytes"} {
			if value(i, name) <= 0 {
				t.Errorf("%s of %s is %v", name, c.Nodes[i].Name, value(i, name))
			}
		}
		for name, want := range map[string]float64{"disk_min_free_bytes": 256 << 20, "gossip_members": 3, "replica_clocks_disagree": 0, "blob_corrupt_bodies": 0,
			`replica_bodies_lost_total{cause="corrupt"}`: 0, `replica_proposals_total{result="unknown"}`: 0} {
			if got := value(i, name); got != want {
				t.Errorf("%s of %s is %v, want %v", name, c.Nodes[i].Name, got, want)
			}
		}
		await(t, "all seem alive", func() bool { return value(i, "gossip_alive") == 3 })
		await(t, "nobody lags or lacks bodies", func() bool { return value(i, "raft_lag") == 0 && value(i, "missing_bodies") == 0 })
	}
	if leaders != 1 {
		t.Errorf("%v nodes lead", leaders)
	}
	c.kill(2)
	await(t, "the killed node seems dead", func() bool { return value(0, "gossip_alive") == 2 })
}

// randomLines are bytes of text that no compressor makes much shorter.
func randomLines(seed, n int) []byte {
	var b bytes.Buffer
	state := uint64(seed)*2 + 1
	for b.Len() < n {
		for range 70 {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			b.WriteByte('A' + byte(state>>32&31))
		}
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

func TestStatusShowsWarnings(t *testing.T) {
	dir := t.TempDir()
	s, err := admin.New(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	admin.Handle(s, "status", func(context.Context, admin.Empty) (admin.Status, error) {
		return admin.Status{Name: "n1", Ready: true, Warnings: []string{"the clocks of the nodes disagree"}}, nil
	})
	l, err := admin.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-done }()
	config := filepath.Join(dir, "node.toml")
	text := fmt.Sprintf("name = \"n1\"\nhostname = \"n1.example.test\"\ndata_dir = %q\n[cluster]\nlisten = \"127.0.0.1:7400\"\nadvertise = \"127.0.0.1:7400\"\n[listeners]\nadmin = %q\n", dir, l.Addr())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := commandLine{t, config}
	if out := cmd.good("", "status"); !strings.Contains(out, "\nwarning: the clocks of the nodes disagree\n") {
		t.Errorf("no warning in:\n%s", out)
	}
	if st := as[admin.Status](t, cmd.good("", "status", "--json")); len(st.Warnings) != 1 {
		t.Errorf("no warning in %+v", st)
	}
}
