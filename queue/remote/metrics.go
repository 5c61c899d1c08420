package remote

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what is handed to other servers.
type Metrics struct {
	Connections  *prometheus.CounterVec // quorumail_remote_connections_total{result}: opened, reused, failed
	Transactions *prometheus.CounterVec // quorumail_remote_transactions_total{tls}: clear, "TLS 1.2", "TLS 1.3" …
	Recipients   *prometheus.CounterVec // quorumail_remote_recipients_total{result}: delivered, deferred, failed, unknown
	Idle         prometheus.Gauge       // quorumail_remote_idle_connections
}

// NewMetrics makes the counters; registering them is up to the caller.
func NewMetrics() *Metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "quorumail", Subsystem: "remote", Name: name, Help: help}, []string{label})
	}
	return &Metrics{
		Connections:  counter("connections_total", "Connections to other servers by how they came about.", "result"),
		Transactions: counter("transactions_total", "Transactions with other servers by the TLS version they ran under.", "tls"),
		Recipients:   counter("recipients_total", "Recipients by how an attempt ended.", "result"),
		Idle: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "quorumail", Subsystem: "remote", Name: "idle_connections",
			Help: "Open connections that wait for another message."}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.Idle.Collect(ch)
	for _, c := range []*prometheus.CounterVec{m.Connections, m.Transactions, m.Recipients} {
		c.Collect(ch)
	}
}

func (m *Metrics) count(results []Result) {
	for _, r := range results {
		name := r.Status.String()
		if r.Unknown {
			name = "unknown"
		}
		m.Recipients.WithLabelValues(name).Inc()
	}
}
