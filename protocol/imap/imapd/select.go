package imapd

import (
	"context"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// selectMailbox is SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3).
func (s *session) selectMailbox(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.SelectArgs)
	if args.QResync != nil {
		return answer{}, bad("QRESYNC is not supported") // RFC 4466 §2.1: parameters that are not known
	}
	if s.sel != nil {
		// RFC 9051 §6.3.2: whatever comes of it, the former mailbox is not selected any more.
		s.sel = nil
		s.w.Status("", imap.StatusOK, imap.CodeClosed, "Previous mailbox closed")
	}
	if args.CondStore { // RFC 7162 §3.1.8; the mod-sequence is told with the new mailbox
		s.enableCondStore()
	}
	if err := s.barrier(ctx); err != nil {
		return answer{}, err
	}
	readOnly := cmd.Name == "EXAMINE"
	if err := s.view(func(v View) error { return s.open(v, args.Mailbox, readOnly) }); err != nil {
		return answer{}, err
	}
	if readOnly {
		return answer{code: imap.CodeReadOnly}, nil
	}
	return answer{code: imap.CodeReadWrite}, nil
}

// open selects a mailbox as it is in the view, and tells the client about it.
func (s *session) open(v View, name string, readOnly bool) error {
	mb, err := v.MailboxByName(s.account(), mailboxName(name))
	if err != nil {
		return err
	}
	sel := &selected{id: store.MailboxID(mb.GetId()), readOnly: readOnly, uids: make([]uint32, 0, mb.GetMessages())}
	sel.told = store.ModSeq(mb.GetHighestModseq())
	sel.toldExpunges = sel.told
	unseen, tail := uint32(0), uint32(1) // tail: behind the last message that was seen
	err = v.Entries(s.account(), sel.id, 1, func(uid store.UID, e *storepb.Entry) bool {
		sel.uids = append(sel.uids, uint32(uid))
		sel.learn(e)
		if store.Flags(e.GetFlags()).Has(store.FlagSeen) {
			tail = uint32(uid) + 1
		} else if unseen == 0 {
			unseen = uint32(len(sel.uids))
		}
		return true
	})
	if err != nil {
		return err
	}
	s.sel = sel
	s.markRecent(1, tail)
	s.describe(mb, unseen)
	return nil
}

// describe writes the untagged answers of SELECT.
func (s *session) describe(mb *storepb.Mailbox, unseen uint32) {
	s.w.FlagsLine(s.sel.flags())
	permanent := append(s.sel.flags(), imap.FlagWildcard)
	if s.sel.readOnly {
		permanent = nil
	}
	s.w.Status("", imap.StatusOK, imap.CodePermanentFlags(permanent), "Flags that are kept")
	s.w.Number(uint32(len(s.sel.uids)), "EXISTS")
	s.w.Number(s.sel.recentCount(), "RECENT") // RFC 3501 §6.3.1 requires it
	if unseen > 0 {
		s.w.Status("", imap.StatusOK, imap.CodeUnseen(unseen), "First unseen")
	}
	s.w.Status("", imap.StatusOK, imap.CodeUIDValidity(mb.GetUidValidity()), "UIDs are valid")
	s.w.Status("", imap.StatusOK, imap.CodeUIDNext(mb.GetUidNext()), "Next UID")
	s.tellHighest(store.ModSeq(mb.GetHighestModseq())) // RFC 7162 §3.1.2.1 wants it once the client has asked; others pass over it
}

// close: RFC 9051 §6.4.1: expunges without telling, and ends the selection.
func (s *session) close(ctx context.Context, _ *imap.Command) (answer, error) {
	if !s.sel.readOnly {
		if _, err := s.expungeSet(ctx, nil); err != nil { // RFC 7162 §3.2.8: without HIGHESTMODSEQ, too
			return answer{}, err
		}
	}
	s.sel = nil
	return answer{}, nil
}

// unselect: RFC 9051 §6.4.2.
func (s *session) unselect(context.Context, *imap.Command) (answer, error) {
	s.sel = nil
	return answer{}, nil
}
