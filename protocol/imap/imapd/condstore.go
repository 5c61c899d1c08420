package imapd

import (
	"slices"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
)

// asksCondStore tells whether a command shows that its client knows mod-sequences (RFC 7162 §3.1, "CONDSTORE enabling command"). ENABLE and
// SELECT are others, which see to it themselves.
func asksCondStore(cmd *imap.Command) bool {
	switch args := cmd.Args.(type) {
	case *imap.StatusArgs:
		return slices.Contains(args.Items, imap.StatusHighestModSeq)
	case *imap.ListArgs: // RFC 5819: STATUS for each mailbox
		return slices.Contains(args.ReturnStatus, imap.StatusHighestModSeq)
	case *imap.FetchArgs:
		return args.HasChangedSince || slices.ContainsFunc(args.Items, func(it imap.FetchItem) bool { return it.Kind == imap.FetchModSeq })
	case *imap.StoreArgs:
		return args.HasUnchangedSince
	case *imap.SearchArgs:
		return asksModSeq(&args.Key)
	}
	return false
}

// asksModSeq tells whether MODSEQ is among the criteria of a search.
func asksModSeq(key *imap.SearchKey) bool {
	return key.Op == imap.SearchModSeq || slices.ContainsFunc(key.Keys, func(k imap.SearchKey) bool { return asksModSeq(&k) })
}

// enableCondStore makes every later FETCH response carry MODSEQ, and says whether that is new.
func (s *session) enableCondStore() bool {
	before := s.enabled.condStore
	s.enabled.condStore = true
	return !before
}

// tellKnown is for a client that begins with mod-sequences in a selected mailbox: up to which it was told of changes there.
func (s *session) tellKnown() {
	if s.sel != nil {
		s.tellHighest(s.sel.told)
	}
}

func (s *session) tellHighest(n store.ModSeq) {
	s.w.Status("", imap.StatusOK, imap.CodeHighestModSeq(uint64(n)), "Highest mod-sequence")
}

// changedSince narrows ranges to the messages whose mod-sequence is above since. The list of changes says which these are without a look
// at all the others.
func (s *session) changedSince(ranges []seqRange, since store.ModSeq) ([]seqRange, error) {
	var seqs []uint32
	left := len(s.sel.uids)
	err := s.view(func(v View) error {
		return v.ChangesSince(s.account(), s.sel.id, since, func(c Change) bool {
			if seq, known := s.sel.seqOf(uint32(c.UID)); known && !c.Expunged {
				seqs = append(seqs, seq)
			}
			left--
			return left >= 0
		})
	})
	if err != nil {
		return nil, err
	}
	if left < 0 { // expunges make the list longer than the mailbox
		return s.scanChanged(ranges, since)
	}
	slices.Sort(seqs)
	return among(seqs, ranges), nil
}

// scanChanged is changedSince by a look at each message.
func (s *session) scanChanged(ranges []seqRange, since store.ModSeq) (changed []seqRange, err error) {
	_, err = s.each(ranges, false, func(it *item) error {
		if store.ModSeq(it.entry.GetModseq()) > since {
			changed = appendRange(changed, it.seq, it.seq)
		}
		return nil
	})
	return changed, err
}

// among keeps of ascending numbers those that are in the ranges, which ascend too.
func among(seqs []uint32, ranges []seqRange) (out []seqRange) {
	for _, seq := range seqs {
		for len(ranges) > 0 && ranges[0].last < seq {
			ranges = ranges[1:]
		}
		if len(ranges) > 0 && ranges[0].first <= seq {
			out = appendRange(out, seq, seq)
		}
	}
	return out
}
