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

func (b *batch) addMessage(op *storepb.AddMessage) (*storepb.Result, error) {
	ref := op.GetBody()
	switch {
	case len(op.Summary) > maxSummaryBytes || len(ref.GetInline()) > maxInlineBytes || len(op.Targets) > MaxTargets:
		return refuse(store.ErrTooLarge, "a message over the limits of one command"), nil
	case !validBody(ref) || len(op.QueueId) > maxQueueIDBytes || len(op.EnvelopeFrom) > maxEnvelopeBytes:
		return refuse(store.ErrInvalid, "a message without a proper body or envelope"), nil
	case len(op.Targets) == 0:
		return refuse(store.ErrInvalid, "a message for nobody"), nil
	}
	good, res, err := b.checkBody(ref)
	if res != nil || err != nil {
		return res, err
	}
	res = &storepb.Result{}
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	cr.NextEmail++
	email := cr.NextEmail
	refs := uint32(0)
	for _, t := range op.Targets {
		p, err := b.place(t, email, ref.RawBytes)
		if err != nil {
			return nil, err
		}
		if p.Code == 0 {
			refs++
		}
		res.Placed = append(res.Placed, p)
	}
	if refs == 0 {
		// Nothing was written yet: place writes only when it succeeds.
		return &storepb.Result{Code: res.Placed[0].Code, Detail: "no recipient could take the message", Placed: res.Placed}, nil
	}
	if err := b.saveCluster(cr); err != nil {
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
