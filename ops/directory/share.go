package directory

import "fmt"

// maxBatchBytes bounds one batch of failed logins, so that it fits into one datagram of the gossip; what does not fit comes with the next.
const maxBatchBytes = 1000

// FailedLogins takes what this node has to tell the others of failed logins since the last call; nil when there is nothing. A batch may be
// lost on its way: the other nodes then count less.
func (d *Directory) FailedLogins() []byte { return d.secrets.throttle.Export(maxBatchBytes) }

// Receive counts the failed logins that another node told of. Hearing them twice does no harm.
func (d *Directory) Receive(batch []byte) error {
	if err := d.secrets.throttle.Import(batch); err != nil {
		return fmt.Errorf("take failed logins of another node: %w", err)
	}
	d.cfg.Metrics.Received.Inc()
	return nil
}
