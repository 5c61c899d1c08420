package queue

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what a Manager does.
type Metrics struct {
	Attempts       *prometheus.CounterVec // by result
	Notices        *prometheus.CounterVec // by kind
	HandOvers      prometheus.Counter
	AttemptSeconds prometheus.Histogram
}

// NewMetrics makes them.
func NewMetrics() *Metrics {
	return &Metrics{
		Attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorumail_queue_attempts_total", Help: "Attempts at recipients that waited, by how they ended."}, []string{"result"}),
		Notices:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorumail_queue_notices_total", Help: "Notices to senders, by what they tell."}, []string{"kind"}),
		HandOvers: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorumail_queue_handed_over_total",
			Help: "Entries that this node, while it led, took from nodes that could not work."}),
		AttemptSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorumail_queue_attempt_seconds", Help: "How long attempts at other systems take.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 12)}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.Attempts, m.Notices, m.HandOvers, m.AttemptSeconds} {
		c.Collect(ch)
	}
}
