package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// rewrite puts what the checks add on top of a message, which makes it another one: it takes the place of the first in one step.
func (m *Manager) rewrite(ctx context.Context, msg *Message, items []*item, v Verdict) error {
	op := &storepb.AddMessage{QueueId: msg.QueueId, EnvelopeFrom: msg.EnvelopeFrom, Envelope: msg.Envelope,
		Origin: &storepb.Origin{Client: msg.Client, Helo: msg.Helo, Account: msg.Account, MessageId: msg.MessageId, Listener: "checks", Checks: clip(v.Reason, 900)}}
	for _, it := range items {
		op.Ends = append(op.Ends, &storepb.QueueEnd{Ref: refOf(it.entry), Moved: true})
		op.Queued = append(op.Queued, &storepb.QueueEntry{Queue: uint32(store.QueueIn), Address: it.entry.Address, Original: it.entry.Original, Warned: it.entry.Warned, Orcpt: it.entry.Orcpt, Notify: it.entry.Notify, Judged: true})
	}
	_, err := m.cfg.Store.AddMessage(ctx, op, func(w io.Writer) error {
		body, err := msg.Open(ctx)
		if err != nil {
			return err
		}
		defer body.Close()
		return withHeaders(w, body, v.Headers)
	})
	if err != nil {
		return fmt.Errorf("add what the checks say to %s: %w", msg.QueueId, err)
	}
	return nil
}

// withHeaders copies a message with fields on top; Return-Path stays the first.
func withHeaders(w io.Writer, body io.Reader, headers []string) error {
	r := &firstLine{r: body}
	line, err := r.read()
	if err != nil {
		return err
	}
	top := strings.Join(headers, "")
	if strings.HasPrefix(line, "Return-Path:") {
		top = line + top
	} else {
		top += line
	}
	if _, err := io.WriteString(w, top); err != nil {
		return err
	}
	_, err = io.Copy(w, body)
	return err
}

// firstLine reads a line byte by byte, so that what follows is still there to be read. It is short: our own.
type firstLine struct{ r io.Reader }

const maxFirstLine = 2000

func (f *firstLine) read() (string, error) {
	var b strings.Builder
	one := make([]byte, 1)
	for b.Len() < maxFirstLine {
		if _, err := io.ReadFull(f.r, one); err != nil {
			if errors.Is(err, io.EOF) {
				return b.String(), nil
			}
			return "", err
		}
		b.WriteByte(one[0])
		if one[0] == '\n' {
			break
		}
	}
	return b.String(), nil
}
