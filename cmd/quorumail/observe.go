package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/ops/directory"
	"github.com/quorumail/quorumail/ops/metrics"
	"github.com/quorumail/quorumail/protocol/imap/imapd"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/queue"
	"github.com/quorumail/quorumail/queue/remote"
	"github.com/quorumail/quorumail/queue/route/dns"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
)

// addresses are where this node listens. Administrators ask for them while listeners are still being opened.
type addresses struct {
	mu     sync.Mutex
	byName map[string]string // guarded by mu
}

func (a *addresses) add(name, address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byName == nil {
		a.byName = map[string]string{}
	}
	a.byName[name] = address
}

func (a *addresses) all() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.byName)
}

// figures are what the components of a node count.
type figures struct {
	replica   *replica.Metrics
	directory *directory.Metrics
	smtp      *smtpd.Metrics
	imap      *imapd.Metrics
	queue     *queue.Metrics
	dns       *dns.Metrics
	remote    *remote.Metrics
}

func newFigures() figures {
	return figures{replica: replica.NewMetrics(), directory: directory.NewMetrics(), smtp: smtpd.NewMetrics(), imap: imapd.NewMetrics(),
		queue: queue.NewMetrics(), dns: dns.NewMetrics(), remote: remote.NewMetrics()}
}

func (n *node) listenAdmin() (net.Listener, error) {
	l, err := admin.Listen(n.cfg.Listeners.Admin)
	if err != nil {
		return nil, fmt.Errorf("listen for admin at %s (is another program there?): %w", n.cfg.Listeners.Admin, err)
	}
	n.listeners.add("admin", n.cfg.Listeners.Admin)
	return l, nil
}

// metricsServer shows the node's figures.
func (n *node) metricsServer() (*metrics.Server, error) {
	return metrics.New(metrics.Config{Ready: n.ready, Logger: n.log, Collectors: []prometheus.Collector{n.figures.replica, n.figures.directory, n.figures.smtp, n.figures.imap, n.figures.queue, n.figures.dns, n.figures.remote,
		metrics.Bodies(n.blobs.Stats), metrics.State(n.machine.StoreMetrics), metrics.Log(filepath.Join(n.cfg.DataDir, "raft")), metrics.Disk(n.freeBytes, n.cfg.Limits.MinFreeDiskBytes),
		metrics.Status(func() (admin.Status, error) { return n.status(context.Background(), admin.Empty{}) })}})
}

// logLevel says or changes how much this node logs, until it starts again.
func (n *node) logLevel(_ context.Context, r admin.LogLevel) (admin.LogLevel, error) {
	if r.Level != "" {
		var level slog.Level
		if err := level.UnmarshalText([]byte(r.Level)); err != nil {
			return r, fmt.Errorf("%q is no level: choose debug, info, warn or error: %w", r.Level, store.ErrInvalid)
		}
		n.level.Set(level)
		n.log.Info("the log level was changed", "pkg", "main", "level", n.level.Level())
	}
	return admin.LogLevel{Level: levelName(n.level.Level())}, nil
}

// levelName is the level as the configuration writes it.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

func logLevelCommand() *cobra.Command {
	return withJSON(&cobra.Command{Use: "log-level [LEVEL]", Short: "Show or change how much this node logs, until it starts again: debug, info, warn or error", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r admin.LogLevel
			if len(args) == 1 {
				r.Level = args[0]
			}
			r, err := call[admin.LogLevel](cmd, "log-level", r)
			if err != nil {
				return err
			}
			return showFields(cmd, r, [][]string{{"level", r.Level}})
		}})
}
