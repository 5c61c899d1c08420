package smtpd

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what the SMTP listeners of a node do. Several servers may share one.
type Metrics struct {
	Connections *prometheus.GaugeVec   // quorumail_smtp_connections{mode}
	Refused     *prometheus.CounterVec // quorumail_smtp_refused_connections_total{mode,reason}
	Messages    *prometheus.CounterVec // quorumail_smtp_messages_total{mode,result}: accepted, deferred, refused
	Judged      *prometheus.CounterVec // quorumail_smtp_judged_messages_total{mode,verdict}: accepted, tagged, put off, held, refused, late
	Recipients  *prometheus.CounterVec // quorumail_smtp_recipients_total{mode,result}: accepted, deferred, refused
	Logins      *prometheus.CounterVec // quorumail_smtp_logins_total{mode,result}: accepted, denied, unavailable
}

// NewMetrics makes the counters; registering them is up to the caller.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "quorumail", Subsystem: "smtp", Name: name, Help: help}, labels)
	}
	return &Metrics{
		Connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "quorumail", Subsystem: "smtp", Name: "connections",
			Help: "Open connections."}, []string{"mode"}),
		Refused:    counter("refused_connections_total", "Connections refused at the greeting.", "mode", "reason"),
		Messages:   counter("messages_total", "Messages by how they were answered.", "mode", "result"),
		Judged:     counter("judged_messages_total", "Messages by what the checks said.", "mode", "verdict"),
		Recipients: counter("recipients_total", "Recipients by how they were answered.", "mode", "result"),
		Logins:     counter("logins_total", "Logins by how they were answered.", "mode", "result"),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.Connections.Collect(ch)
	for _, c := range []*prometheus.CounterVec{m.Refused, m.Messages, m.Judged, m.Recipients, m.Logins} {
		c.Collect(ch)
	}
}
