package imapd

import (
	"context"
	"slices"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
)

// search: RFC 9051 §6.4.4, RFC 4731, RFC 5182, RFC 7162 §3.1.5. Bodies are opened one at a time, and only where cheaper keys leave a message open.
func (s *session) search(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.SearchArgs)
	save := slices.Contains(args.Return, imap.ReturnSave)
	var res searchResult
	t := s.compile(&args.Key)
	missing, err := s.eachCandidate(&args.Key, t.cost > costEntry, func(it *item) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := newMessage(s.cfg.Store, it)
		defer m.close()
		ok, err := t.holds(ctx, m)
		if err != nil {
			s.log.Warn("search", "account", s.account(), "email", m.id(), "err", err)
			return fetchFailed(err)
		}
		if ok {
			res.add(it)
		}
		return nil
	})
	if err != nil {
		if save {
			s.sel.saved = nil // RFC 9051 §6.4.4.1
		}
		return answer{}, err
	}
	if save {
		s.sel.saved = saveable(args.Return, res.uids)
	}
	s.found(cmd, args, &res)
	if missing && !cmd.UID {
		return answer{code: imap.CodeExpungeIssued, text: "Some messages are gone"}, nil
	}
	return answer{}, nil
}

// searchResult is what a search found, ascending.
type searchResult struct {
	uids, seqs           []uint32
	first, last, highest uint64 // mod-sequences: of the first and the last, and of all the highest
}

func (r *searchResult) add(it *item) {
	n := it.entry.GetModseq()
	if len(r.uids) == 0 {
		r.first = n
	}
	r.last, r.highest = n, max(r.highest, n)
	r.uids, r.seqs = append(r.uids, it.uid), append(r.seqs, it.seq)
}

// modSeq is the highest mod-sequence of the messages that are told (RFC 4731 §3.2): of the first and last alone where no more is asked for.
func (r *searchResult) modSeq(opts []imap.SearchReturn) (n uint64) {
	for _, opt := range opts {
		switch opt {
		case imap.ReturnMin:
			n = max(n, r.first)
		case imap.ReturnMax:
			n = max(n, r.last)
		case imap.ReturnAll, imap.ReturnCount:
			return r.highest
		}
	}
	return n
}

// saveable is what "$" holds afterwards (RFC 9051 §6.4.4.1): with MIN or MAX alone only these.
func saveable(opts []imap.SearchReturn, found []uint32) []uint32 {
	minimum, maximum := slices.Contains(opts, imap.ReturnMin), slices.Contains(opts, imap.ReturnMax)
	all := slices.Contains(opts, imap.ReturnAll) || slices.Contains(opts, imap.ReturnCount) || !minimum && !maximum
	if all || len(found) == 0 {
		return found
	}
	var few []uint32
	if minimum {
		few = append(few, found[0])
	}
	if last := found[len(found)-1]; maximum && (!minimum || last != found[0]) {
		few = append(few, last)
	}
	return few
}

// found writes the result.
func (s *session) found(cmd *imap.Command, args *imap.SearchArgs, found *searchResult) {
	nums := found.seqs
	if cmd.UID {
		nums = found.uids
	}
	withModSeq := asksModSeq(&args.Key) // RFC 7162 §3.1.6, §3.1.10; of nothing found there is none
	if !args.Extended {
		highest := uint64(0)
		if withModSeq {
			highest = found.highest
		}
		s.w.Search(nums, highest)
		return
	}
	var res imap.ESearchResult
	if withModSeq {
		res.ModSeq = found.modSeq(args.Return)
	}
	told := false
	for _, opt := range args.Return {
		told = told || opt != imap.ReturnSave
		switch {
		case opt == imap.ReturnCount:
			res.Count, res.HasCount = uint32(len(nums)), true
		case len(nums) == 0:
		case opt == imap.ReturnMin:
			res.Min = nums[0]
		case opt == imap.ReturnMax:
			res.Max = nums[len(nums)-1]
		case opt == imap.ReturnAll:
			res.All = imap.SetOf(nums...)
		}
	}
	if told { // RFC 9051 §6.4.4: SAVE alone has no answer
		s.w.ESearch(cmd.Tag, cmd.UID, res)
	}
}

// eachCandidate is each for the messages that a search has to look at.
func (s *session) eachCandidate(key *imap.SearchKey, withEmail bool, f func(*item) error) (missing bool, err error) {
	ranges, err := s.candidates(key)
	if err != nil {
		return false, err
	}
	return s.each(ranges, withEmail, f)
}

// candidates are the messages that a search has to look at: a set that must hold narrows them, and so does MODSEQ.
func (s *session) candidates(key *imap.SearchKey) ([]seqRange, error) {
	switch key.Op {
	case imap.SearchSeqSet:
		return s.sel.lenient(key.Set), nil
	case imap.SearchUIDSet:
		return s.sel.resolve(key.Set, true)
	case imap.SearchModSeq:
		if key.Number > 0 { // 0: every message
			return s.changedSince(s.sel.all(), store.ModSeq(key.Number-1))
		}
	case imap.SearchAnd:
		for i := range key.Keys {
			if op := key.Keys[i].Op; op == imap.SearchSeqSet || op == imap.SearchUIDSet || op == imap.SearchModSeq {
				return s.candidates(&key.Keys[i])
			}
		}
	}
	return s.sel.all(), nil
}

// all is every message.
func (sel *selected) all() []seqRange {
	if n := uint32(len(sel.uids)); n > 0 {
		return []seqRange{{1, n}}
	}
	return nil
}

// lenient is resolve for sequence numbers in a search, where those that do not exist match nothing.
func (sel *selected) lenient(set imap.NumSet) []seqRange {
	if set.Saved {
		return sel.savedRanges()
	}
	n := uint32(len(sel.uids))
	var out []seqRange
	for _, r := range set.Resolve(n) {
		if first, last := max(r.First, 1), min(r.Last, n); first <= last {
			out = appendRange(out, first, last)
		}
	}
	return out
}
