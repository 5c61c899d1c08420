package replica

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// Metrics are the figures of a Replica, all named quorumail_replica_….
type Metrics struct {
	Proposals      *prometheus.CounterVec // proposals_total{result}: applied, refused, unavailable, unknown, invalid
	ProposeSeconds prometheus.Histogram   // propose_seconds: of those that were applied or refused, until this node had applied them
	BarrierSeconds prometheus.Histogram   // barrier_seconds: of read barriers that succeeded
	BarriersFailed prometheus.Counter     // barriers_failed_total
	UploadBytes    prometheus.Counter     // upload_bytes_total: encoded bodies that came in here and went to the voters by themselves
	ReceivedBytes  prometheus.Counter     // received_bytes_total: encoded bodies that other nodes sent here
	Fetched        prometheus.Counter     // bodies_fetched_total: missing bodies that were brought from other nodes
	FetchFailures  prometheus.Counter     // body_fetch_failures_total: attempts in vain
	Lost           *prometheus.CounterVec // bodies_lost_total{cause}: declared lost here; absent, corrupt
	Clocks         prometheus.Gauge       // clocks_disagree: 1 on the leader while the nodes' clocks disagree
}

// NewMetrics makes the figures; registering them is up to the caller.
func NewMetrics() *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "quorumail", Subsystem: "replica", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	// From what a quick disk takes to the deadline of a proposal.
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "quorumail", Subsystem: "replica", Name: name, Help: help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}})
	}
	m := &Metrics{
		Proposals:      prometheus.NewCounterVec(prometheus.CounterOpts(opts("proposals_total", "Commands proposed at this node, by result.")), []string{"result"}),
		ProposeSeconds: seconds("propose_seconds", "Time until a command proposed here was applied here."),
		BarrierSeconds: seconds("barrier_seconds", "Time until this node had applied what was committed anywhere."),
		BarriersFailed: counter("barriers_failed_total", "Read barriers without an answer in time."),
		UploadBytes:    counter("upload_bytes_total", "Compressed bytes of bodies that came in here and were sent to the voters outside the log."),
		ReceivedBytes:  counter("received_bytes_total", "Compressed bytes of bodies that other nodes sent here."),
		Fetched:        counter("bodies_fetched_total", "Missing bodies that were brought from other nodes."),
		FetchFailures:  counter("body_fetch_failures_total", "Attempts to bring a missing body that failed."),
		Lost:           prometheus.NewCounterVec(prometheus.CounterOpts(opts("bodies_lost_total", "Bodies that this node had and found absent or corrupt.")), []string{"cause"}),
		Clocks:         prometheus.NewGauge(prometheus.GaugeOpts(opts("clocks_disagree", "1 where this node leads and the clocks of the nodes disagree, so that nothing expires."))),
	}
	for _, result := range []string{"applied", "refused", "unavailable", "unknown", "invalid"} {
		m.Proposals.WithLabelValues(result) // shown from the start, so that a first failure is a change
	}
	for _, cause := range []string{lostAbsent, lostCorrupt} {
		m.Lost.WithLabelValues(cause)
	}
	return m
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
	return []prometheus.Collector{m.Proposals, m.ProposeSeconds, m.BarrierSeconds, m.BarriersFailed, m.UploadBytes, m.ReceivedBytes, m.Fetched, m.FetchFailures, m.Lost, m.Clocks}
}

// proposed counts a proposal by how it ended.
func (m *Metrics) proposed(res *storepb.Result, err error, seconds float64) {
	result := "applied"
	switch {
	case err == nil && state.ResultError(res) != nil:
		result = "refused"
	case err == nil:
	case errors.Is(err, store.ErrUnknownOutcome):
		result = "unknown"
	case errors.Is(err, store.ErrUnavailable):
		result = "unavailable"
	default:
		result = "invalid"
	}
	m.Proposals.WithLabelValues(result).Inc()
	if err == nil {
		m.ProposeSeconds.Observe(seconds)
	}
}
