package imapd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// storeModes are the command's modes for STORE's forms.
var storeModes = map[imap.StoreOp]uint32{imap.StoreReplace: 0, imap.StoreAdd: 1, imap.StoreRemove: 2}

// storeFlags is STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
func (s *session) storeFlags(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.StoreArgs)
	ranges, err := s.sel.resolve(args.Set, cmd.UID)
	if err != nil {
		return answer{}, err
	}
	flags, keywords, err := s.parseFlags(args.Flags)
	if err != nil || len(ranges) == 0 {
		return answer{}, err
	}
	st := stored{args: args, told: map[uint32]bool{}, shown: map[uint32]uint64{}, op: &storepb.StoreFlags{
		Mode: storeModes[args.Op], Flags: uint32(flags), Keywords: keywords,
		HasUnchangedSince: args.HasUnchangedSince, UnchangedSince: args.UnchangedSince,
	}}
	// What others did so far is told now, so that afterwards this command's own changes can be told apart.
	if err := s.tell(cmd.UID, st.noteTold); err != nil {
		return answer{}, err
	}
	if cmd.UID { // expunges may have moved the numbers
		if ranges, err = s.sel.resolve(args.Set, true); err != nil || len(ranges) == 0 {
			return answer{}, err
		}
	}
	if err := s.noteRests(&st, ranges); err != nil {
		return answer{}, err
	}
	if st.flagChanges, err = s.changeFlags(ctx, s.sel.uidSet(ranges), st.op); err != nil {
		return answer{}, err
	}
	missing, err := s.showStored(&st, ranges)
	if err != nil {
		return answer{}, err
	}
	if err := s.tell(cmd.UID, st.knows); err != nil {
		return answer{}, err
	}
	return s.storeAnswer(cmd, st.failed, missing)
}

// stored is what a STORE did, and what its client knows of it.
type stored struct {
	args *imap.StoreArgs
	op   *storepb.StoreFlags
	flagChanges
	told  map[uint32]bool   // messages of which the client was told another client's change just before
	rests map[uint32]string // by UID: what the client knew of a message that op says nothing about
	shown map[uint32]uint64 // by UID: the mod-sequences with which messages were shown
}

// noteTold notes a message of which the client is told before the change. It never says that it knew.
func (st *stored) noteTold(uid uint32, e *storepb.Entry) bool {
	st.told[uid], st.shown[uid] = true, e.GetModseq()
	return false
}

// noteRests notes what the client can not compute itself, where it will not be shown everything. FLAGS leaves no rest.
func (s *session) noteRests(st *stored, ranges []seqRange) error {
	if !st.args.Silent || st.args.Op == imap.StoreReplace {
		return nil
	}
	st.rests = map[uint32]string{}
	_, err := s.each(ranges, false, func(it *item) error {
		if store.ModSeq(it.entry.GetModseq()) <= s.sel.told {
			st.rests[it.uid] = rest(it.entry, st.op)
		}
		return nil
	})
	return err
}

// rest is which of a message's flags a change says nothing about.
func rest(e *storepb.Entry, op *storepb.StoreFlags) string {
	keywords := slices.DeleteFunc(slices.Clone(e.GetKeywords()), func(k string) bool {
		return slices.ContainsFunc(op.GetKeywords(), func(o string) bool { return strings.EqualFold(o, k) })
	})
	return fmt.Sprint(e.GetFlags()&^op.GetFlags(), keywords)
}

// computed is whether the client knows a message's flags without being shown them: what is there is what this command made of what it knew.
func (st *stored) computed(uid uint32, e *storepb.Entry) bool {
	// For a message of which the client was told just before, it is shown what came of both: the flags must be determinate without a race
	// (RFC 9051 §6.4.6).
	if !st.args.Silent || !st.mine[e.GetModseq()] || st.told[uid] {
		return false
	}
	// Where nothing was left to change, the mod-sequence is of another client's command, which may have changed more.
	known, noted := st.rests[uid]
	return st.args.Op == imap.StoreReplace || noted && known == rest(e, st.op)
}

// knows is whether the client need not be told of a message's change any more.
func (st *stored) knows(uid uint32, e *storepb.Entry) bool {
	n, shown := st.shown[uid]
	return shown && n == e.GetModseq() || st.computed(uid, e)
}

// showStored writes the FETCH responses that are STORE's own.
func (s *session) showStored(st *stored, ranges []seqRange) (missing bool, err error) {
	if st.args.Silent && !s.enabled.condStore {
		return false, nil
	}
	return s.each(ranges, false, func(it *item) error {
		n := it.entry.GetModseq()
		failed := st.failed.Contains(store.UID(it.uid))
		switch {
		case failed && st.shown[it.uid] == n:
			return nil
		// Also those that failed: the client need not ask what became of them (RFC 7162 §3.1.3).
		case !st.args.Silent || failed:
			s.tellFlags(it.seq, it.uid, it.entry)
		// RFC 7162 §3.1.3: the new mod-sequence is told also with .SILENT; of a conditional STORE also where the flags were so already. What
		// another client changed since is told with its flags later.
		case store.ModSeq(n) > s.sel.told && st.computed(it.uid, it.entry), store.ModSeq(n) <= s.sel.told && st.args.HasUnchangedSince:
			s.tellModSeq(it.seq, it.uid, it.entry)
		default:
			return nil
		}
		st.shown[it.uid] = n
		return s.w.Err()
	})
}

// storeAnswer is the tagged answer of a STORE that was done but for the messages that failed the test of UNCHANGEDSINCE.
func (s *session) storeAnswer(cmd *imap.Command, failed store.UIDSet, missing bool) (answer, error) {
	missing = missing && !cmd.UID
	switch {
	case len(failed) == 0 && missing:
		return answer{code: imap.CodeExpungeIssued, text: "Some messages are gone"}, nil
	case len(failed) == 0:
		return answer{}, nil
	case missing: // as the last example of RFC 7162 §3.1.3 has it
		return answer{}, no(imap.CodeModified(s.sel.wireSet(failed, cmd.UID)), "Some messages are gone, some were changed meanwhile")
	}
	return answer{code: imap.CodeModified(s.sel.wireSet(failed, cmd.UID)), text: "Some messages were changed meanwhile"}, nil
}

// wireSet is a set of the store as the client names the messages: by UID or by sequence number.
func (sel *selected) wireSet(set store.UIDSet, uid bool) (out imap.NumSet) {
	for _, r := range set {
		if uid {
			out.AddRange(uint32(r.First), uint32(r.Last))
			continue
		}
		for n := uint64(r.First); n <= uint64(r.Last); n++ {
			if seq, known := sel.seqOf(uint32(n)); known {
				out.Add(seq)
			}
		}
	}
	return out
}

// flagChanges is what became of a change of flags.
type flagChanges struct {
	mine   map[uint64]bool // mod-sequences that it gave to messages: one for each part of a large set
	failed store.UIDSet    // messages that UNCHANGEDSINCE kept it from
}

// changeFlags does op for the messages of a set in the selected mailbox.
func (s *session) changeFlags(ctx context.Context, set store.UIDSet, op *storepb.StoreFlags) (done flagChanges, err error) {
	op.Account, op.Mailbox = uint64(s.account()), uint64(s.sel.id)
	parts, err := replica.StoreFlags(ctx, s.proposer("store flags"), op, set)
	if err != nil {
		return done, err
	}
	done.mine = map[uint64]bool{}
	for _, res := range parts {
		done.mine[res.GetModseq()] = true
		failed, err := store.UnpackUIDs(res.GetUids())
		if err != nil {
			return done, fmt.Errorf("messages that were changed meanwhile: %w", err)
		}
		for _, r := range failed {
			done.failed.AddRange(r.First, r.Last)
		}
	}
	return done, nil
}
