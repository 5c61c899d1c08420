package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumail/quorumail/ops/admin"
	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

const (
	defaultTraces = 20
	maxTraces     = 1000
	// maxTraceEvents bounds what is told of one message: the last so many.
	maxTraceEvents = 10_000
)

func traceCommand() *cobra.Command {
	c := withJSON(&cobra.Command{Use: "trace QUEUE-ID|MESSAGE-ID|ADDRESS", Short: "Tell the whole story of a message: who, when, at which node, with which answers", Args: cobra.ExactArgs(1),
		Long: "Tells what became of a message, at any node. It is found by its queue id, which senders saw in the 250, or by its Message-ID. An address\n" +
			"finds the messages from it and to it, the newest last. Traces are kept for the days of the setting trace.keep_days.",
		Example: `  quorumail trace 4mz8qk2c1x
  quorumail trace '<20261130.1234@example.org>'
  quorumail trace an@example.org --limit 3 --last 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := admin.TraceRequest{What: args[0]}
			r.Limit, _ = cmd.Flags().GetInt("limit")
			r.Last, _ = cmd.Flags().GetInt("last")
			if r.Limit < 1 || r.Limit > maxTraces || r.Last < 0 {
				return usageError{fmt.Errorf("--limit takes 1 to %d messages, and --last a number of events", maxTraces)}
			}
			list, err := call[[]admin.Trace](cmd, "trace", r)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printTraces(cmd.OutOrStdout(), list)
		}})
	c.Flags().Int("limit", defaultTraces, "of the messages of an address, so many of the newest")
	c.Flags().Int("last", 0, "of the events of a message, only so many of the last; 0: all")
	return c
}

// trace finds messages by what an administrator knows of them. store.ErrNotFound.
func (o *office) trace(ctx context.Context, r admin.TraceRequest) (out []admin.Trace, err error) {
	limit := r.Limit
	if limit <= 0 || limit > maxTraces {
		limit = defaultTraces
	}
	err = o.read(ctx, func(v *state.View) error {
		servers, err := serverNames(v)
		if err != nil {
			return err
		}
		if out, err = tracesOf(v, []string{strings.TrimSpace(r.What)}, r.Last, servers); err != nil || len(out) > 0 {
			return err
		}
		ids, err := traceIDs(v, r.What, limit)
		if err != nil {
			return err
		}
		out, err = tracesOf(v, ids, r.Last, servers)
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("no message is known by the queue id, Message-ID or address %q; traces are kept for the days of the setting trace.keep_days: %w", r.What, store.ErrNotFound)
	}
	out = out[max(0, len(out)-limit):]
	return out, err
}

// traceIDs are the queue ids of the messages that an address or a Message-ID has to do with.
func traceIDs(v *state.View, what string, limit int) ([]string, error) {
	ids, err := v.TracesAbout(what, limit)
	if err != nil {
		return nil, fmt.Errorf("look for traces: %w", err)
	}
	a, err := smtp.ParseAddress(strings.Trim(what, "<> "))
	if err != nil {
		return ids, nil // a Message-ID need not be an address
	}
	more, err := v.TracesAbout(a.Canonical(), limit)
	if err != nil {
		return nil, fmt.Errorf("look for traces: %w", err)
	}
	for _, id := range more {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// tracesOf are the stories of messages, the newest last.
func tracesOf(v *state.View, ids []string, last int, servers names) ([]admin.Trace, error) {
	var out []admin.Trace
	for _, id := range ids {
		t, err := traceOf(v, id, last, servers)
		if err != nil {
			return nil, err
		}
		if len(t.Events) > 0 {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b admin.Trace) int { return a.Events[0].Time.Compare(b.Events[0].Time) })
	return out, nil
}

// traceOf is the story of the message with a queue id, without events when there is none.
func traceOf(v *state.View, queueID string, last int, servers names) (admin.Trace, error) {
	if last <= 0 || last > maxTraceEvents {
		last = maxTraceEvents
	}
	t := admin.Trace{QueueID: queueID, Events: []admin.TraceEvent{}}
	var failed error
	err := v.TraceOf(queueID, func(e *storepb.TraceEvent) bool {
		var shown admin.TraceEvent
		shown, failed = traceEvent(v, e, servers)
		t.Events = append(t.Events, shown)
		if len(t.Events) >= 2*last { // not at each event: that would copy them all each time
			dropEvents(&t, last)
		}
		return failed == nil
	})
	dropEvents(&t, last)
	if err := errors.Join(err, failed); err != nil {
		return t, fmt.Errorf("read the trace of %s: %w", queueID, err)
	}
	return t, nil
}

// dropEvents leaves the last events, and counts those before.
func dropEvents(t *admin.Trace, last int) {
	over := max(0, len(t.Events)-last)
	t.Events, t.Omitted = slices.Delete(t.Events, 0, over), t.Omitted+over
}

func traceEvent(v *state.View, e *storepb.TraceEvent, servers names) (admin.TraceEvent, error) {
	out := admin.TraceEvent{Time: moment(e.UnixMs), Node: servers.of(e.Server), Kind: e.Kind, Address: e.Address, Text: e.Text, Peer: e.Peer, Code: e.Code, Attempt: e.Attempt,
		Related: e.Related, Bytes: e.RawBytes, Queued: e.Queued}
	if o := e.Origin; o != nil {
		out.Client, out.Helo, out.TLS, out.Listener, out.MessageID, out.Recipients, out.Checks = o.Client, o.Helo, o.Tls, o.Listener, o.MessageId, o.Recipients, o.Checks
		if out.Account = o.AccountAddress; out.Account == "" {
			var err error
			if out.Account, err = addressOf(v, o.Account); err != nil {
				return out, err
			}
		}
	}
	if e.Kind == "accepted" {
		out.Sender = &e.EnvelopeFrom
	}
	for _, p := range e.Placed {
		place, err := tracePlace(v, p)
		if err != nil {
			return out, err
		}
		out.Placed = append(out.Placed, place)
	}
	return out, nil
}

func tracePlace(v *state.View, p *storepb.PlacedMessage) (admin.TracePlace, error) {
	out := admin.TracePlace{UID: p.Uid}
	var err error
	if out.Account, err = addressOf(v, p.Account); err != nil {
		return out, err
	}
	if err := state.CodeError(p.Code); err != nil {
		out.Error = err.Error()
	}
	mb, err := v.Mailbox(store.AccountID(p.Account), store.MailboxID(p.Mailbox))
	switch {
	case errors.Is(err, store.ErrNotFound):
		out.Mailbox = "a mailbox that is gone"
		if p.Mailbox == 0 {
			out.Mailbox = "INBOX"
		}
		return out, nil
	case err != nil:
		return out, fmt.Errorf("read a mailbox: %w", err)
	}
	out.Mailbox = mb.Name
	return out, nil
}
