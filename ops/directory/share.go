package directory

import (
	"context"
	"fmt"
	"time"
)

// How failed logins reach the other nodes. A batch fits a datagram; what does not fit goes with the next one.
const (
	shareEvery = 250 * time.Millisecond
	shareBytes = 1024
)

// Run tells the other nodes of failed logins, by Config.Broadcast, until ctx ends. Without Broadcast it only waits.
func (d *Directory) Run(ctx context.Context) error {
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.share()
		}
	}
}

// share sends one batch, so that a flood of failures does not become one of messages.
func (d *Directory) share() {
	if d.cfg.Broadcast == nil {
		return
	}
	if batch := d.secrets.throttle.Export(shareBytes); batch != nil {
		d.cfg.Broadcast(batch)
	}
}

// Receive takes what another node's Broadcast sent. Hearing it twice does no harm.
func (d *Directory) Receive(batch []byte) error {
	if err := d.secrets.throttle.Import(batch); err != nil {
		return fmt.Errorf("take failed logins of another node: %w", err)
	}
	return nil
}
