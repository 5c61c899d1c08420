package state

import (
	"slices"
	"strings"

	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// Modes of StoreFlags.
const (
	FlagsReplace = 0
	FlagsAdd     = 1
	FlagsRemove  = 2
)

func (b *batch) storeFlags(op *storepb.StoreFlags) (*storepb.Result, error) {
	if op.Mode > FlagsRemove {
		return refuse(store.ErrInvalid, "there is no way %d to store flags", op.Mode), nil
	}
	mb, uids, res, err := b.selected(op.Account, op.Mailbox, op.Uids)
	if res != nil || err != nil {
		return res, err
	}
	keywords, ok := cleanKeywords(op.Keywords)
	if !ok {
		return refuse(store.ErrInvalid, "too many or too long keywords"), nil
	}
	list, res, err := b.choose(op.Account, mb.Id, uids)
	if res != nil || err != nil {
		return res, err
	}
	next := mb.HighestModseq + 1
	var modified store.UIDSet
	changed := false
	for _, c := range list {
		e := c.entry
		if op.HasUnchangedSince && e.Modseq > op.UnchangedSince {
			modified.Add(c.uid)
			continue
		}
		flags, kw := newFlags(e, op, keywords)
		if flags == e.Flags && slices.Equal(kw, e.Keywords) {
			continue
		}
		count(mb, e, -1)
		if err := b.Delete(changeKey(op.Account, mb.Id, e.Modseq, c.uid)); err != nil {
			return nil, err
		}
		e.Flags, e.Keywords, e.Modseq = flags, kw, next
		count(mb, e, 1)
		changed = true
		if err := b.Set(changeKey(op.Account, mb.Id, next, c.uid), []byte{changeFlags}); err != nil {
			return nil, err
		}
		if err := b.save(entryKey(op.Account, mb.Id, c.uid), e); err != nil {
			return nil, err
		}
	}
	if changed {
		mb.HighestModseq = next
		err = b.saveMailbox(op.Account, mb)
	}
	return &storepb.Result{Modseq: mb.HighestModseq, Uids: store.PackUIDs(modified)}, err
}

// newFlags are an entry's flags and keywords after a command. Keywords beyond the limit are left out: RFC 9051 §2.3.2 lets a server
// keep fewer than a client asks for.
func newFlags(e *storepb.Entry, op *storepb.StoreFlags, keywords []string) (uint32, []string) {
	switch op.Mode {
	case FlagsAdd:
		kw := slices.Clone(e.Keywords)
		for _, k := range keywords {
			if len(kw) < store.MaxKeywords && !hasKeyword(kw, k) {
				kw = append(kw, k)
			}
		}
		return e.Flags | op.Flags&uint32(store.AllFlags), kw
	case FlagsRemove:
		var kw []string
		for _, k := range e.Keywords {
			if !hasKeyword(keywords, k) {
				kw = append(kw, k)
			}
		}
		return e.Flags &^ op.Flags, kw
	}
	return op.Flags & uint32(store.AllFlags), keywords
}

// cleanKeywords drops repeats, told apart without regard to case, and checks the limits.
func cleanKeywords(in []string) ([]string, bool) {
	var out []string
	for _, k := range in {
		if !validKeyword(k) {
			return nil, false
		}
		if hasKeyword(out, k) {
			continue
		}
		if out = append(out, k); len(out) > store.MaxKeywords {
			return nil, false
		}
	}
	return out, true
}

func hasKeyword(list []string, k string) bool {
	return slices.ContainsFunc(list, func(have string) bool { return strings.EqualFold(have, k) })
}
