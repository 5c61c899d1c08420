package imapd

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of all Servers that share them.
type Metrics struct {
	Sessions prometheus.Gauge       // open now
	Refused  *prometheus.CounterVec // connections not served, by reason: sessions, address
	Logins   *prometheus.CounterVec // by result: ok, denied, unavailable
	Commands *prometheus.CounterVec // by command and result: ok, no, bad
	Panics   prometheus.Counter     // sessions that ended in a panic
}

// NewMetrics makes a set of figures, registered nowhere.
func NewMetrics() *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "quorumail", Subsystem: "imap", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	return &Metrics{
		Sessions: prometheus.NewGauge(prometheus.GaugeOpts(opts("sessions", "Open sessions."))),
		Refused:  counter("refused_total", "Connections that were not served.", "reason"),
		Logins:   counter("logins_total", "Attempts to log in.", "result"),
		Commands: counter("commands_total", "Commands by outcome.", "command", "result"),
		Panics:   prometheus.NewCounter(prometheus.CounterOpts(opts("panics_total", "Sessions that ended in a panic."))),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.Sessions, m.Refused, m.Logins, m.Commands, m.Panics}
}
