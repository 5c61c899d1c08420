package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Limits of one message.
const (
	maxSummaryBytes = 64 << 10
	maxInlineBytes  = 64 << 10
	maxTargets      = 10000
)

// Kinds of change in a mailbox's log of changes.
const (
	changeNew      = 'n'
	changeFlags    = 'f'
	changeExpunged = 'x'
)

func (b *batch) addMessage(op *storepb.AddMessage) (*storepb.Result, error) {
	ref := op.GetBody()
	id, err := store.BodyIDFromBytes(ref.GetId())
	switch {
	case err != nil || ref.RawBytes < 0 || ref.EncodedBytes < 0:
		return refuse(store.ErrInvalid, "a message without a proper body"), nil
	case len(op.Summary) > maxSummaryBytes || len(ref.Inline) > maxInlineBytes || len(op.Targets) > maxTargets:
		return refuse(store.ErrTooLarge, "a message over the limits of one command"), nil
	case len(op.Targets) == 0:
		return refuse(store.ErrInvalid, "a message for nobody"), nil
	}
	if res, err := b.checkBody(ref); res != nil || err != nil {
		return res, err
	}
	res := &storepb.Result{}
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
	e := &storepb.Email{BodyId: ref.Id, RawBytes: ref.RawBytes, EncodedBytes: ref.EncodedBytes, Inline: len(ref.Inline) > 0, Summary: op.Summary,
		QueueId: op.QueueId, ReceivedUnixMs: b.cmd.TimeUnixMs, EnvelopeFrom: op.EnvelopeFrom}
	if err := b.save(key(tabEmail, email), e); err != nil {
		return nil, err
	}
	if err := b.save(key(tabRefs, email), &storepb.EmailRefs{Refs: refs}); err != nil {
		return nil, err
	}
	if err := b.Set(key(tabBody, ref.Id), binary.BigEndian.AppendUint64(nil, email)); err != nil {
		return nil, err
	}
	return res, b.keepBody(id, ref)
}

// keepBody puts an inline body into the blob store, or notes who lacks one that went beside the log (B3).
func (b *batch) keepBody(id store.BodyID, ref *storepb.BodyRef) error {
	if len(ref.Inline) > 0 {
		if err := b.m.cfg.Blobs.Put(context.TODO(), id, ref.Epoch, bytes.NewReader(ref.Inline), int64(len(ref.Inline)), false); err != nil {
			return fmt.Errorf("store an inline body: %w", err)
		}
		return b.Set(inlineKey(b.pos.Index, ref.Id), nil)
	}
	for _, s := range b.pos.Servers {
		if holds(ref, s.Id) {
			continue
		}
		b.applied.Missing = true
		if err := b.Set(missingKey(s.Id, ref.Id), nil); err != nil {
			return err
		}
	}
	return nil
}

func missingKey(server string, body []byte) []byte {
	return key(tabMissing, server, []byte{0}, body)
}

func holds(ref *storepb.BodyRef, server string) bool {
	for _, a := range ref.Quorum {
		if a.Server == server {
			return true
		}
	}
	return false
}

// checkBody rejects, on every node alike, a body that is not on enough disks (B1) or that was uploaded too long ago (B7).
func (b *batch) checkBody(ref *storepb.BodyRef) (*storepb.Result, error) {
	cr, err := b.cluster()
	if err != nil {
		return nil, err
	}
	if ref.Epoch+1 < cr.Epoch {
		return refuse(store.ErrUnavailable, "the body was uploaded too long ago"), nil
	}
	if found, err := b.Has(key(tabBody, ref.Id)); err != nil || found {
		return refuse(store.ErrUnavailable, "a body of this id is in use"), err
	}
	if len(ref.Inline) > 0 {
		return nil, nil
	}
	good, err := b.goodAcks(ref)
	if err != nil {
		return nil, err
	}
	var voters []string
	for _, s := range b.pos.Servers {
		if s.Voter {
			voters = append(voters, s.Id)
		}
	}
	for _, set := range [][]string{voters, cr.TargetVoters} {
		n := 0
		for _, id := range set {
			if good[id] {
				n++
			}
		}
		if len(set) > 0 && n <= len(set)/2 {
			return refuse(store.ErrUnavailable, "the body is on %d of %d voters", n, len(set)), nil
		}
	}
	return nil, nil
}

// goodAcks are the servers whose word counts: those that still are the disk that gave it.
func (b *batch) goodAcks(ref *storepb.BodyRef) (map[string]bool, error) {
	good := map[string]bool{}
	for _, a := range ref.Quorum {
		s := &storepb.Server{}
		found, err := load(b, key(tabServer, a.Server), s)
		if err != nil {
			return nil, err
		}
		if found && bytes.Equal(s.DataIncarnation, a.DataIncarnation) {
			good[a.Server] = true
		}
	}
	return good, nil
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
	if ok, err := b.room(a, rawBytes, t.EnforceQuota); err != nil || !ok {
		if err != nil {
			return nil, err
		}
		return fail(store.ErrOverQuota)
	}
	e := &storepb.Entry{Email: email, Flags: t.Flags & 31, Keywords: keywords, InternalDateUnix: t.InternalDateUnix, InternalDateZone: t.InternalDateZone,
		RawBytes: rawBytes, SaveDateUnixMs: b.cmd.TimeUnixMs}
	uid, err := b.enter(t.Account, mb, e)
	if err != nil {
		return nil, err
	}
	p.Uid, p.UidValidity, p.Modseq = uint32(uid), mb.UidValidity, mb.HighestModseq
	return p, nil
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

// enter gives an entry the mailbox's next UID, and counts it.
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
	return uid, b.saveMailbox(account, mb)
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

// cleanKeywords drops repeats, told apart without regard to case, and checks the limits.
func cleanKeywords(in []string) ([]string, bool) {
	var out []string
	for _, k := range in {
		if k == "" || len(k) > store.MaxKeywordBytes {
			return nil, false
		}
		if !hasKeyword(out, k) {
			out = append(out, k)
		}
	}
	return out, len(out) <= store.MaxKeywords
}

func hasKeyword(list []string, k string) bool {
	for _, have := range list {
		if strings.EqualFold(have, k) {
			return true
		}
	}
	return false
}

// entries walks the entries of a mailbox that are in the set, in UID order.
func (b *batch) entries(account, mailbox uint64, uids store.UIDSet, f func(store.UID, *storepb.Entry) error) error {
	for _, r := range uids {
		if err := b.entryRange(account, mailbox, r, f); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) entryRange(account, mailbox uint64, r store.UIDRange, f func(store.UID, *storepb.Entry) error) error {
	type found struct {
		uid store.UID
		e   *storepb.Entry
	}
	var list []found // collected first: f changes what is walked
	err := eachEntry(b, account, mailbox, r, func(uid store.UID, e *storepb.Entry) bool {
		list = append(list, found{uid, e})
		return true
	})
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := f(x.uid, x.e); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) storeFlags(op *storepb.StoreFlags) (*storepb.Result, error) {
	mb, uids, res, err := b.selected(op.Account, op.Mailbox, op.Uids)
	if res != nil || err != nil {
		return res, err
	}
	keywords, ok := cleanKeywords(op.Keywords)
	if !ok {
		return refuse(store.ErrInvalid, "too many or too long keywords"), nil
	}
	res = &storepb.Result{}
	next := mb.HighestModseq + 1
	var modified store.UIDSet
	changed := false
	err = b.entries(op.Account, mb.Id, uids, func(uid store.UID, e *storepb.Entry) error {
		if op.HasUnchangedSince && e.Modseq > op.UnchangedSince {
			modified.Add(uid)
			return nil
		}
		flags, kw := newFlags(e, op, keywords)
		if len(kw) > store.MaxKeywords || flags == e.Flags && equalKeywords(kw, e.Keywords) {
			return nil
		}
		count(mb, e, -1)
		if err := b.Delete(changeKey(op.Account, mb.Id, e.Modseq, uid)); err != nil {
			return err
		}
		e.Flags, e.Keywords, e.Modseq = flags, kw, next
		count(mb, e, 1)
		changed = true
		if err := b.Set(changeKey(op.Account, mb.Id, next, uid), []byte{changeFlags}); err != nil {
			return err
		}
		return b.save(entryKey(op.Account, mb.Id, uid), e)
	})
	if err != nil {
		return nil, err
	}
	res.Uids = store.PackUIDs(modified)
	if changed {
		mb.HighestModseq = next
		err = b.saveMailbox(op.Account, mb)
	}
	res.Modseq = mb.HighestModseq
	return res, err
}

// Modes of StoreFlags.
const (
	FlagsReplace = 0
	FlagsAdd     = 1
	FlagsRemove  = 2
)

func newFlags(e *storepb.Entry, op *storepb.StoreFlags, keywords []string) (uint32, []string) {
	switch op.Mode {
	case FlagsAdd:
		kw := append([]string{}, e.Keywords...)
		for _, k := range keywords {
			if !hasKeyword(kw, k) {
				kw = append(kw, k)
			}
		}
		return e.Flags | op.Flags&31, kw
	case FlagsRemove:
		var kw []string
		for _, k := range e.Keywords {
			if !hasKeyword(keywords, k) {
				kw = append(kw, k)
			}
		}
		return e.Flags &^ op.Flags, kw
	}
	return op.Flags & 31, keywords
}

func equalKeywords(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// selected finds a mailbox and the UIDs that a command is about.
func (b *batch) selected(account, mailbox uint64, packed []byte) (*storepb.Mailbox, store.UIDSet, *storepb.Result, error) {
	mb, err := b.mailbox(account, mailbox)
	if err != nil {
		return nil, nil, nil, err
	}
	if mb == nil {
		return nil, nil, refuse(store.ErrNotFound, "there is no such mailbox"), nil
	}
	uids, err := store.UnpackUIDs(packed)
	if err != nil {
		return nil, nil, refuse(store.ErrInvalid, "a bad set of UIDs"), nil
	}
	return mb, uids, nil, nil
}

var everyUID = store.UIDSet{{First: 1, Last: 1<<32 - 1}}

func (b *batch) expunge(op *storepb.Expunge) (*storepb.Result, error) {
	mb, uids, res, err := b.selected(op.Account, op.Mailbox, op.Uids)
	if res != nil || err != nil {
		return res, err
	}
	if op.All {
		uids = everyUID
	}
	gone, err := b.removeEntries(op.Account, mb, uids, op.OnlyDeleted)
	if err != nil {
		return nil, err
	}
	return &storepb.Result{Modseq: mb.HighestModseq, Uids: store.PackUIDs(gone)}, nil
}

// removeEntries takes messages out of a mailbox and counts down their references.
func (b *batch) removeEntries(account uint64, mb *storepb.Mailbox, uids store.UIDSet, onlyDeleted bool) (store.UIDSet, error) {
	var gone store.UIDSet
	next := mb.HighestModseq + 1
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, account), u); err != nil {
		return nil, err
	}
	err := b.entries(account, mb.Id, uids, func(uid store.UID, e *storepb.Entry) error {
		if onlyDeleted && store.Flags(e.Flags)&store.FlagDeleted == 0 {
			return nil
		}
		gone.Add(uid)
		count(mb, e, -1)
		u.Bytes, u.Messages = u.Bytes-e.RawBytes, u.Messages-1
		if err := b.Delete(entryKey(account, mb.Id, uid)); err != nil {
			return err
		}
		if err := b.Delete(changeKey(account, mb.Id, e.Modseq, uid)); err != nil {
			return err
		}
		if err := b.Set(changeKey(account, mb.Id, next, uid), []byte{changeExpunged}); err != nil {
			return err
		}
		return b.reference(e.Email, -1)
	})
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	mb.HighestModseq = next
	if err := b.save(key(tabUsage, account), u); err != nil {
		return nil, err
	}
	return gone, b.saveMailbox(account, mb)
}

// reference counts how many entries show an email. The last one's end begins its tombstone (B7).
func (b *batch) reference(email uint64, by int) error {
	r := &storepb.EmailRefs{}
	if _, err := load(b, key(tabRefs, email), r); err != nil {
		return err
	}
	r.Refs = uint32(int64(r.Refs) + int64(by))
	if r.Refs == 0 {
		cr, err := b.cluster()
		if err != nil {
			return err
		}
		r.TombstoneTick = cr.TicksMs
		if err := b.Set(key(tabTombstone, cr.TicksMs, email), nil); err != nil {
			return err
		}
	}
	return b.save(key(tabRefs, email), r)
}

func (b *batch) copyMessages(op *storepb.CopyMessages) (*storepb.Result, error) {
	src, uids, res, err := b.selected(op.Account, op.Mailbox, op.Uids)
	if res != nil || err != nil {
		return res, err
	}
	dst, err := b.mailbox(op.Account, op.DestMailbox)
	if err != nil {
		return nil, err
	}
	if dst == nil {
		return refuse(store.ErrNotFound, "there is no such destination"), nil
	}
	if src.Id == dst.Id {
		dst = src // one record, for both are changed
	}
	a := &storepb.Account{}
	if _, err := load(b, key(tabAccount, op.Account), a); err != nil {
		return nil, err
	}
	if !op.Move {
		if full, err := b.wouldOverflow(a, src.Id, uids); err != nil || full {
			return refuse(store.ErrOverQuota, "the copies would exceed the quota"), err
		}
	}
	res = &storepb.Result{}
	var moved store.UIDSet
	err = b.entries(op.Account, src.Id, uids, func(uid store.UID, e *storepb.Entry) error {
		if _, err := b.room(a, e.RawBytes, false); err != nil {
			return err
		}
		if err := b.reference(e.Email, 1); err != nil {
			return err
		}
		e.SaveDateUnixMs = b.cmd.TimeUnixMs
		to, err := b.enter(op.Account, dst, e)
		if err != nil {
			return err
		}
		moved.Add(uid)
		res.SrcUids = append(res.SrcUids, uint32(uid))
		res.Placed = append(res.Placed, &storepb.PlacedMessage{Account: op.Account, Mailbox: dst.Id, Uid: uint32(to), UidValidity: dst.UidValidity, Email: e.Email, Modseq: e.Modseq})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if op.Move {
		if _, err := b.removeEntries(op.Account, src, moved, false); err != nil {
			return nil, err
		}
	}
	res.Modseq = src.HighestModseq
	return res, nil
}

func (b *batch) wouldOverflow(a *storepb.Account, mailbox uint64, uids store.UIDSet) (bool, error) {
	l, err := b.limits()
	if err != nil {
		return false, err
	}
	if bytes, messages := l.quota(a); bytes == 0 && messages == 0 {
		return false, nil
	}
	u := &storepb.Usage{}
	if _, err := load(b, key(tabUsage, a.Id), u); err != nil {
		return false, err
	}
	err = b.entries(a.Id, mailbox, uids, func(_ store.UID, e *storepb.Entry) error {
		u.Bytes, u.Messages = u.Bytes+e.RawBytes, u.Messages+1
		return nil
	})
	return l.over(a, u), err
}
