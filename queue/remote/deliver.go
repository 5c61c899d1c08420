package remote

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
)

// delivery is one attempt for one message.
type delivery struct {
	c       *Client
	route   Route
	msg     Message
	rcpts   []Recipient
	results []Result // Status 0: no verdict yet
	content *content
	changed map[carriage]*converted
	tried   int           // addresses
	lost    []hostFailure // why hosts were of no use
}

type hostFailure struct {
	failure
	host Host
	addr netip.AddrPort
	tls  string
}

func (d *delivery) prepare(ctx context.Context) (err error) {
	d.changed = map[carriage]*converted{}
	d.content, err = newContent(ctx, d.msg)
	return err
}

// pending are the recipients without a verdict.
func (d *delivery) pending() []int {
	var p []int
	for i, r := range d.results {
		if r.Status == 0 {
			p = append(p, i)
		}
	}
	return p
}

func (d *delivery) done(ctx context.Context) bool {
	return ctx.Err() != nil || !slices.ContainsFunc(d.results, func(r Result) bool { return r.Status == 0 })
}

// run goes through the hosts (RFC 5321 §5.1).
func (d *delivery) run(ctx context.Context) {
	for _, host := range d.route.Hosts {
		if d.done(ctx) {
			return
		}
		if d.msg.RequireTLS && !host.Authentic { // RFC 8689 §4.2.1: the name, too, must be beyond doubt
			d.fail(target{host: host}, nil, noRequireTLS("its name is not authenticated"))
			continue
		}
		d.reuse(ctx, host)
		for _, addr := range host.Addrs {
			if d.done(ctx) || d.tried >= d.c.cfg.Limits.Addrs {
				break
			}
			if d.hasFailed(host, addr) {
				continue // over a kept connection, a moment ago
			}
			d.tried++
			d.fresh(ctx, d.target(host, addr))
			if n := len(d.lost); n > 0 && d.lost[n-1].noWay {
				d.tried-- // it cost nothing, and another family may do
			}
		}
	}
}

func (d *delivery) hasFailed(host Host, addr netip.AddrPort) bool {
	return slices.ContainsFunc(d.lost, func(f hostFailure) bool { return f.addr == addr && f.host.Name == host.Name })
}

func (d *delivery) target(host Host, addr netip.AddrPort) target {
	policy := policyFor(d.route, host, d.msg.RequireTLS)
	key := poolKey{d.route.Key, host.Name, policy, host.VerifyPeer != nil, d.route.Username, d.route.Password}
	return target{host: host, addr: addr, policy: policy, key: key}
}

// reuse takes kept connections while they last. One that died meanwhile is no failure of its host.
func (d *delivery) reuse(ctx context.Context, host Host) {
	for !d.done(ctx) {
		s := d.c.pool.take(ctx, d.target(host, netip.AddrPort{}).key, func(s *session) bool { return d.fits(s, host) })
		if s == nil {
			return
		}
		d.c.cfg.Metrics.Connections.WithLabelValues("reused").Inc()
		if err := d.use(ctx, s); err != nil && !s.reused {
			d.fail(s.to, s.tls, err)
		}
	}
}

// fits tells whether a kept session still serves a host: its addresses or the judgement of its peer may have changed.
func (d *delivery) fits(s *session, host Host) bool {
	if !slices.Contains(host.Addrs, s.to.addr) {
		return false
	}
	if s.tls == nil || host.VerifyPeer == nil {
		return true
	}
	return host.VerifyPeer(s.tls.ConnectionState) == nil
}

// fresh connects, as often as it takes to offer every recipient: a server may limit the transactions of a session.
func (d *delivery) fresh(ctx context.Context, to target) {
	for !d.done(ctx) {
		s, err := d.c.connect(ctx, to)
		if err != nil {
			d.fail(to, nil, d.forRequireTLS(err))
			return
		}
		if err := d.use(ctx, s); err != nil {
			d.fail(to, s.tls, err)
			return
		}
	}
}

// use runs transactions until every recipient has been offered or the session is spent, and then gives the session back. After an error it
// is closed.
func (d *delivery) use(ctx context.Context, s *session) error {
	for !s.spent() && !d.done(ctx) {
		batch := d.batch(s)
		if len(batch) == 0 {
			break
		}
		if err := d.transact(ctx, s, batch); err != nil {
			s.part(err)
			return err
		}
	}
	d.c.pool.put(s)
	return nil
}

// batch picks the recipients of the next transaction (RFC 9422 §4).
func (d *delivery) batch(s *session) []int {
	limit := d.c.cfg.Limits.Recipients
	if n := s.ext.limits.recipients; n > 0 {
		limit = min(limit, n)
	}
	var batch []int
	for _, i := range d.pending() {
		if len(batch) == limit {
			break
		}
		if domain := d.rcpts[i].Address.Domain; s.admits(domain) {
			s.domains[domain] = true
			batch = append(batch, i)
		}
	}
	return batch
}

// admits: RFC 9422 §4.3 counts the domains of a session, not of a transaction.
func (s *session) admits(domain string) bool {
	return !s.settled() || s.domains[domain]
}

// settled tells that no domain can be added any more: such a session is of use to few.
func (s *session) settled() bool {
	return s.ext.limits.domains > 0 && len(s.domains) >= s.ext.limits.domains
}

// fail notes that a host was of no use.
func (d *delivery) fail(to target, t *tlsState, err error) {
	f := broken("session", err)
	d.lost = append(d.lost, hostFailure{*f, to.host, to.addr, t.version()})
	d.c.cfg.Logger.Info("host failed", "pkg", "remote", "msg", d.msg.ID, "domain", d.route.MXDomain, "host", to.host.Name, "addr", to.addr.String(),
		"tls", t.version(), "err", f.Error())
}

// settle gives recipients their verdict.
func (d *delivery) settle(batch []int, f *failure, s *session) {
	r := Result{Status: f.status, Code: f.code, Local: f.local, Enhanced: f.enhanced, Text: f.text}
	if s != nil {
		r.Host, r.Addr, r.TLS, r.Verified = s.to.host.Name, s.to.addr, s.tls.version(), s.tls != nil && s.tls.verified
	}
	for _, i := range batch {
		d.results[i] = r
	}
}

// giveUp gives a verdict to those whom no host took or refused: final only if every host's failure was.
func (d *delivery) giveUp(ctx context.Context) {
	rest := d.pending()
	if len(rest) == 0 {
		return
	}
	r := Result{Status: Deferred, Local: true, Enhanced: "4.4.4", Text: "no host to try", Unreachable: true} // RFC 3463 §3.5
	if ctx.Err() != nil {
		r = Result{Status: Deferred, Local: true, Enhanced: "4.3.2", Text: "the attempt was ended before it was complete"}
	} else if f, ok := decisive(d.lost); ok {
		reached := slices.ContainsFunc(d.lost, func(f hostFailure) bool { return f.message })
		if d.route.Smarthost && !reached {
			f.temporary() // it is ours to mend: nobody's mail is lost for it
		}
		r = Result{Status: f.status, Code: f.code, Local: f.local, Enhanced: f.enhanced, Text: f.text,
			Host: f.host.Name, Addr: f.addr, TLS: f.tls, Unreachable: !reached}
	}
	for _, i := range rest {
		d.results[i] = r
	}
}

// decisive is the last temporary failure, or the last at all.
func decisive(lost []hostFailure) (f hostFailure, ok bool) {
	for _, one := range slices.Backward(lost) {
		if one.status == Deferred {
			return one, true
		}
	}
	if len(lost) == 0 {
		return f, false
	}
	return lost[len(lost)-1], true
}

// noRequireTLS: RFC 8689 §8.
func noRequireTLS(why string) *failure {
	return refused(550, "5.7.30", "REQUIRETLS support required: "+why).ofMessage()
}

// forRequireTLS tells apart what may pass and what will not: a server that has no TLS, or is not who it should be.
func (d *delivery) forRequireTLS(err error) error {
	var bad *tlsFailure
	if d.msg.RequireTLS && errors.As(err, &bad) && bad.untrusted {
		return noRequireTLS(bad.text)
	}
	return err
}

// logTransaction writes the one line that a transaction leaves.
func (d *delivery) logTransaction(s *session, batch []int, r reply, err error) {
	count := map[Status]int{}
	for _, i := range batch {
		count[d.results[i].Status]++
	}
	attrs := []any{"pkg", "remote", "msg", d.msg.ID, "domain", d.route.MXDomain, "host", s.to.host.Name, "addr", s.to.addr.String(),
		"tls", s.tls.version(), "delivered", count[Delivered], "deferred", count[Deferred], "failed", count[Failed], "open", count[0],
		"code", r.code, "text", r.text}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	d.c.cfg.Logger.Info("transaction", attrs...)
}
