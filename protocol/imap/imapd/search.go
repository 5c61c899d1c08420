package imapd

import (
	"context"
	"slices"

	"github.com/quorumail/quorumail/protocol/imap"
)

// search: RFC 9051 §6.4.4, RFC 4731, RFC 5182. Bodies are opened one at a time, and only where cheaper keys leave a message open.
func (s *session) search(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.SearchArgs)
	save := slices.Contains(args.Return, imap.ReturnSave)
	var found []uint32 // UIDs
	var seqs []uint32
	t := s.compile(&args.Key)
	missing, err := s.each(s.candidates(&args.Key), t.cost > costEntry, func(it *item) error {
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
			found, seqs = append(found, it.uid), append(seqs, it.seq)
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
		s.sel.saved = saveable(args.Return, found)
	}
	nums := seqs
	if cmd.UID {
		nums = found
	}
	s.found(cmd, args, nums)
	if missing && !cmd.UID {
		return answer{code: imap.CodeExpungeIssued, text: "Some messages are gone"}, nil
	}
	return answer{}, nil
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
func (s *session) found(cmd *imap.Command, args *imap.SearchArgs, nums []uint32) {
	if !args.Extended {
		s.w.Search(nums, 0)
		return
	}
	var res imap.ESearchResult
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

// candidates are the messages that a search has to look at: a set that must hold narrows them.
func (s *session) candidates(key *imap.SearchKey) []seqRange {
	switch key.Op {
	case imap.SearchSeqSet:
		return s.sel.lenient(key.Set)
	case imap.SearchUIDSet:
		ranges, _ := s.sel.resolve(key.Set, true) // of UIDs there are no wrong ones
		return ranges
	case imap.SearchAnd:
		for i := range key.Keys {
			if op := key.Keys[i].Op; op == imap.SearchSeqSet || op == imap.SearchUIDSet {
				return s.candidates(&key.Keys[i])
			}
		}
	}
	if n := uint32(len(s.sel.uids)); n > 0 {
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
