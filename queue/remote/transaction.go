package remote

import "context"

// transaction is one MAIL … DATA. Its replies are noted first and judged afterwards, since pipelined ones come whatever went before.
type transaction struct {
	d       *delivery
	s       *session
	batch   []int // of recipients, by their place in the delivery
	utf8    bool
	body    body
	reset   reply
	mail    reply
	rcpt    []reply // of batch
	data    reply   // of DATA, where it was sent along
	end     reply   // of the body
	closing bool    // 421 was said
}

// transact offers the message to some recipients. An error concerns the session: those without a verdict may be offered to another host.
func (d *delivery) transact(ctx context.Context, s *session, batch []int) error {
	t := &transaction{d: d, s: s, batch: batch}
	sent, err := t.check(ctx)
	if err == nil && sent {
		s.mails++
		err = t.run(ctx)
		d.c.cfg.Metrics.Transactions.WithLabelValues(orClear(s.tls.version())).Inc()
		d.logTransaction(s, batch, t.last(), err)
	}
	return err
}

func orClear(version string) string {
	if version == "" {
		return "clear"
	}
	return version
}

// last is the reply that tells most.
func (t *transaction) last() reply {
	for _, r := range []reply{t.end, t.data, t.mail} {
		if r.code != 0 {
			return r
		}
	}
	return t.reset
}

// run is a transaction that may begin.
func (t *transaction) run(ctx context.Context) error {
	err := t.s.exchange(t)
	if t.answered() {
		t.s.reused = false // it lives, and what fails from now on counts
	}
	accepted, judged := t.judge()
	switch {
	case err != nil:
		return broken("envelope", err)
	case judged != nil:
		return judged
	case len(accepted) == 0:
		return t.nobody()
	}
	return t.send(ctx, accepted)
}

// answered tells that MAIL had a reply other than a parting that had been lying in wait.
func (t *transaction) answered() bool { return t.mail.code != 0 && t.mail.code != 421 }

// over tells that the rest of the envelope is of no use.
func (t *transaction) over() bool {
	return t.closing || t.reset.code != 0 && t.reset.code != 250 || t.mail.code != 0 && t.mail.code/100 != 2
}

// judge gives verdicts for what the replies to the envelope decide, and returns the recipients that were accepted.
func (t *transaction) judge() (accepted []int, err error) {
	switch {
	case t.reset.code != 0 && t.reset.code != 250:
		return nil, answered("RSET", t.reset)
	case t.mail.code == 0:
		return nil, nil // the connection broke
	case t.mail.code == 530 && (t.s.to.clear || t.d.route.Smarthost):
		// RFC 3207 §4: "Must issue a STARTTLS command first." We would have liked to; that it failed need not last. Nor need it last that we
		// do not log in where we should (RFC 4954 §6).
		return nil, answered("MAIL", t.mail).temporary()
	case t.mail.code/100 == 5:
		t.d.settle(t.batch, answered("MAIL", t.mail), t.s)
		return nil, nil
	case t.mail.code/100 == 4 && t.mail.code != 421: // a server that cannot take this mail now, or not from this sender: the next may
		return nil, answered("MAIL", t.mail).ofMessage()
	case t.mail.code/100 != 2:
		return nil, answered("MAIL", t.mail)
	}
	for k, i := range t.batch {
		ok, verdict := t.recipient(t.rcpt[k], len(accepted) > 0)
		if ok {
			accepted = append(accepted, i)
		} else if verdict != nil {
			t.d.settle([]int{i}, verdict, t.s)
		}
		if c := t.rcpt[k].code; c == 421 || c != 0 && c/100 == 3 {
			err = answered("RCPT", t.rcpt[k])
		}
	}
	if t.data.code == 421 {
		err = answered("DATA", t.data)
	}
	return accepted, err
}

// recipient judges the reply to one RCPT. Neither accepted nor a verdict: it stays to be offered again.
func (t *transaction) recipient(r reply, others bool) (accepted bool, verdict *failure) {
	switch {
	case r.code/100 == 2:
		return true, nil
	case r.code/100 < 4 || r.code == 421, others && tooMany(r):
		return false, nil
	}
	return false, answered("RCPT", r)
}

// tooMany: RFC 5321 §4.5.3.1.10. The recipients past the limit go into a further transaction. 552 is what older servers say; X.5.3 has no other
// meaning (RFC 3463 §3.6), whatever the code is that comes with it.
func tooMany(r reply) bool {
	switch r.enhanced {
	case "4.5.3", "5.5.3":
		return true
	case "4.0.0", "5.0.0":
		return r.code == 452 || r.code == 552
	}
	return false
}
