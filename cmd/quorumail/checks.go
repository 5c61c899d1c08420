package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/protocol/smtp/smtpd"
	"github.com/quorumail/quorumail/queue"
	"github.com/quorumail/quorumail/queue/filter"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// checks are what judges mail, before it is taken (smtpd.Checks) or after (queue.Judge).
type checks struct {
	trusted func() []netip.Prefix // networks whose mail is that of this site
	rules   atomic.Pointer[filter.RuleSet]
}

// read follows the site's rules. One that an older or newer program took and this one cannot read is left out: the others still count.
func (c *checks) read(v *state.View) error {
	records, err := v.Rules()
	if err != nil {
		return err
	}
	slices.SortStableFunc(records, func(a, b *storepb.Rule) int { return int(a.Position) - int(b.Position) })
	var rules []filter.Rule
	var bad error
	for _, r := range records {
		rule := filterRule(r)
		if r.Disabled {
			continue
		}
		if _, err := filter.Compile([]filter.Rule{rule}); err != nil {
			bad = fmt.Errorf("rule %s does not count: %w", r.Id, err)
			continue
		}
		rules = append(rules, rule)
	}
	set, err := filter.Compile(rules)
	if err != nil {
		return err
	}
	c.rules.Store(set)
	return bad
}

func filterRule(r *storepb.Rule) filter.Rule {
	return filter.Rule{ID: r.Id, Action: r.Action, Field: r.Field, Header: r.Header, Pattern: r.Pattern, Direction: r.Direction, Note: r.Note, Reply: r.Reply}
}

// chain is everything that judges. Checkers of viruses and spam come to stand behind the rules.
func (c *checks) chain() filter.Chain {
	if set := c.rules.Load(); set != nil {
		return filter.Chain{set}
	}
	return nil
}

func direction(submitted bool) filter.Direction {
	if submitted {
		return filter.Out
	}
	return filter.In
}

// NeedsContent implements smtpd.Checks.
func (c *checks) NeedsContent(submitted bool) bool {
	return c.chain().NeedsContent(direction(submitted))
}

// Check implements smtpd.Checks.
func (c *checks) Check(ctx context.Context, m *smtpd.CheckedMessage) (smtpd.Verdict, error) {
	v, err := c.chain().Check(ctx, &filter.Message{QueueID: m.QueueID, Client: m.Client, Helo: m.Helo, From: m.From, Recipients: m.Recipients,
		Account: uint64(m.Account), Direction: direction(m.Submitted), Open: m.Open})
	if err != nil {
		return smtpd.Verdict{}, err
	}
	return smtpd.Verdict{Action: smtpdActions[v.Action], Headers: v.Headers, Reply: v.Reply, Rules: v.Rules}, nil
}

var smtpdActions = map[filter.Action]smtpd.Action{filter.Accept: smtpd.Accept, filter.Tag: smtpd.Tag, filter.Tempfail: smtpd.Tempfail, filter.Hold: smtpd.Hold, filter.Reject: smtpd.Reject}

// Judge implements queue.Judge.
func (c *checks) Judge(ctx context.Context, m *queue.Message, entries []*storepb.QueueEntry) (queue.Verdict, error) {
	from, recipients := envelopeOf(m.EnvelopeFrom, entries)
	client, _ := netip.ParseAddr(m.Client) // the zero address where there was none
	v, err := c.chain().Check(ctx, &filter.Message{QueueID: m.QueueId, Client: client, Helo: m.Helo, From: from, Recipients: recipients, Account: m.Account,
		Direction: direction(ownMail(m, c.trusted())), Open: func() (io.ReadCloser, error) { return m.Open(ctx) }})
	if err != nil {
		return queue.Verdict{}, err
	}
	out := queue.Verdict{Reject: v.Action == filter.Reject, Tempfail: v.Action == filter.Tempfail, Hold: v.Action == filter.Hold, Headers: v.Headers, Reason: v.Reply}
	if out.Reason == "" && len(v.Rules) > 0 {
		out.Reason = v.Action.String() + " by rule " + strings.Join(v.Rules, ", ")
	}
	return out, nil
}

// envelopeOf reads addresses that were checked when the message was taken.
func envelopeOf(sender string, entries []*storepb.QueueEntry) (from smtp.Address, recipients []smtp.Address) {
	if a, err := smtp.ParseAddress(sender); err == nil {
		from = a
	}
	for _, e := range entries {
		if a, err := smtp.ParseAddress(e.Address); err == nil {
			recipients = append(recipients, a)
		}
	}
	return from, recipients
}
