package imapd

import (
	"slices"
	"strings"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// maxKnownKeywords bounds the keywords that FLAGS lists for one mailbox.
const maxKnownKeywords = 1000

// selected is what the client knows of its selected mailbox.
type selected struct {
	id       store.MailboxID
	readOnly bool

	// uids has the UID of each sequence number, which counts from 1. Invariant: ascending.
	uids []uint32

	// The client knows of all messages and flags up to told, and of all expunges up to toldExpunges: these may have to wait.
	// Invariant: toldExpunges <= told.
	told, toldExpunges store.ModSeq

	recent   store.UIDSet // messages that are \Recent to this session
	keywords []string     // that FLAGS has listed
	saved    []uint32     // UIDs that SEARCH with RETURN (SAVE) found (RFC 9051 §6.4.4.1), ascending; "$"
}

// seqRange is a range of sequence numbers, both included.
type seqRange struct{ first, last uint32 }

// largest is what "*" means as a UID.
func (sel *selected) largest() uint32 {
	if len(sel.uids) == 0 {
		return 0
	}
	return sel.uids[len(sel.uids)-1]
}

// seqOf is the sequence number of a UID.
func (sel *selected) seqOf(uid uint32) (uint32, bool) {
	i, ok := slices.BinarySearch(sel.uids, uid)
	return uint32(i + 1), ok
}

// resolve turns a client's set into ranges of sequence numbers, ascending and merged. RFC 9051 §6.4.9: a UID that no message has is
// passed over; a sequence number beyond the last is the client's mistake.
func (sel *selected) resolve(set imap.NumSet, uid bool) ([]seqRange, error) {
	if set.Saved {
		return sel.savedRanges(), nil
	}
	if uid {
		var out []seqRange
		for _, r := range set.Resolve(sel.largest()) {
			first, _ := slices.BinarySearch(sel.uids, r.First)
			last, found := slices.BinarySearch(sel.uids, r.Last)
			if found {
				last++
			}
			if first < last {
				out = appendRange(out, uint32(first+1), uint32(last))
			}
		}
		return out, nil
	}
	n := uint32(len(sel.uids))
	ranges := set.Resolve(n)
	out := make([]seqRange, 0, len(ranges))
	for _, r := range ranges {
		if r.First == 0 || r.Last > n {
			return nil, bad("No such message sequence number")
		}
		out = appendRange(out, r.First, r.Last)
	}
	if len(out) == 0 {
		return nil, bad("No such message sequence number") // "*" in an empty mailbox
	}
	return out, nil
}

func appendRange(out []seqRange, first, last uint32) []seqRange {
	if n := len(out); n > 0 && out[n-1].last+1 == first {
		out[n-1].last = last
		return out
	}
	return append(out, seqRange{first, last})
}

// savedRanges are the messages of "$" that are still there.
func (sel *selected) savedRanges() []seqRange {
	var out []seqRange
	for _, uid := range sel.saved {
		if seq, ok := sel.seqOf(uid); ok {
			out = appendRange(out, seq, seq)
		}
	}
	return out
}

// uidSet is the store's form of a set.
func (sel *selected) uidSet(ranges []seqRange) store.UIDSet {
	var set store.UIDSet
	for _, r := range ranges {
		for _, uid := range sel.uids[r.first-1 : r.last] {
			set.Add(store.UID(uid))
		}
	}
	return set
}

// remove takes messages out of the list. gone is ascending.
func (sel *selected) remove(gone []uint32) {
	kept := sel.uids[:0]
	for _, uid := range sel.uids {
		if len(gone) > 0 && gone[0] == uid {
			gone = gone[1:]
			continue
		}
		kept = append(kept, uid)
	}
	sel.uids = kept
}

// learn notes the keywords of a message and says whether some were new.
func (sel *selected) learn(e *storepb.Entry) bool {
	learned := false
	for _, k := range e.GetKeywords() {
		known := slices.ContainsFunc(sel.keywords, func(x string) bool { return strings.EqualFold(x, k) })
		if !known && len(sel.keywords) < maxKnownKeywords {
			sel.keywords = append(sel.keywords, k)
			learned = true
		}
	}
	return learned
}

// flags is what FLAGS lists (RFC 9051 §7.3.5).
func (sel *selected) flags() []imap.Flag {
	flags := make([]imap.Flag, 0, len(systemFlags)+len(sel.keywords))
	for _, f := range systemFlags {
		flags = append(flags, f.wire)
	}
	for _, k := range sel.keywords {
		flags = append(flags, imap.Flag(k))
	}
	return flags
}
