package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"
)

// RemoteOptions say what to send through a server to another site.
type RemoteOptions struct {
	SMTP      []string // addresses to send at, taken in turn by the clients
	From      Account  // who sends; without a password clients do not log in
	Domain    string   // of the recipients, of which there are a hundred
	Clients   int      // at once
	Messages  int      // in all
	SizeBytes int      // of each
	Seed      uint64   // of the bodies
	// Arrived is how many messages have come to the other site so far.
	Arrived func() int
	// Spent reads what the server has used so far; nil when that is not known.
	Spent func(context.Context) (Spent, error)
}

// RemoteResult is one measurement of delivery to another site.
type RemoteResult struct {
	Messages        int     `json:"messages"`
	PerSecond       float64 `json:"delivered_per_second"` // from the first 250 until all have arrived
	QueuedPerSecond float64 `json:"queued_per_second"`    // from the first 250 to the last
	CPUMsPerMessage float64 `json:"cpu_ms_per_message"`
	WrittenPer      int64   `json:"written_bytes_per_message"`
}

// RunRemote sends the messages, waits until all have arrived at the other site, and reports. It fails if one is refused, or if for long
// none arrives.
func RunRemote(ctx context.Context, o RemoteOptions) (RemoteResult, error) {
	res := RemoteResult{Messages: o.Messages}
	var before, after Spent
	var err error
	b := &remoteRun{o: o, want: o.Arrived() + o.Messages}
	defer b.close()
	if err := b.connect(ctx); err != nil {
		return res, err
	}
	b.sources = o.plan().sources()
	if o.Spent != nil {
		if before, err = o.Spent(ctx); err != nil {
			return res, err
		}
	}
	if err := b.sendAll(ctx); err != nil {
		return res, err
	}
	queued := time.Now()
	if err := b.allArrived(ctx); err != nil {
		return res, err
	}
	arrived := time.Now()
	if o.Spent != nil {
		if after, err = o.Spent(ctx); err != nil {
			return res, err
		}
	}
	res.PerSecond = float64(o.Messages) / arrived.Sub(b.first).Seconds()
	res.QueuedPerSecond = float64(o.Messages) / queued.Sub(b.first).Seconds()
	res.CPUMsPerMessage = (after.CPUSeconds - before.CPUSeconds) * 1000 / float64(o.Messages)
	res.WrittenPer = (after.WrittenBytes - before.WrittenBytes) / int64(o.Messages)
	return res, nil
}

func (o RemoteOptions) route(_, seq int) (from, to string) {
	return o.From.Address, fmt.Sprintf("r%02d@%s", seq%100, o.Domain)
}

func (o RemoteOptions) plan() plan {
	return plan{clients: o.Clients, messages: o.Messages, sizeBytes: o.SizeBytes, aheadBytes: aheadBytes, seed: o.Seed, route: o.route}
}

type remoteRun struct {
	o       RemoteOptions
	want    int       // of Arrived when all are there
	conns   []*conn   // of the clients
	sources []*source // of the clients

	once  sync.Once
	first time.Time // of the first 250; set once
}

// connect logs all clients in, one after the other: a server checks only so many passwords at once.
func (b *remoteRun) connect(ctx context.Context) error {
	for i := range b.o.Clients {
		c, err := smtpHello(ctx, b.address(i))
		if err != nil {
			return fmt.Errorf("begin SMTP at %s: %w", b.address(i), err)
		}
		b.conns = append(b.conns, c)
		if err := c.authenticate(b.o.From); err != nil {
			return fmt.Errorf("log in at %s: %w", b.address(i), err)
		}
	}
	return nil
}

func (b *remoteRun) address(client int) string { return b.o.SMTP[client%len(b.o.SMTP)] }

func (b *remoteRun) close() {
	for _, c := range b.conns {
		c.Close()
	}
}

func (b *remoteRun) sendAll(ctx context.Context) error {
	errs := make(chan error, b.o.Clients)
	for i := range b.o.Clients {
		go func() { errs <- b.client(ctx, i) }()
	}
	var all []error
	for range b.o.Clients {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (b *remoteRun) client(ctx context.Context, i int) error {
	for seq := i; seq < b.o.Messages && ctx.Err() == nil; seq += b.o.Clients {
		from, to := b.o.route(i, seq)
		if err := b.conns[i].deliver(from, to, b.sources[i].next()); err != nil {
			return fmt.Errorf("queue message %d at %s: %w", seq, b.address(i), err)
		}
		b.once.Do(func() { b.first = time.Now() })
	}
	return ctx.Err()
}

// authenticate logs in by AUTH PLAIN; not at all without a password.
func (c *conn) authenticate(a Account) error {
	if a.Password == "" {
		return nil
	}
	if err := c.send("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+a.Address+"\x00"+a.Password)) + "\r\n"); err != nil {
		return err
	}
	return c.reply('2')
}

func (b *remoteRun) allArrived(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	last, progress := -1, time.Now()
	for {
		n := b.o.Arrived()
		if n >= b.want {
			return nil
		}
		if n > last {
			last, progress = n, time.Now()
		}
		if time.Since(progress) > replyTimeout {
			return fmt.Errorf("%d of %d messages have not arrived, and for %v none did", b.want-n, b.o.Messages, replyTimeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
