package replica

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumail/quorumail/store/storepb"
)

// value is that of a counter or gauge, or how many values a histogram holds.
func value(c prometheus.Collector) float64 {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].Metric) != 1 {
		panic(fmt.Sprint("not one figure: ", families, err))
	}
	m := families[0].Metric[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

func (n *testNode) proposals(result string) float64 {
	return value(n.cfg.Metrics.Proposals.WithLabelValues(result))
}

func TestProposalsAreCountedByResult(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	n := c.nodes[1]
	// Each step must move its own counter, by one at least: background work proposes too.
	step := func(result string, do func()) {
		t.Helper()
		before := n.proposals(result)
		do()
		if n.proposals(result) <= before {
			t.Errorf("%s: still %v", result, before)
		}
	}
	step("applied", func() { n.mustAdd(account, message(100)) })
	step("refused", func() {
		_, err := n.Propose(t.Context(), func(c *storepb.Command) {
			c.Op = &storepb.Command_PutDomain{PutDomain: &storepb.PutDomain{Domain: &storepb.Domain{Name: "two..dots"}}}
		})
		if err == nil {
			t.Error("a name that is none was taken")
		}
	})
	step("invalid", func() {
		if _, err := n.Propose(t.Context(), func(*storepb.Command) {}); err == nil {
			t.Error("a command without an operation was taken")
		}
	})
	c.setFaults(func(int) fault { return fault{refuse: true} })
	step("unavailable", func() { _, _, _ = n.add(t.Context(), account, []byte("x")) })
	c.setFaults(func(int) fault { return fault{lose: true} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	step("unknown", func() { _, _, _ = n.add(ctx, account, []byte("x")) })
	c.setFaults(nil)
	if got, most := value(n.cfg.Metrics.ProposeSeconds), n.proposals("applied")+n.proposals("refused"); got < 2 || got > most {
		t.Errorf("%v durations of at most %v proposals", got, most)
	}
}

func TestBarriersAreCounted(t *testing.T) {
	c := newTestCluster(t)
	n := c.nodes[0]
	before := value(n.cfg.Metrics.BarrierSeconds)
	c.wait("a barrier", func() bool { return n.ReadBarrier(t.Context()) == nil })
	if after := value(n.cfg.Metrics.BarrierSeconds); after <= before {
		t.Errorf("%v durations before a barrier, %v after it", before, after)
	}
	n.noLog.Store(true)
	c.wait("a barrier without an answer is counted", func() bool { return value(n.cfg.Metrics.BarriersFailed) > 0 })
}

func TestBodiesAreCounted(t *testing.T) {
	c := newTestCluster(t)
	account := c.account()
	from, to := c.nodes[0], c.nodes[1]
	id := from.mustAdd(account, message(100_000))
	c.wait("all copies", func() bool { return to.has(id) && c.nodes[2].has(id) })
	sent := value(from.cfg.Metrics.UploadBytes)
	c.wait("what was sent is what came", func() bool { return sent > 0 && value(to.cfg.Metrics.ReceivedBytes) == sent })
	c.everywhere()

	if err := to.blobs.Damage(id); err != nil {
		t.Fatal(err)
	}
	to.Suspect(id)
	c.wait("the corrupt copy is counted, and that it was fetched", func() bool {
		return value(to.cfg.Metrics.Lost.WithLabelValues(lostCorrupt)) == 1 && value(to.cfg.Metrics.Fetched) == 1
	})
	c.wait("the repair", func() bool { return from.missing(to.id) == 0 })
	if err := to.blobs.Delete(id); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*testNode{from, c.nodes[2]} {
		n.down.Store(true)
	}
	to.Suspect(id)
	c.wait("a fetch from nobody is counted", func() bool { return value(to.cfg.Metrics.FetchFailures) > 0 })
	if got := value(to.cfg.Metrics.Lost.WithLabelValues(lostAbsent)); got != 1 {
		t.Errorf("%v bodies were absent, want 1", got)
	}
}
