package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Account is a mailbox to send to and to watch.
type Account struct{ Address, Password string }

// Options say what to send where.
type Options struct {
	SMTP      []string  // addresses to send at, taken in turn by the clients of each account
	IMAP      []string  // addresses to watch at, of the same nodes in the same order; no message is sent at the node where its account is watched, unless there is one only
	Accounts  []Account // client i sends to account i % len
	Clients   int       // at once
	Messages  int       // in all
	SizeBytes int       // of each
	Seed      uint64    // of the bodies
	// Spent reads what all nodes together have used so far; nil when that is not known.
	Spent func(context.Context) (Spent, error)
}

// Spent is what processes have used: seconds of processor time and bytes written to disk.
type Spent struct {
	CPUSeconds   float64 `json:"cpu_seconds"`
	WrittenBytes int64   `json:"written_bytes"`
}

// Result is one measurement.
type Result struct {
	Clients         int     `json:"clients"`
	SizeBytes       int     `json:"size_bytes"`
	Messages        int     `json:"messages"`
	CompressedBytes int     `json:"compressed_bytes"` // of each after zstd, as nodes store them, on average
	Ratio           float64 `json:"zstd_ratio"`
	PerSecond       float64 `json:"delivered_per_second"`
	AckP50Ms        float64 `json:"ack_p50_ms"`
	AckP99Ms        float64 `json:"ack_p99_ms"`
	VisibleP50Ms    float64 `json:"visible_p50_ms"` // from the start of sending until visible elsewhere
	VisibleP99Ms    float64 `json:"visible_p99_ms"`
	CPUMsPerMessage float64 `json:"cpu_ms_per_message"`
	WrittenPer      int64   `json:"written_bytes_per_message"`
}

// Run sends the messages, waits until each is visible, and reports. It fails if one is refused or does not appear.
func Run(ctx context.Context, o Options) (Result, error) {
	res := Result{Clients: o.Clients, SizeBytes: o.SizeBytes, Messages: o.Messages}
	raw, packed, err := compressed(rand.New(rand.NewPCG(o.Seed, 0)), o.SizeBytes)
	if err != nil {
		return res, err
	}
	res.CompressedBytes, res.Ratio = int(math.Round(packed)), raw/packed
	b := &run{o: o, accounts: make([]watched, min(len(o.Accounts), o.Clients))}
	var watchers sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	defer func() { stop(); watchers.Wait() }()
	if err := b.watchAll(watching, &watchers); err != nil {
		return res, err
	}
	var before, after Spent
	b.sources = o.plan().sources()
	if o.Spent != nil {
		if before, err = o.Spent(ctx); err != nil {
			return res, err
		}
	}
	b.start = time.Now()
	if err := b.sendAll(ctx); err != nil {
		return res, err
	}
	if err := b.allVisible(ctx); err != nil {
		return res, err
	}
	took := time.Since(b.start)
	if o.Spent != nil {
		if after, err = o.Spent(ctx); err != nil {
			return res, err
		}
	}
	res.PerSecond = float64(o.Messages) / took.Seconds()
	res.CPUMsPerMessage = (after.CPUSeconds - before.CPUSeconds) * 1000 / float64(o.Messages)
	res.WrittenPer = (after.WrittenBytes - before.WrittenBytes) / int64(o.Messages)
	ack, visible := b.latencies()
	res.AckP50Ms, res.AckP99Ms = percentile(ack, 50), percentile(ack, 99)
	res.VisibleP50Ms, res.VisibleP99Ms = percentile(visible, 50), percentile(visible, 99)
	return res, nil
}

type run struct {
	o        Options
	start    time.Time // of sending
	accounts []watched
	sources  []*source // of the clients
	mu       sync.Mutex
	acks     []time.Duration // guarded by mu
	failed   error           // of the first watcher that failed; guarded by mu
}

// watched is one account. All fields but conn are guarded by run.mu.
type watched struct {
	conn    *conn       // of its watcher
	base    int         // messages there before
	sent    []time.Time // start of sending, in the order of the 250s
	seen    int         // of them visible
	visible []time.Duration
}

func (b *run) sendAll(ctx context.Context) error {
	errs := make(chan error, b.o.Clients)
	for i := range b.o.Clients {
		go func() { errs <- b.client(ctx, i) }()
	}
	var first error
	for range b.o.Clients {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (b *run) client(ctx context.Context, i int) error {
	at := i % len(b.accounts)
	address := b.o.sendAt(at, i/len(b.accounts))
	c, err := smtpHello(ctx, address)
	if err != nil {
		return fmt.Errorf("begin SMTP at %s: %w", address, err)
	}
	defer c.Close()
	to := b.o.Accounts[at].Address
	for seq := i; seq < b.o.Messages && ctx.Err() == nil; seq += b.o.Clients {
		msg := b.sources[i].next()
		start := time.Now()
		if err := c.deliver(to, to, msg); err != nil {
			return fmt.Errorf("deliver message %d at %s: %w", seq, address, err)
		}
		b.acknowledged(at, start)
	}
	return ctx.Err()
}

// plan is what the clients send: each to its account, from the account itself.
func (o Options) plan() plan {
	return plan{clients: o.Clients, messages: o.Messages, sizeBytes: o.SizeBytes, aheadBytes: aheadBytes, seed: o.Seed, route: func(client, _ int) (from, to string) {
		to = o.Accounts[client%min(len(o.Accounts), o.Clients)].Address
		return to, to
	}}
}

// watchAt is where an account is watched, as an index into IMAP.
func (o Options) watchAt(account int) int { return (account + 1) % len(o.IMAP) }

// sendAt is where the nth client of an account sends: at the nodes in turn where the account is not watched.
func (o Options) sendAt(account, nth int) string {
	if len(o.SMTP) != len(o.IMAP) || len(o.SMTP) == 1 {
		return o.SMTP[(account+nth)%len(o.SMTP)]
	}
	return o.SMTP[(o.watchAt(account)+1+nth%(len(o.SMTP)-1))%len(o.SMTP)]
}

func (b *run) acknowledged(at int, start time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acks = append(b.acks, time.Since(start))
	w := &b.accounts[at]
	w.sent = append(w.sent, start)
	// The watcher may have seen it before the 250 reached us.
	for len(w.visible) < min(w.seen, len(w.sent)) {
		w.visible = append(w.visible, time.Since(w.sent[len(w.visible)]))
	}
}

func (b *run) exists(at, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &b.accounts[at]
	w.seen = max(w.seen, n-w.base)
	for len(w.visible) < min(w.seen, len(w.sent)) {
		w.visible = append(w.visible, time.Since(w.sent[len(w.visible)]))
	}
}

func (b *run) latencies() (ack, visible []time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.accounts {
		visible = append(visible, b.accounts[i].visible...)
	}
	return b.acks, visible
}

func percentile(d []time.Duration, p int) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[(len(d)-1)*p/100].Microseconds()) / 1000
}
