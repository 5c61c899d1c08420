package remote

import "time"

// pipelineWindow is how many commands are sent before their replies are read: so few that neither side can come to wait for the other with
// full buffers (RFC 2920 §3.1).
const pipelineWindow = 50

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
