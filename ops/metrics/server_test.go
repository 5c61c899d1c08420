package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/store/blob"
	"github.com/quorumail/quorumail/store/kv"
)

func serve(t *testing.T, cfg Config) (address string) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestFiguresAreShown(t *testing.T) {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "quorumail_test_total", Help: "Tests."})
	c.Add(3)
	st := admin.Status{Name: "n1", Version: "v1", State: "leader", Leader: "n1", Term: 7, Commit: 45, Applied: 41, Ready: true, Queues: admin.QueueCounts{In: 1, Local: 2, Remote: 3, Held: 4}, Members: []admin.Member{{Voter: true, Alive: true}, {Alive: true}, {Voter: true}}}
	logDir := t.TempDir()
	for _, name := range []string{"a", "b/c"} {
		path := filepath.Join(logDir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 150), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var broken atomic.Bool
	address := serve(t, Config{Ready: func() error { return nil }, Collectors: []prometheus.Collector{c, Bodies(func() blob.Stats { return blob.Stats{Puts: 12, Fsyncs: 5} }),
		State(func() kv.Metrics { return kv.Metrics{Flushes: 6} }), Log(logDir), Disk(func() (int64, error) { return 1 << 20, nil }, 4096), Status(func() (admin.Status, error) {
			if broken.Load() {
				return st, errors.New("the disk is gone")
			}
			return st, nil
		})}})
	code, body := get(t, "http://"+address+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	for _, line := range []string{"quorumail_test_total 3", `quorumail_info{node="n1",version="v1"} 1`, "quorumail_raft_leader 1", "quorumail_raft_term 7",
		"quorumail_raft_applied_index 41", "quorumail_raft_voters 2", "quorumail_raft_lag 4", "quorumail_gossip_alive 2", "quorumail_gossip_members 3", "quorumail_blob_puts_total 12", "quorumail_blob_fsyncs_total 5",
		"quorumail_state_flushes_total 6", "quorumail_raftlog_disk_bytes 300", "quorumail_disk_free_bytes 1.048576e+06", "quorumail_disk_min_free_bytes 4096", "quorumail_ready 1", "quorumail_queue_in 1", "quorumail_queue_local 2", "quorumail_queue_remote 3", "quorumail_queue_held 4"} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	// One component that cannot be read does not hide the others.
	broken.Store(true)
	if code, body := get(t, "http://"+address+"/metrics"); code != http.StatusOK || !strings.Contains(body, "quorumail_test_total 3") || strings.Contains(body, "quorumail_raft_term") {
		t.Errorf("with a broken component: %d\n%s", code, body)
	}
}

func TestReadinessIsToldApartFromHealth(t *testing.T) {
	var ready atomic.Pointer[error]
	address := serve(t, Config{Ready: func() error {
		if e := ready.Load(); e != nil {
			return *e
		}
		return nil
	}})
	if code, _ := get(t, "http://"+address+"/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	err := errors.New("no majority answers")
	ready.Store(&err)
	if code, body := get(t, "http://"+address+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no majority answers") {
		t.Errorf("not ready: %d, %q", code, body)
	}
	if code, _ := get(t, "http://"+address+"/healthz"); code != http.StatusOK {
		t.Errorf("healthy: %d", code)
	}
	if code, _ := get(t, "http://"+address+"/other"); code != http.StatusNotFound {
		t.Errorf("elsewhere: %d", code)
	}
}

func TestSameNameTwiceIsAnError(t *testing.T) {
	c := func() prometheus.Collector {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorumail_test", Help: "Test."})
	}
	if _, err := New(Config{Ready: func() error { return nil }, Collectors: []prometheus.Collector{c(), c()}}); err == nil {
		t.Error("no error")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no readiness, and no error")
	}
}
