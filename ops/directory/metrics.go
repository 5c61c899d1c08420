package directory

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts logins.
type Metrics struct {
	Hashes     prometheus.Counter     // quorumail_directory_password_hashes_total: Argon2 runs for logins
	Remembered prometheus.Counter     // quorumail_directory_remembered_logins_total: logins without one
	Received   prometheus.Counter     // quorumail_directory_failed_login_batches_total: failed logins that other nodes told of
	Logins     *prometheus.CounterVec // quorumail_directory_logins_total{result}: accepted, denied, slowed, unavailable
}

// NewMetrics makes the counters; registering them is up to the caller.
func NewMetrics() *Metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "quorumail", Subsystem: "directory", Name: name, Help: help}
	}
	return &Metrics{
		Hashes:     prometheus.NewCounter(opts("password_hashes_total", "Passwords hashed to check a login.")),
		Remembered: prometheus.NewCounter(opts("remembered_logins_total", "Logins whose password was right a short while ago.")),
		Received:   prometheus.NewCounter(opts("failed_login_batches_total", "Batches of failed logins that other nodes told of.")),
		Logins:     prometheus.NewCounterVec(opts("logins_total", "Logins by result."), []string{"result"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.Hashes.Collect(ch)
	m.Remembered.Collect(ch)
	m.Received.Collect(ch)
	m.Logins.Collect(ch)
}
