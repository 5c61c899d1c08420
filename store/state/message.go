package state

import (
	"encoding/binary"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Kinds of change in a mailbox's log of changes.
const (
	changeNew      = 'n'
	changeFlags    = 'f'
	changeExpunged = 'x'
)

// addMessage takes a message: into mailboxes, into queues, or both, in one step.
func (b *batch) addMessage(op *storepb.AddMessage) (*storepb.Result, error) {
	if res := checkMessage(op); res != nil {
		return res, nil
	}
	if len(op.Queued) > 0 && !validServerID(b.cmd.Server) {
		return refuse(store.ErrInvalid, "a message to wait at no server"), nil
	}
	good, res, err := b.checkBody(op.Body)
	if res != nil || err != nil {
		return res, err
	}
	q, err := b.changeQueue()
	if err != nil {
		return nil, err
	}
	if waited, err := q.awaited(op.Ends); err != nil || !waited {
		return refuse(store.ErrConflict, "nobody waits for this notice any more"), err
	}
	known, err := b.remembered(q.cr, op.ResendKey)
	if err != nil {
		return nil, err
	}
	if known != nil && op.QueueId != known.QueueId {
		// Those who get this copy find the second id in it, and with that id what was known of the message before.
		if err := q.trace(op.QueueId, 0, &storepb.TraceEvent{Kind: "resent", Related: known.QueueId}); err != nil {
			return nil, err
		}
		op.QueueId = known.QueueId
	}
	targets, queued := fresh(known, op)
	if known != nil && len(targets)+len(queued) == 0 {
		return b.sentAgain(q, op)
	}
	return b.take(q, op, known, targets, queued, good)
}

func checkMessage(op *storepb.AddMessage) *storepb.Result {
	ref := op.GetBody()
	switch {
	case len(op.Summary) > maxSummaryBytes || len(ref.GetInline()) > maxInlineBytes || len(op.Targets)+len(op.Queued) > MaxTargets || len(op.Ends) > maxQueueRefs:
		return refuse(store.ErrTooLarge, "a message over the limits of one command")
	case !validBody(ref) || !validText(op.QueueId, maxQueueIDBytes) || len(op.EnvelopeFrom) > maxEnvelopeBytes || !validEntries(op.Queued) || !validOrigin(op):
		return refuse(store.ErrInvalid, "a message without a proper body or envelope")
	case len(op.Targets)+len(op.Queued) == 0:
		return refuse(store.ErrInvalid, "a message for nobody")
	}
	for _, t := range op.Targets {
		if !validText(t.Recipient, maxAddressBytes) {
			return refuse(store.ErrInvalid, "a recipient of %d bytes", len(t.Recipient))
		}
	}
	return nil
}

// sentAgain answers for a message that everybody has already.
func (b *batch) sentAgain(q *queueChange, op *storepb.AddMessage) (*storepb.Result, error) {
	res := &storepb.Result{QueueId: op.QueueId}
	for _, t := range op.Targets {
		res.Placed = append(res.Placed, &storepb.PlacedMessage{Account: t.Account, Mailbox: t.Mailbox})
	}
	if err := q.trace(op.QueueId, 0, &storepb.TraceEvent{Kind: "resent", Text: "sent again, and known: nothing was done", Origin: op.Origin}); err != nil {
		return nil, err
	}
	return res, q.finish()
}

// take places a message for those of its recipients who do not have it.
func (b *batch) take(q *queueChange, op *storepb.AddMessage, known *storepb.Resend, targets []*storepb.Target, queued []*storepb.QueueEntry, good map[string]bool) (*storepb.Result, error) {
	res := &storepb.Result{}
	q.cr.NextEmail++
	email, refs := q.cr.NextEmail, uint32(0)
	placed := map[*storepb.Target]*storepb.PlacedMessage{}
	has := &storepb.Resend{QueueId: op.QueueId, Accounts: known.GetAccounts(), Recipients: known.GetRecipients()}
	for _, t := range targets {
		p, err := b.place(t, email, op.Body.RawBytes)
		if err != nil {
			return nil, err
		}
		if placed[t] = p; p.Code == 0 {
			refs++
			has.Accounts = append(has.Accounts, t.Account)
			if t.Recipient != "" {
				has.Recipients = append(has.Recipients, t.Recipient)
			}
		}
	}
	for _, t := range op.Targets {
		p := placed[t]
		if p == nil { // it has the message from the first time
			p = &storepb.PlacedMessage{Account: t.Account, Mailbox: t.Mailbox}
		}
		res.Placed = append(res.Placed, p)
	}
	if known != nil {
		res.QueueId = known.QueueId
	}
	if refs == 0 && len(queued) == 0 {
		// Nothing was written yet: place writes only when it succeeds.
		if known == nil {
			res.Code, res.Detail = res.Placed[0].Code, "no recipient could take the message"
		}
		return res, nil
	}
	if len(queued) > 0 {
		refs++
		if err := q.newQueued(op, email, queued); err != nil {
			return nil, err
		}
		for _, e := range queued {
			has.Recipients = append(has.Recipients, namedBy(e))
		}
	}
	if err := b.remember(q.cr, op.ResendKey, has); err != nil {
		return nil, err
	}
	if err := q.ends(op.QueueId, op.Ends); err != nil {
		return nil, err
	}
	if err := q.traceAccepted(op, res.Placed, queued); err != nil {
		return nil, err
	}
	if err := q.finish(); err != nil {
		return nil, err
	}
	return res, b.newEmail(email, refs, op, good)
}

// newEmail keeps what the entries show, and its body.
func (b *batch) newEmail(email uint64, refs uint32, op *storepb.AddMessage, good map[string]bool) error {
	ref := op.Body
	e := &storepb.Email{BodyId: ref.Id, RawBytes: ref.RawBytes, EncodedBytes: ref.EncodedBytes, Inline: len(ref.Inline) > 0, Summary: op.Summary,
		QueueId: op.QueueId, ReceivedUnixMs: b.cmd.TimeUnixMs, EnvelopeFrom: op.EnvelopeFrom}
	if err := b.save(key(tabEmail, email), e); err != nil {
		return err
	}
	if err := b.save(key(tabRefs, email), &storepb.EmailRefs{Refs: refs}); err != nil {
		return err
	}
	if err := b.Set(key(tabBody, ref.Id), binary.BigEndian.AppendUint64(nil, email)); err != nil {
		return err
	}
	return b.keepBody(ref, good)
}

// place puts an email into one mailbox, if the account has room.
func (b *batch) place(t *storepb.Target, email uint64, rawBytes int64) (*storepb.PlacedMessage, error) {
	p := &storepb.PlacedMessage{Account: t.Account, Mailbox: t.Mailbox, Email: email}
	fail := func(err error) (*storepb.PlacedMessage, error) { p.Code = codeOf(err); return p, nil }
	a := &storepb.Account{}
	if found, err := load(b, key(tabAccount, t.Account), a); err != nil || !found {
		if err != nil {
			return nil, err
		}
		return fail(store.ErrNotFound)
	}
	if p.Mailbox == 0 {
		id, _, err := mailboxID(b, t.Account, inbox)
		if err != nil {
			return nil, err
		}
		p.Mailbox = id
	}
	mb, err := b.mailbox(t.Account, p.Mailbox)
	if err != nil {
		return nil, err
	}
	if mb == nil {
		return fail(store.ErrNotFound)
	}
	keywords, ok := cleanKeywords(t.Keywords)
	if !ok {
		return fail(store.ErrInvalid)
	}
	if !fits(mb, 1) {
		return fail(store.ErrTooLarge)
	}
	if ok, err := b.room(a, rawBytes, t.EnforceQuota); err != nil || !ok {
		if err != nil {
			return nil, err
		}
		return fail(store.ErrOverQuota)
	}
	e := &storepb.Entry{Email: email, Flags: t.Flags & uint32(store.AllFlags), Keywords: keywords, InternalDateUnix: t.InternalDateUnix, InternalDateZone: t.InternalDateZone,
		RawBytes: rawBytes, SaveDateUnixMs: b.cmd.TimeUnixMs}
	uid, err := b.enter(t.Account, mb, e)
	if err != nil {
		return nil, err
	}
	p.Uid, p.UidValidity, p.Modseq = uint32(uid), mb.UidValidity, mb.HighestModseq
	return p, b.saveMailbox(t.Account, mb)
}

// room adds to the account's usage, if its quota allows that.
func (b *batch) room(a *storepb.Account, rawBytes int64, enforce bool) (bool, error) {
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, a.Id), u); err != nil {
		return false, err
	}
	u.Bytes, u.Messages = u.Bytes+rawBytes, u.Messages+1
	if enforce {
		if l, err := b.limits(); err != nil || l.over(a, u) {
			return false, err
		}
	}
	return true, b.save(key(tabUsage, a.Id), u)
}

// enter gives an entry the mailbox's next UID, and counts it. The caller saves the mailbox: it may enter many.
func (b *batch) enter(account uint64, mb *storepb.Mailbox, e *storepb.Entry) (store.UID, error) {
	uid := store.UID(mb.UidNext)
	mb.UidNext++
	mb.HighestModseq++
	e.Modseq = mb.HighestModseq
	count(mb, e, 1)
	if err := b.save(entryKey(account, mb.Id, uid), e); err != nil {
		return 0, err
	}
	if err := b.Set(changeKey(account, mb.Id, e.Modseq, uid), []byte{changeNew}); err != nil {
		return 0, err
	}
	return uid, nil
}

// count adds (by 1) or takes away (by -1) an entry from the mailbox's figures.
func count(mb *storepb.Mailbox, e *storepb.Entry, by int) {
	add := func(n *uint32) { *n = uint32(int64(*n) + int64(by)) }
	add(&mb.Messages)
	mb.SizeBytes += int64(by) * e.RawBytes
	if store.Flags(e.Flags)&store.FlagSeen == 0 {
		add(&mb.Unseen)
	}
	if store.Flags(e.Flags)&store.FlagDeleted != 0 {
		add(&mb.Deleted)
	}
}
