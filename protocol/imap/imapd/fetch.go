package imapd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// fetchPlan is what a FETCH asks for.
type fetchPlan struct {
	items     []imap.FetchItem
	withEmail bool // items need more than the mailbox's entry
	seen      bool // an item sets \Seen (RFC 9051 §6.4.5: BODY[...] without .PEEK)
	flags     bool // FLAGS is among the items
}

// planFetch adds to the items what is shown without being asked for. condStore: the client knows mod-sequences.
func planFetch(args *imap.FetchArgs, uid, condStore bool) *fetchPlan {
	p := &fetchPlan{}
	asked := func(kind imap.FetchKind) bool {
		return slices.ContainsFunc(args.Items, func(it imap.FetchItem) bool { return it.Kind == kind })
	}
	if uid && !asked(imap.FetchUID) { // RFC 9051 §6.4.9: UID FETCH implies it
		p.items = append(p.items, imap.FetchItem{Kind: imap.FetchUID})
	}
	if condStore && !asked(imap.FetchModSeq) { // RFC 7162 §3.1: in all FETCH responses
		p.items = append(p.items, imap.FetchItem{Kind: imap.FetchModSeq})
	}
	p.items = append(p.items, args.Items...)
	for _, it := range p.items {
		switch it.Kind {
		case imap.FetchUID, imap.FetchInternalDate, imap.FetchRFC822Size, imap.FetchModSeq, imap.FetchEmailID, imap.FetchThreadID, imap.FetchSaveDate:
		case imap.FetchFlags:
			p.flags = true
		case imap.FetchSection, imap.FetchBinary:
			p.withEmail = true
			p.seen = p.seen || !it.Section.Peek
		default:
			p.withEmail = true
		}
	}
	return p
}

// fetch: RFC 9051 §6.4.5, RFC 7162 §3.1.4.
func (s *session) fetch(ctx context.Context, cmd *imap.Command) (answer, error) {
	args := cmd.Args.(*imap.FetchArgs)
	if args.Vanished {
		return answer{}, bad("QRESYNC is not supported")
	}
	ranges, err := s.sel.resolve(args.Set, cmd.UID)
	if err == nil && args.HasChangedSince {
		ranges, err = s.changedSince(ranges, store.ModSeq(args.ChangedSince))
	}
	if err != nil {
		return answer{}, err
	}
	plan := planFetch(args, cmd.UID, s.enabled.condStore)
	nowSeen, mine, err := s.markSeen(ctx, plan, ranges)
	if err != nil {
		return answer{}, err
	}
	var failed error
	missing, err := s.each(ranges, plan.withEmail, func(it *item) error {
		m := newMessage(s.cfg.Store, it)
		defer m.close()
		out, err := s.prepare(ctx, m, plan)
		if err != nil { // this message cannot be shown; the others can
			s.log.Warn("fetch", "account", s.account(), "email", m.id(), "err", err)
			failed = errors.Join(failed, fetchFailed(err))
			return nil
		}
		return s.show(it, plan, out, nowSeen.Contains(store.UID(it.uid)))
	})
	switch {
	case err != nil:
		return answer{}, err
	case failed != nil:
		return answer{}, failed
	}
	// The flags that this command set were shown with their messages.
	known := func(uid uint32, e *storepb.Entry) bool {
		return nowSeen.Contains(store.UID(uid)) && mine[e.GetModseq()]
	}
	if err := s.tell(cmd.UID, known); err != nil {
		return answer{}, err
	}
	if missing && !cmd.UID {
		return answer{code: imap.CodeExpungeIssued, text: "Some messages are gone"}, nil
	}
	return answer{}, nil
}

// fetchFailed gives an error of one message its meaning for the client: what cannot be read now may be readable later.
func fetchFailed(err error) error {
	var r *refusal
	if errors.As(err, &r) || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// markSeen sets \Seen on the messages that the client is about to read, and says on which. Where that cannot be done now, the client
// reads all the same: its mail matters more.
func (s *session) markSeen(ctx context.Context, plan *fetchPlan, ranges []seqRange) (set store.UIDSet, mine map[uint64]bool, err error) {
	if !plan.seen || s.sel.readOnly {
		return nil, nil, nil
	}
	var unseen store.UIDSet
	_, err = s.each(ranges, false, func(it *item) error {
		if !store.Flags(it.entry.GetFlags()).Has(store.FlagSeen) {
			unseen.Add(store.UID(it.uid))
		}
		return nil
	})
	if err != nil || len(unseen) == 0 {
		return nil, nil, err
	}
	done, err := s.changeFlags(ctx, unseen, &storepb.StoreFlags{Mode: storeModes[imap.StoreAdd], Flags: uint32(store.FlagSeen)})
	if err != nil {
		s.log.Warn("mark as seen", "account", s.account(), "err", err)
		return nil, nil, nil
	}
	return unseen, done.mine, nil
}

// show writes the FETCH response of one message.
func (s *session) show(it *item, plan *fetchPlan, out []func(*imap.FetchWriter) error, nowSeen bool) error {
	if plan.flags || nowSeen {
		s.announce(it.entry)
	}
	f := s.w.Fetch(it.seq)
	for _, write := range out {
		if err := write(f); err != nil {
			return readFailed(err) // in the middle of a response there is no way to say so
		}
	}
	if nowSeen && !plan.flags {
		f.Flags(s.sel.wireFlags(it.uid, it.entry))
	}
	f.End()
	return s.w.Err()
}
