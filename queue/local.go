package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/smtp"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/state"
	"github.com/quorumail/quorumail/store/storepb"
)

// place tries to put messages into mailboxes that could not take them before.
func (m *Manager) place(ctx, writing context.Context, job []*item) error {
	var refs []*storepb.QueueRef
	for _, it := range job {
		refs = append(refs, refOf(it.entry))
	}
	codes, err := m.proposeCodes(ctx, len(refs), func(c *storepb.Command) {
		c.Op = &storepb.Command_QueuePlace{QueuePlace: &storepb.QueuePlace{Refs: refs, EnforceQuota: true}}
	})
	if err != nil {
		return fmt.Errorf("place %d messages: %w", len(refs), err)
	}
	var waiting []*item
	var outs []Outcome
	for i, it := range job {
		if out, settled := placed(state.CodeError(codes[i])); !settled {
			waiting, outs = append(waiting, it), append(outs, out)
		}
	}
	i := -1
	m.writeAll(writing, m.decideAll(waiting, func(*item) Outcome { i++; return outs[i] }))
	return nil
}

// placed is the outcome of a placing; settled: nothing is left to say.
func placed(err error) (out Outcome, settled bool) {
	switch {
	case err == nil, errors.Is(err, store.ErrConflict):
		return Outcome{}, true
	case errors.Is(err, store.ErrOverQuota):
		return Outcome{Result: store.AttemptDeferred, Code: 452, Status: "4.2.2", Reason: "the mailbox is full"}, false
	case errors.Is(err, store.ErrUnavailable):
		return Outcome{Result: store.AttemptDeferred, Code: 450, Status: "4.2.1", Reason: "the account is suspended"}, false
	case errors.Is(err, store.ErrNotFound):
		return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.1.1", Reason: "there is no such mailbox any more"}, false
	}
	return Outcome{Result: store.AttemptFailed, Code: 554, Status: "5.3.0", Reason: "the mailbox cannot take it: " + err.Error()}, false
}

// judge does for messages of the queue "in" what was not done when they were taken: the checks, unless somebody overruled them, and the
// routing.
func (m *Manager) judge(ctx, writing context.Context, job []*item) error {
	msg, err := m.message(job[0].entry.Message)
	if err != nil {
		return err
	}
	verdict := Verdict{}
	if !job[0].entry.Judged && m.cfg.Judge != nil {
		var entries []*storepb.QueueEntry
		for _, it := range job {
			entries = append(entries, it.entry)
		}
		if verdict, err = m.cfg.Judge.Judge(ctx, msg, entries); err != nil {
			m.cfg.Logger.Warn("a message cannot be checked yet", "msg", msg.QueueId, "err", err)
			verdict = Verdict{Tempfail: true, Reason: "the checks could not be made: " + err.Error()}
		}
	}
	switch {
	case verdict.Reject:
		m.writeAll(writing, m.decideAll(job, func(*item) Outcome {
			return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.7.1", Reason: verdict.Reason}
		}))
		return nil
	case verdict.Tempfail:
		m.putBack(writing, job, verdict.Reason)
		return nil
	case len(verdict.Headers) > 0 && !verdict.Hold:
		return m.rewrite(ctx, msg, job, verdict)
	}
	for _, it := range job {
		if err := m.route(ctx, writing, it, verdict); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) putBack(writing context.Context, job []*item, reason string) {
	m.writeAll(writing, m.decideAll(job, func(*item) Outcome {
		return Outcome{Result: store.AttemptDeferred, Code: 451, Status: "4.3.0", Reason: reason}
	}))
}

// route finds out where a recipient of the queue "in" goes.
func (m *Manager) route(ctx, writing context.Context, it *item, v Verdict) error {
	op := &storepb.QueueRoute{Ref: refOf(it.entry), Checks: clip(v.Reason, 900), Hold: v.Hold}
	if !v.Hold {
		targets, entries, err := m.destinations(ctx, it.entry.Address)
		switch {
		case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid):
			m.writeAll(writing, m.decideAll([]*item{it}, func(*item) Outcome {
				return Outcome{Result: store.AttemptFailed, Code: 550, Status: "5.1.1", Reason: "there is no such address here"}
			}))
			return nil
		case err != nil:
			m.putBack(writing, []*item{it}, "the address cannot be looked up: "+err.Error())
			return nil
		}
		op.Targets, op.Entries = targets, entries
	}
	_, err := m.cfg.Store.Propose(ctx, func(c *storepb.Command) { c.Op = &storepb.Command_QueueRoute{QueueRoute: op} })
	if err != nil {
		return fmt.Errorf("route a message: %w", err)
	}
	return nil
}

// destinations are the mailboxes and queue entries that an address stands for.
func (m *Manager) destinations(ctx context.Context, address string) ([]*storepb.Target, []*storepb.QueueEntry, error) {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return nil, nil, fmt.Errorf("read the address: %w: %w", store.ErrInvalid, err)
	}
	boxes, local, err := m.cfg.Resolver.Resolve(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	if !local {
		return nil, []*storepb.QueueEntry{{Queue: uint32(store.QueueRemote), Address: address}}, nil
	}
	targets, entries := m.split(boxes)
	return targets, entries, nil
}

// split sorts recipients into those that are served at once and those that wait.
func (m *Manager) split(boxes []state.Recipient) (targets []*storepb.Target, entries []*storepb.QueueEntry) {
	now := m.cfg.Now()
	_, offset := now.Zone()
	for _, b := range boxes {
		switch {
		case b.Remote:
			entries = append(entries, &storepb.QueueEntry{Queue: uint32(store.QueueRemote), Address: b.Address})
		case b.Suspended:
			entries = append(entries, &storepb.QueueEntry{Queue: uint32(store.QueueLocal), Address: b.Address, Account: uint64(b.Account), Mailbox: uint64(b.Mailbox)})
		default:
			targets = append(targets, &storepb.Target{Account: uint64(b.Account), Mailbox: uint64(b.Mailbox), InternalDateUnix: now.Unix(),
				InternalDateZone: int32(offset / 60)})
		}
	}
	return targets, entries
}

// rewrite puts what the checks add on top of a message, which makes it another one: it takes the place of the first in one step.
func (m *Manager) rewrite(ctx context.Context, msg *Message, job []*item, v Verdict) error {
	op := &storepb.AddMessage{QueueId: msg.QueueId, EnvelopeFrom: msg.EnvelopeFrom, Envelope: msg.Envelope,
		Origin: &storepb.Origin{Client: msg.Client, Helo: msg.Helo, Account: msg.Account, MessageId: msg.MessageId, Listener: "checks", Checks: clip(v.Reason, 900)}}
	for _, it := range job {
		op.Ends = append(op.Ends, &storepb.QueueEnd{Ref: refOf(it.entry), Moved: true})
		op.Queued = append(op.Queued, &storepb.QueueEntry{Queue: uint32(store.QueueIn), Address: it.entry.Address, Orcpt: it.entry.Orcpt, Notify: it.entry.Notify, Judged: true})
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

// notify tells a sender of what became of recipients of one message, each kind of news in a message of its own.
func (m *Manager) notify(ctx context.Context, job []*item) error {
	msg, err := m.message(job[0].entry.Message)
	if err != nil {
		return err
	}
	type kind struct {
		notice     store.Notice
		postmaster bool
	}
	byKind := map[kind][]*storepb.QueueEntry{}
	for _, it := range job {
		k := kind{store.Notice(it.entry.Notice), it.entry.Postmaster}
		byKind[k] = append(byKind[k], it.entry)
	}
	for k, entries := range byKind {
		n := Notice{Kind: k.notice, Postmaster: k.postmaster, To: msg.EnvelopeFrom, Message: msg, Recipients: entries, Now: m.cfg.Now()}
		if err := m.tell(ctx, n); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// tell sends one notice, which ends the entries that it is about in the same step.
func (m *Manager) tell(ctx context.Context, n Notice) error {
	op := &storepb.AddMessage{QueueId: smtp.NewQueueID(n.Now), Origin: &storepb.Origin{Listener: "notice"}}
	if err := m.address(ctx, &n, op); err != nil {
		return err
	}
	n.ID = op.QueueId
	n.RetryUntil = n.Now.Add(m.cfg.Policy().filled().MaxAge - m.now().age(n.Recipients[0]))
	for _, e := range n.Recipients {
		op.Ends = append(op.Ends, &storepb.QueueEnd{Ref: refOf(e), Warned: n.Kind == store.NoticeDelayed})
	}
	op.Origin.Recipients = []string{n.To}
	_, err := m.cfg.Store.AddMessage(ctx, op, func(w io.Writer) error {
		if _, err := io.WriteString(w, "Return-Path: <>\r\n"); err != nil {
			return err
		}
		return m.cfg.Notices.Write(ctx, w, n)
	})
	if err != nil {
		return fmt.Errorf("tell the sender of %s: %w", n.Message.QueueId, err)
	}
	m.cfg.Metrics.Notices.WithLabelValues(noticeName(n.Kind)).Inc()
	m.cfg.Logger.Info("a sender is told", "msg", n.Message.QueueId, "kind", noticeName(n.Kind), "notice", op.QueueId, "recipients", len(n.Recipients))
	return nil
}

func noticeName(n store.Notice) string {
	switch n {
	case store.NoticeFailed:
		return "failed"
	case store.NoticeDelayed:
		return "delayed"
	case store.NoticeDelivered:
		return "delivered"
	case store.NoticeRelayed:
		return "relayed"
	}
	return "expanded"
}

// address finds who gets a notice. What its sender's own site does not know goes to a postmaster, if it is bad news.
func (m *Manager) address(ctx context.Context, n *Notice, op *storepb.AddMessage) error {
	if !n.Postmaster {
		targets, entries, err := m.destinations(ctx, n.To)
		switch {
		case err == nil:
			op.Targets, op.Queued = targets, entries
			return nil
		case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrInvalid):
			return fmt.Errorf("find the sender %s: %w", n.To, err)
		}
		n.Postmaster = true
	}
	boxes, err := m.cfg.Resolver.Postmaster(ctx)
	if err != nil {
		return fmt.Errorf("find a postmaster: %w", err)
	}
	op.Targets, op.Queued = m.split(boxes)
	n.To = boxes[0].Address
	return nil
}

// handOvers gives the entries of servers that cannot work to others, as long as this node leads.
func (m *Manager) handOvers(ctx context.Context) {
	down := map[store.ServerID]time.Time{}
	for pause(ctx, time.Second) {
		if !m.cfg.Cluster.IsLeader() {
			clear(down)
			continue
		}
		if err := m.handOverOnce(ctx, down); err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("hand over the entries of a node that is away", "err", err)
		}
	}
}

func (m *Manager) handOverOnce(ctx context.Context, down map[store.ServerID]time.Time) error {
	workers := map[store.ServerID]bool{}
	var to []string
	for _, id := range m.cfg.Cluster.Workers() {
		workers[id] = true
		to = append(to, string(id))
	}
	v := m.cfg.Store.View()
	owners, err := v.QueueOwners()
	v.Close()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, owner := range owners {
		if workers[owner] {
			delete(down, owner)
			continue
		}
		if _, known := down[owner]; !known {
			down[owner] = now
		}
		if now.Sub(down[owner]) < m.cfg.TakeOver || len(to) == 0 {
			continue
		}
		n, err := m.handOver(ctx, owner, to)
		if n > 0 {
			m.cfg.Logger.Warn("took over the queue of a node that cannot work", "node", owner, "entries", n)
			m.cfg.Metrics.HandOvers.Add(float64(n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// handOver gives all entries of a server to others.
func (m *Manager) handOver(ctx context.Context, from store.ServerID, to []string) (n uint64, err error) {
	for {
		res, err := m.cfg.Store.Propose(ctx, func(c *storepb.Command) {
			c.Op = &storepb.Command_QueueHandOver{QueueHandOver: &storepb.QueueHandOver{From: string(from), To: to, Limit: maxRefs}}
		})
		if err != nil {
			return n, fmt.Errorf("hand over the entries of %s: %w", from, err)
		}
		n += res.Count
		if res.Count < maxRefs {
			return n, nil
		}
	}
}

// Leave ends this node's work on queues and gives its entries to the others: it begins nothing new, waits until what is under way is done or
// ctx ends, and hands over. Without others the entries stay.
func (m *Manager) Leave(ctx context.Context) error {
	m.leaving.Store(true)
	for m.running.Load() > 0 && pause(ctx, 20*time.Millisecond) {
	}
	var to []string
	for _, id := range m.cfg.Cluster.Workers() {
		if id != m.cfg.Self {
			to = append(to, string(id))
		}
	}
	if len(to) == 0 {
		return nil
	}
	n, err := m.handOver(ctx, m.cfg.Self, to)
	if n > 0 {
		m.cfg.Logger.Info("handed this node's queue to the others", "entries", n)
	}
	return err
}
