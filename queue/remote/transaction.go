package remote

import (
	"context"
	"errors"
	"io"
	"time"
)

// pipelineWindow is how many commands are sent before their replies are read: so few that neither side can come to wait for the other with
// full buffers (RFC 2920 §3.1).
const pipelineWindow = 50

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

// step is a command and what its reply is noted in.
type step struct {
	line string
	time time.Duration
	note *reply
}

func (t *transaction) steps() []step {
	times, ext := &t.s.c.cfg.Timeouts, t.s.ext
	var steps []step
	if t.s.needRset {
		steps = append(steps, step{"RSET", times.Mail, &t.reset})
	}
	steps = append(steps, step{mailLine(t.d.msg, ext, t.body.facts, t.utf8), times.Mail, &t.mail})
	t.rcpt = make([]reply, len(t.batch))
	for k, i := range t.batch {
		steps = append(steps, step{rcptLine(t.d.rcpts[i], ext, t.utf8), times.Rcpt, &t.rcpt[k]})
	}
	if ext.pipelining && !ext.chunking {
		steps = append(steps, step{"DATA", times.DataStart, &t.data}) // the last of a group (RFC 2920 §3.1)
	}
	return steps
}

// exchange sends the envelope, pipelined or not, and notes the replies.
func (s *session) exchange(t *transaction) error {
	window := 1
	if s.ext.pipelining {
		window = pipelineWindow
	}
	for steps := t.steps(); len(steps) > 0 && !t.over(); {
		group := steps[:min(window, len(steps))]
		steps = steps[len(group):]
		if err := t.group(group); err != nil {
			return err
		}
	}
	s.needRset = true // until the message has its reply
	return nil
}

func (t *transaction) group(group []step) error {
	if err := t.s.quiet(); err != nil {
		return err
	}
	for _, one := range group {
		if err := t.s.queue(one.line, t.utf8); err != nil {
			return err
		}
	}
	if err := t.s.bw.Flush(); err != nil {
		return err
	}
	for _, one := range group {
		r, err := t.s.read(one.time)
		if err != nil {
			return err
		}
		*one.note = r
		if r.code == 421 { // RFC 5321 §3.8: the connection is closed after it, so that no further reply can be counted on
			t.closing = true
			return nil
		}
	}
	return nil
}

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
	case t.mail.code/100 == 5:
		t.d.settle(t.batch, answered("MAIL", t.mail), t.s)
		return nil, nil
	case t.mail.code/100 != 2:
		return nil, answered("MAIL", t.mail) // a server that cannot take mail now: the next may
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

// tooMany: RFC 5321 §4.5.3.1.10. The recipients past the limit go into a further transaction. 552 is what older servers say.
func tooMany(r reply) bool {
	if r.code != 452 && r.code != 552 {
		return false
	}
	return r.enhanced == "4.5.3" || r.enhanced == "5.5.3" || r.enhanced == "4.0.0" || r.enhanced == "5.0.0"
}

// nobody ends a transaction without recipients. If DATA was sent along and taken all the same, the body is empty (RFC 2920 §3.1).
func (t *transaction) nobody() error {
	if t.data.code != 354 {
		return nil
	}
	if _, err := io.WriteString(t.s.bw, ".\r\n"); err != nil {
		return broken("DATA", err)
	}
	if err := t.s.bw.Flush(); err != nil {
		return broken("DATA", err)
	}
	if _, err := t.s.read(t.s.c.cfg.Timeouts.DataEnd); err != nil {
		return broken("DATA", err)
	}
	return nil
}

// send gives the message to those accepted.
func (t *transaction) send(ctx context.Context, accepted []int) error {
	if err := t.s.quiet(); err != nil {
		return broken("envelope", err)
	}
	if t.s.ext.chunking {
		return t.finish(accepted, t.chunk(ctx))
	}
	if !t.s.ext.pipelining {
		r, err := t.s.command(t.s.c.cfg.Timeouts.DataStart, "DATA")
		if err != nil {
			return broken("DATA", err)
		}
		t.data = r
	}
	switch {
	case t.data.code == 421:
		return answered("DATA", t.data)
	case t.data.code != 354:
		t.d.settle(accepted, answered("DATA", t.data), t.s)
		return nil
	}
	if err := t.s.quiet(); err != nil {
		return broken("DATA", err)
	}
	return t.finish(accepted, t.dots(ctx))
}

// dots sends the body after 354. An error means that its end was not sent.
func (t *transaction) dots(ctx context.Context) error {
	w := &dotWriter{w: t.s.bw}
	if err := t.body.write(ctx, w); err != nil {
		return err
	}
	if err := w.close(); err != nil {
		return err
	}
	return t.s.bw.Flush()
}

// chunk sends the body as one BDAT (RFC 3030 §2): its size is known. An error means that it was not sent whole.
func (t *transaction) chunk(ctx context.Context) error {
	if err := t.s.queue("BDAT "+decimal(t.body.facts.size)+" LAST", false); err != nil {
		return err
	}
	w := &chunkWriter{w: t.s.bw, left: t.body.facts.size}
	if err := t.body.write(ctx, w); err != nil {
		return err
	}
	if err := w.close(t.body.facts.open); err != nil {
		return err
	}
	return t.s.bw.Flush()
}

// finish reads what the server says to the message. sending is what went wrong while it was sent: then its last bytes did not all leave, the
// server cannot have the whole, and the connection ends.
func (t *transaction) finish(accepted []int, sending error) error {
	if sending != nil {
		return t.unsent(accepted, sending)
	}
	r, err := t.s.read(t.s.c.cfg.Timeouts.DataEnd)
	if err == nil {
		t.end = r
	}
	switch {
	case err != nil, r.code/100 == 3:
		return t.unknown(accepted, err)
	case r.code == 421:
		return answered("the message", r)
	case r.code/100 != 2:
		t.d.settle(accepted, answered("the message", r), t.s)
	default:
		t.delivered(accepted, r)
	}
	t.s.needRset = false
	return nil
}

func (t *transaction) delivered(accepted []int, r reply) {
	t.d.settle(accepted, &failure{status: Delivered, code: r.code, enhanced: r.enhanced, text: r.text}, t.s)
	for _, i := range accepted {
		t.d.results[i].DSNRelayed = t.s.ext.dsn
	}
}

// unknown: the message may have been taken. Nobody else may get it now, or it would be there twice; and it cannot be called delivered.
func (t *transaction) unknown(accepted []int, err error) error {
	why := broken("the message was sent to its end, and whether it was taken is not known", errors.Join(err, unanswered(t.end)))
	t.d.settle(accepted, why, t.s)
	for _, i := range accepted {
		t.d.results[i].Unknown = true
	}
	return why
}

func unanswered(r reply) error {
	if r.code == 0 {
		return nil
	}
	return errReply
}

// unsent: a server that has had enough may have said so before it closed the connection.
func (t *transaction) unsent(accepted []int, sending error) error {
	var local *localError
	switch {
	case errors.Is(sending, errBareLine):
		t.d.settle(accepted, refused(554, "5.6.0", sending.Error()), t.s)
		return broken("message", sending)
	case errors.As(sending, &local), errors.Is(sending, errSize):
		t.d.settle(accepted, deferred(0, "4.3.0", "read message: "+sending.Error()), t.s)
		return broken("message", sending)
	}
	if r, err := t.s.read(t.s.c.cfg.Timeouts.Quit); err == nil && r.code >= 400 {
		t.end = r
		if r.code != 421 {
			t.d.settle(accepted, answered("the message", r), t.s)
		}
		return deferred(0, "4.4.2", "the server ended the message early: "+r.text)
	}
	return broken("message", sending)
}
