package checker

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/quorumail/quorumail/jepsen/history"
)

// bigHistory has n deliveries to a hundred mailboxes, and final reads at three nodes.
func bigHistory(n int) *history.History {
	const boxes = 100
	h := &history.History{}
	mailboxes := make([]history.Mailbox, boxes)
	for i := range n {
		b := i % boxes
		name, id, t := fmt.Sprintf("u%d@example.test/INBOX", b), fmt.Sprint("m", i), time.Duration(i)*time.Millisecond
		h.Ops = append(h.Ops, history.Op{Workload: "deliver", Process: i % 16, Kind: history.Deliver, Node: "n1", Box: name, ID: id, Attempt: 1,
			Invoke: t, Return: t + 20*time.Millisecond, Outcome: history.OK})
		m := &mailboxes[b]
		m.Messages = append(m.Messages, history.Message{UID: uint32(len(m.Messages) + 1), ID: id, ModSeq: uint64(len(m.Messages) + 1)})
	}
	end := time.Duration(n)*time.Millisecond + time.Minute
	for b := range mailboxes {
		for node := 1; node <= 3; node++ {
			m := mailboxes[b]
			m.UIDValidity, m.UIDNext, m.HighestModSeq, m.Final = 1, uint32(len(m.Messages)+1), uint64(len(m.Messages)+1), true
			h.Ops = append(h.Ops, history.Op{Workload: "deliver", Process: node, Kind: history.Read, Node: fmt.Sprint("n", node), Box: fmt.Sprintf("u%d@example.test/INBOX", b),
				Invoke: end, Return: end + time.Second, Outcome: history.OK, Mailbox: &m})
		}
	}
	return h
}

// BenchmarkAll shows what a run of a million deliveries costs; the memory is what the checkers allocate in all.
func BenchmarkAll(b *testing.B) {
	h := bigHistory(1_000_000)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, r := range All(h, Options{}) {
			if r.Verdict != Passed && r.Verdict != Nothing {
				b.Errorf("%s: %s %s", r.Checker, r.Verdict, r.Why)
			}
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.Sys)/(1<<20), "MB-from-system")
	}
}

// TestBigHistoryPasses is a small version of BenchmarkAll.
func TestBigHistoryPasses(t *testing.T) {
	for _, r := range All(bigHistory(20_000), Options{}) {
		if r.Verdict != Passed && r.Verdict != Nothing {
			t.Errorf("%s: %s %s %v", r.Checker, r.Verdict, r.Why, r.Violations)
		}
	}
}
