package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/replica"
	"github.com/quorumail/quorumail/store/storepb"
)

// storeModes are the command's modes for STORE's forms.
var storeModes = map[imap.StoreOp]uint32{imap.StoreReplace: 0, imap.StoreAdd: 1, imap.StoreRemove: 2}

// storeFlags is STORE (RFC 9051 §6.4.6).
func (s *session) storeFlags(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.StoreArgs)
	if args.HasUnchangedSince {
		return answer{}, bad("CONDSTORE is not supported")
	}
	ranges, err := s.sel.resolve(args.Set, cmd.UID)
	if err != nil {
		return answer{}, err
	}
	flags, keywords, err := s.parseFlags(args.Flags)
	if err != nil || len(ranges) == 0 {
		return answer{}, err
	}
	// What others did so far is told now, so that afterwards this command's own changes can be told apart.
	told := map[uint32]bool{}
	if err := s.tell(cmd.UID, func(uid uint32, _ *storepb.Entry) bool { told[uid] = true; return false }); err != nil {
		return answer{}, err
	}
	if cmd.UID { // expunges may have moved the numbers
		if ranges, err = s.sel.resolve(args.Set, true); err != nil || len(ranges) == 0 {
			return answer{}, err
		}
	}
	set := s.sel.uidSet(ranges)
	mine, err := s.changeFlags(ctx, set, storeModes[args.Op], flags, keywords)
	if err != nil {
		return answer{}, err
	}
	own := func(uid uint32, e *storepb.Entry) bool {
		if !set.Contains(store.UID(uid)) {
			return false
		}
		// Without .SILENT all of them are shown below. With it what another client did is shown, and for a message of which that was told
		// above, also what came of both: the flags must be determinate without a race (RFC 9051 §6.4.6).
		return !args.Silent || mine[e.GetModseq()] && !told[uid]
	}
	missing := false
	if !args.Silent {
		missing, err = s.each(ranges, false, func(it *item) error {
			s.tellFlags(it.seq, it.uid, it.entry)
			return s.w.Err()
		})
		if err != nil {
			return answer{}, err
		}
	}
	if err := s.tell(cmd.UID, own); err != nil {
		return answer{}, err
	}
	if missing && !cmd.UID {
		return answer{code: imap.CodeExpungeIssued, text: "Some messages are gone"}, nil
	}
	return answer{}, nil
}

// changeFlags answers the mod-sequences that the change gave to messages: one for each part of a large set.
func (s *session) changeFlags(ctx context.Context, set store.UIDSet, mode uint32, flags store.Flags, keywords []string) (map[uint64]bool, error) {
	op := &storepb.StoreFlags{Account: uint64(s.account()), Mailbox: uint64(s.sel.id), Mode: mode, Flags: uint32(flags), Keywords: keywords}
	parts, err := replica.StoreFlags(ctx, s.proposer("store flags"), op, set)
	mine := map[uint64]bool{}
	for _, res := range parts {
		mine[res.GetModseq()] = true
	}
	return mine, err
}
