package main

import (
	"context"
	"time"

	"github.com/quorumail/quorumail/ops/config"
	"github.com/quorumail/quorumail/protocol/sasl"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/protocol/tally"
)

// The kinds of batches that the nodes tell each other, besides sasl.BatchKind.
const (
	kindAccounts  = 2
	kindAddresses = 3
)

// rates count what is sent, at all nodes together.
type rates struct {
	accounts  *tally.Counter // recipients by account, within an hour
	addresses *tally.Counter // messages by address, within a minute
}

func newRates() (r rates, err error) {
	if r.accounts, err = tally.NewCounter(tally.CounterConfig{Kind: kindAccounts, Window: time.Hour, Now: time.Now}); err != nil {
		return r, err
	}
	r.addresses, err = tally.NewCounter(tally.CounterConfig{Kind: kindAddresses, Window: time.Minute, Now: time.Now})
	return r, err
}

// sendRate makes a counter with the limit of a setting an smtpd.Rate.
type sendRate struct {
	counter *tally.Counter
	limit   func() int // 0: none
}

var _ smtpd.Rate = sendRate{}

// Room implements smtpd.Rate.
func (r sendRate) Room(client string, n int) bool {
	limit := r.limit()
	return limit == 0 || r.counter.Count(client)+n <= limit
}

// Take implements smtpd.Rate. What is not limited is not counted.
func (r sendRate) Take(client string, n int) bool {
	limit := r.limit()
	return limit == 0 || r.counter.Take(client, n, limit)
}

func (n *node) accountRate() smtpd.Rate {
	return sendRate{n.rates.accounts, func() int { return config.SMTPRatePerAccount.From(n.directory.Lookup) }}
}

func (n *node) addressRate() smtpd.Rate {
	return sendRate{n.rates.addresses, func() int { return config.SMTPRatePerAddress.From(n.directory.Lookup) }}
}

const (
	// batchBytes bounds one batch, so that it fits into one datagram of the gossip; what does not fit comes with the next.
	batchBytes = 1000
	// batchesAtOnce bounds the batches of a kind that are told in one second; what is left comes later.
	batchesAtOnce = 16
)

// shareCounts tells the other nodes every second of failed logins and of what was sent here, so that guessing and flooding are slowed at all of
// them. The log never hears of it: a stranger must not be able to write there.
func (n *node) shareCounts(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		n.tell(n.directory.FailedLogins)
		n.tell(func() []byte { return n.rates.accounts.Export(batchBytes) })
		n.tell(func() []byte { return n.rates.addresses.Export(batchBytes) })
	}
}

func (n *node) tell(export func() []byte) {
	for range batchesAtOnce {
		batch := export()
		if len(batch) == 0 {
			return
		}
		if err := n.talker.Tell(batch); err != nil {
			n.log.Warn("tell the others of counts", "pkg", "main", "err", err)
		}
	}
}

// hear takes a batch of another node. One of a kind that this version does not know is left.
func (n *node) hear(batch []byte) error {
	switch tally.Kind(batch) {
	case kindAccounts:
		return n.rates.accounts.Import(batch)
	case kindAddresses:
		return n.rates.addresses.Import(batch)
	case sasl.BatchKind:
		return n.directory.Receive(batch)
	}
	return tally.ErrBatch
}
