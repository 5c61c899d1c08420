package remote

import (
	"context"
	"errors"
	"io"
)

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
