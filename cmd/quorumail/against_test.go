package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quorumail/quorumail/ops/bench"
)

// sides are a cluster of three nodes, with three copies of each message, and Postfix with Dovecot, with one: what each of them gave.
type sides[R any] struct{ theirs, ours R }

// inTurn measures both sides by turns, rounds times, and takes of each the round whose rate is the median. An even number of rounds has
// the lower of the two in the middle.
func inTurn[R any](b *testing.B, rounds int, rate func(R) float64, theirs, ours func(round int) (R, error)) sides[R] {
	b.Helper()
	var all sides[[]R]
	for i := range rounds {
		r, err := theirs(i)
		if err != nil {
			b.Fatalf("Postfix and Dovecot: %v", err)
		}
		all.theirs = append(all.theirs, r)
		if r, err = ours(i); err != nil {
			b.Fatalf("the cluster: %v", err)
		}
		all.ours = append(all.ours, r)
	}
	median := func(rs []R) R {
		slices.SortFunc(rs, func(x, y R) int { return cmp.Compare(rate(x), rate(y)) })
		return rs[(len(rs)-1)/2]
	}
	return sides[R]{median(all.theirs), median(all.ours)}
}

// BenchmarkAgainstPostfixAndDovecot sends the same messages by the same clients at Postfix, which delivers into Dovecot's mailboxes, and at a
// cluster, and counts what its watchers saw by IMAP. Both run all the time, and are measured one after the other.
func BenchmarkAgainstPostfixAndDovecot(b *testing.B) {
	needRival(b)
	c := startCluster(b, 3, 16)
	r := startRival(b, c.benchAccounts(), "")
	var table strings.Builder
	for _, kib := range []int{1, 20, 200} {
		for _, clients := range []int{1, 16, 64, 256} {
			rounds := 1
			if kib == 20 && clients == 64 { // the pair that the goal names
				rounds = 3
			}
			var got *sides[bench.Result] // measured once, however often the benchmark is run to fill its time
			b.Run(fmt.Sprintf("KiB=%d/clients=%d", kib, clients), func(b *testing.B) {
				if got == nil {
					s := compareDelivery(b, r, c, kib, clients, rounds)
					got = &s
					table.WriteString(deliveryRow(s))
				}
				reportDelivery(b, *got)
			})
		}
	}
	printRows("Theirs / ours: Postfix and Dovecot against three nodes", deliveryHead+table.String())
}

func (c *devCluster) benchAccounts() (all []bench.Account) {
	for _, a := range c.Accounts {
		all = append(all, bench.Account{Address: a.Address, Password: a.Password})
	}
	return all
}

func compareDelivery(b *testing.B, r *rival, c *devCluster, kib, clients, rounds int) sides[bench.Result] {
	b.Helper()
	at := func(round int, smtp, imap []string, spent func(context.Context) (bench.Spent, error)) (bench.Result, error) {
		return bench.Run(b.Context(), bench.Options{SMTP: smtp, IMAP: imap, Accounts: r.accounts, Clients: clients, SizeBytes: kib << 10,
			Messages: messages(kib, clients), Seed: uint64(round*1_000_000 + kib*1000 + clients), Spent: spent})
	}
	var smtp, imap []string
	for _, n := range c.Nodes {
		smtp, imap = append(smtp, n.SMTP), append(imap, n.IMAP)
	}
	return inTurn(b, rounds, func(r bench.Result) float64 { return r.PerSecond },
		func(round int) (bench.Result, error) {
			return at(round, []string{r.smtp()}, []string{r.imap()}, r.spent)
		},
		func(round int) (bench.Result, error) { return at(round, smtp, imap, c.spent) })
}

func reportDelivery(b *testing.B, s sides[bench.Result]) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.ours.PerSecond/s.theirs.PerSecond, "rate-ratio")
	b.ReportMetric(s.ours.CPUMsPerMessage/s.theirs.CPUMsPerMessage, "cpu-ratio")
	for name, r := range map[string]bench.Result{"theirs": s.theirs, "ours": s.ours} {
		b.ReportMetric(r.PerSecond, name+"-delivered/s")
		b.ReportMetric(r.CPUMsPerMessage, name+"-cpu-ms/msg")
		b.ReportMetric(float64(r.WrittenPer), name+"-written-B/msg")
		b.ReportMetric(r.AckP50Ms, name+"-ack-p50-ms")
		b.ReportMetric(r.AckP99Ms, name+"-ack-p99-ms")
		b.ReportMetric(r.VisibleP50Ms, name+"-visible-p50-ms")
		b.ReportMetric(r.VisibleP99Ms, name+"-visible-p99-ms")
	}
}

const deliveryHead = `| Message | Clients | Delivered/s | Ratio | 250 after, p50; p99, ms | Visible after, p50; p99, ms | Processor per message, ms | Ratio | Written per message, KB |
|---|---|---|---|---|---|---|---|---|
`

func deliveryRow(s sides[bench.Result]) string {
	t, o := s.theirs, s.ours
	return fmt.Sprintf("| %d KiB | %d | %.0f / %.0f | %.2f | %.1f; %.1f / %.1f; %.1f | %.1f; %.1f / %.1f; %.1f | %.2f / %.2f | %.2f | %.1f / %.1f |\n",
		t.SizeBytes>>10, t.Clients, t.PerSecond, o.PerSecond, o.PerSecond/t.PerSecond, t.AckP50Ms, t.AckP99Ms, o.AckP50Ms, o.AckP99Ms,
		t.VisibleP50Ms, t.VisibleP99Ms, o.VisibleP50Ms, o.VisibleP99Ms, t.CPUMsPerMessage, o.CPUMsPerMessage, o.CPUMsPerMessage/t.CPUMsPerMessage,
		float64(t.WrittenPer)/1000, float64(o.WrittenPer)/1000)
}

// BenchmarkRemoteDelivery queues messages for another site, smtp-sink, at Postfix and at a cluster, and waits until the sink has them all.
// Postfix takes them from this machine without a login, a node on its submission port from an account.
func BenchmarkRemoteDelivery(b *testing.B) {
	needRival(b)
	site := startSMTPSink(b)
	const domain = "elsewhere.test"
	c := startClusterWith(b, 3, 2, elsewhere(b, &sink{ip: site.ip}, domain))
	r := startRival(b, nil, fmt.Sprintf("[%s]:%d", site.ip, sinkPort))
	from := c.benchAccounts()[0]
	at := func(round int, smtp []string, from bench.Account, spent func(context.Context) (bench.Spent, error)) (bench.RemoteResult, error) {
		return bench.RunRemote(b.Context(), bench.RemoteOptions{SMTP: smtp, From: from, Domain: domain, Clients: remoteClients, Messages: remoteMessages(), SizeBytes: 20 << 10,
			Seed: uint64(round), Arrived: site.arrived, Spent: spent})
	}
	var submission []string
	for _, n := range c.Nodes {
		submission = append(submission, n.Submission)
	}
	s := inTurn(b, 3, func(r bench.RemoteResult) float64 { return r.PerSecond },
		func(round int) (bench.RemoteResult, error) {
			return at(round, []string{r.smtp()}, bench.Account{Address: from.Address}, r.spent)
		},
		func(round int) (bench.RemoteResult, error) { return at(round, submission, from, c.spent) })
	reportRemote(b, s)
}

// remoteClients submit at once.
const remoteClients = 64

func remoteMessages() int {
	if n, err := strconv.Atoi(os.Getenv("QUORUMAIL_MESSAGES")); err == nil {
		return max(n, remoteClients)
	}
	return 3000
}

func reportRemote(b *testing.B, s sides[bench.RemoteResult]) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.ours.PerSecond/s.theirs.PerSecond, "rate-ratio")
	b.ReportMetric(s.ours.CPUMsPerMessage/s.theirs.CPUMsPerMessage, "cpu-ratio")
	for name, r := range map[string]bench.RemoteResult{"theirs": s.theirs, "ours": s.ours} {
		b.ReportMetric(r.PerSecond, name+"-delivered/s")
		b.ReportMetric(r.QueuedPerSecond, name+"-queued/s")
		b.ReportMetric(r.CPUMsPerMessage, name+"-cpu-ms/msg")
		b.ReportMetric(float64(r.WrittenPer), name+"-written-B/msg")
	}
	t, o := s.theirs, s.ours
	printRows("Theirs / ours: Postfix against three nodes, to smtp-sink", fmt.Sprintf("%s| 20 KiB | %d | %.0f / %.0f | %.0f / %.0f | %.2f | %.2f / %.2f | %.2f | %.1f / %.1f |\n", remoteHead, remoteClients, t.QueuedPerSecond, o.QueuedPerSecond,
		t.PerSecond, o.PerSecond, o.PerSecond/t.PerSecond, t.CPUMsPerMessage, o.CPUMsPerMessage, o.CPUMsPerMessage/t.CPUMsPerMessage, float64(t.WrittenPer)/1000, float64(o.WrittenPer)/1000))
}

// printRows prints what a report can take over as it is. The log of a benchmark is cut after ten lines, and that of one with parts not shown.
func printRows(title, rows string) { fmt.Printf("\n%s\n\n%s\n", title, rows) }

const remoteHead = `| Message | Clients | Queued/s | At the sink/s | Ratio | Processor per message, ms | Ratio | Written per message, KB |
|---|---|---|---|---|---|---|---|
`
