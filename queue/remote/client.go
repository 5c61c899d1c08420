package remote

import (
	"context"
	"fmt"

	"github.com/quorumail/quorumail/protocol/smtp"
)

// Client hands messages to other servers. It may be used by any number of goroutines at once.
type Client struct {
	cfg      Config
	hostname string // as ParseDomain has it
	pool     *pool
}

// New checks the configuration and makes a Client. Close ends it.
func New(cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("remote delivery: %w", err)
	}
	name, err := smtp.ParseDomain(cfg.Hostname)
	if err != nil {
		return nil, fmt.Errorf("remote delivery: host name: %w", err)
	}
	c := &Client{cfg: cfg, hostname: name}
	c.pool = newPool(&c.cfg.Limits, c.cfg.Metrics)
	return c, nil
}

// Close parts from the connections that are kept, and waits until that is done. A Deliver that still runs keeps none.
func (c *Client) Close() { c.pool.close() }

// Deliver tries once to hand the message to its recipients, over the route's hosts in their order, and says for each recipient, in the same
// order, what became of it. For no recipient is the message sent to its end more than once, unless the server refused it: where the end was
// sent and no reply came, no other host is tried. When ctx ends the recipients without a verdict are deferred.
func (c *Client) Deliver(ctx context.Context, route Route, msg Message, rcpts []Recipient) []Result {
	d := &delivery{c: c, route: route, msg: msg, rcpts: rcpts, results: make([]Result, len(rcpts))}
	if err := d.prepare(ctx); err != nil {
		// RFC 3463 §3.4: X.3.0, our own system.
		d.settle(d.pending(), deferred(0, "4.3.0", err.Error()), nil)
	}
	d.run(ctx)
	d.giveUp(ctx)
	c.cfg.Metrics.count(d.results)
	return d.results
}
