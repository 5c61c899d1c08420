package dns

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what a [Client] is asked and what it asks.
type Metrics struct {
	Questions *prometheus.CounterVec // quorumail_dns_questions_total{result}: cached, answered, absent, failed
	Queries   *prometheus.CounterVec // quorumail_dns_queries_total{result}: tries at one server; answered, failed
}

// NewMetrics makes the counters; registering them is up to the caller.
func NewMetrics() *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "quorumail", Subsystem: "dns", Name: name, Help: help}, []string{"result"})
	}
	m := &Metrics{
		Questions: counter("questions_total", "Questions to the resolver, by what came of them."),
		Queries:   counter("queries_total", "Tries at one DNS server, by what came of them."),
	}
	for _, result := range []string{"cached", "answered", "absent", "failed"} {
		m.Questions.WithLabelValues(result) // shown from the start, so that a first failure is a change
	}
	for _, result := range []string{"answered", "failed"} {
		m.Queries.WithLabelValues(result)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.Questions.Collect(ch)
	m.Queries.Collect(ch)
}
