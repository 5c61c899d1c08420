package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumail/quorumail/ops/admin"
)

// statusGauge is one figure of a node's status.
type statusGauge struct {
	desc *prometheus.Desc
	of   func(admin.Status) float64
}

type status struct {
	get    func() (admin.Status, error)
	info   *prometheus.Desc // quorumail_info{version,node} 1
	gauges []statusGauge
}

// Status makes figures of a node's part in the cluster, asked for at each scrape. When get fails, the scrape shows the error in their place.
func Status(get func() (admin.Status, error)) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("quorumail_"+name, help, labels, nil)
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return &status{get: get, info: desc("info", "Always 1; says which node and version this is.", "version", "node"), gauges: []statusGauge{
		{desc("ready", "1 when this node can serve."), func(s admin.Status) float64 { return truth(s.Ready) }},
		{desc("raft_leader", "1 when this node leads."), func(s admin.Status) float64 { return truth(s.State == "leader") }},
		{desc("raft_leader_known", "1 when this node knows who leads."), func(s admin.Status) float64 { return truth(s.Leader != "") }},
		{desc("raft_term", "The term of the replicated log."), func(s admin.Status) float64 { return float64(s.Term) }},
		{desc("raft_last_index", "Index of the last entry in this node's log."), func(s admin.Status) float64 { return float64(s.Last) }},
		{desc("raft_commit_index", "Index of the last entry that this node knows to be committed."), func(s admin.Status) float64 { return float64(s.Commit) }},
		{desc("raft_applied_index", "Index of the last entry that this node has applied."), func(s admin.Status) float64 { return float64(s.Applied) }},
		{desc("raft_lag", "Entries that this node knows to be committed and has not applied."), func(s admin.Status) float64 { return float64(s.Commit - min(s.Commit, s.Applied)) }},
		{desc("gossip_alive", "Members that seem to be alive, this node included."), func(s admin.Status) float64 {
			n := 0
			for _, m := range s.Members {
				n += int(truth(m.Alive))
			}
			return float64(n)
		}},
		{desc("gossip_members", "Members of the cluster, alive or not, this node included."), func(s admin.Status) float64 { return float64(len(s.Members)) }},
		{desc("raft_voters", "Nodes that vote."), func(s admin.Status) float64 {
			n := 0
			for _, m := range s.Members {
				n += int(truth(m.Voter))
			}
			return float64(n)
		}},
		{desc("queue_in", "Recipients in the queue in, of the whole cluster: checks or routing are not done."), func(s admin.Status) float64 { return float64(s.Queues.In) }},
		{desc("queue_local", "Recipients in the queue local, of the whole cluster: a mailbox cannot take the message."), func(s admin.Status) float64 { return float64(s.Queues.Local) }},
		{desc("queue_remote", "Recipients in the queue remote, of the whole cluster."), func(s admin.Status) float64 { return float64(s.Queues.Remote) }},
		{desc("queue_held", "Recipients in any queue that are held."), func(s admin.Status) float64 { return float64(s.Queues.Held) }},
		{desc("missing_bodies", "Bodies of messages that this node has to fetch from others; counted up to 10,000."), func(s admin.Status) float64 { return float64(s.Missing) }},
	}}
}

// Describe implements prometheus.Collector.
func (s *status) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.info
	for _, g := range s.gauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (s *status) Collect(ch chan<- prometheus.Metric) {
	st, err := s.get()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(s.info, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(s.info, prometheus.GaugeValue, 1, st.Version, st.Name)
	for _, g := range s.gauges {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.of(st))
	}
}
