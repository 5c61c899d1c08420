package imapd

import (
	"errors"
	"slices"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/store"
	"github.com/quorumail/quorumail/store/storepb"
)

// changes are what happened in the selected mailbox since the client was told; UIDs, ascending.
type changes struct {
	gone, added, changed []uint32
	upTo                 store.ModSeq
}

// tell brings the client up to date with this node's state: EXPUNGE where the command allows it, EXISTS, and flags. skip, when not nil,
// says of which changed messages the client knows already.
func (s *session) tell(expunge bool, skip func(uint32, *storepb.Entry) bool) error {
	err := s.view(func(v View) error {
		c, err := s.changes(v, expunge)
		if err != nil || c == nil {
			return err
		}
		return s.tellChanges(v, c, expunge, skip)
	})
	if errors.Is(err, store.ErrNotFound) {
		return &byeError{imap.CodeNonExistent, "Selected mailbox was deleted"}
	}
	return err
}

// changes collects what happened; nil: nothing.
func (s *session) changes(v View, expunge bool) (*changes, error) {
	sel := s.sel
	mb, err := v.Mailbox(s.account(), sel.id)
	if err != nil {
		return nil, err
	}
	c := &changes{upTo: store.ModSeq(mb.GetHighestModseq())}
	since := sel.told
	if expunge {
		since = sel.toldExpunges
	}
	if c.upTo <= since {
		return nil, nil
	}
	err = v.ChangesSince(s.account(), sel.id, since, func(ch Change) bool {
		uid := uint32(ch.UID)
		_, known := sel.seqOf(uid)
		switch {
		case ch.Expunged:
			if expunge && known {
				c.gone = append(c.gone, uid)
			}
		case ch.ModSeq <= sel.told:
		case known:
			c.changed = append(c.changed, uid)
		case uid > sel.largest():
			c.added = append(c.added, uid)
		}
		return true
	})
	slices.Sort(c.gone)
	slices.Sort(c.added)
	slices.Sort(c.changed)
	return c, err
}

func (s *session) tellChanges(v View, c *changes, expunge bool, skip func(uint32, *storepb.Entry) bool) error {
	sel := s.sel
	// From the last to the first: so the numbers before are still right (RFC 9051 §7.5.1).
	for i := len(c.gone) - 1; i >= 0; i-- {
		if seq, ok := sel.seqOf(c.gone[i]); ok {
			s.w.Number(seq, "EXPUNGE")
		}
	}
	if len(c.gone) > 0 {
		sel.remove(c.gone)
	}
	if len(c.added) > 0 {
		sel.uids = append(sel.uids, c.added...)
		s.w.Number(uint32(len(sel.uids)), "EXISTS")
		s.markRecent(c.added[0], c.added[0])
		s.w.Number(sel.recentCount(), "RECENT")
	}
	for _, uid := range c.changed {
		seq, ok := sel.seqOf(uid)
		if !ok {
			continue
		}
		e, err := v.Entry(s.account(), sel.id, store.UID(uid))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if skip == nil || !skip(uid, e) {
			s.tellFlags(seq, uid, e)
		}
	}
	sel.told = c.upTo
	if expunge {
		sel.toldExpunges = c.upTo
	}
	return nil
}

// tellFlags writes a message's flags.
func (s *session) tellFlags(seq, uid uint32, e *storepb.Entry) {
	s.announce(e)
	f := s.w.Fetch(seq)
	f.UID(uid)
	if s.enabled.condStore { // RFC 7162 §3.1: in all FETCH responses from then on
		f.ModSeq(e.GetModseq())
	}
	f.Flags(s.sel.wireFlags(uid, e))
	f.End()
}

// tellModSeq writes a message's mod-sequence alone: the client knows the flags.
func (s *session) tellModSeq(seq, uid uint32, e *storepb.Entry) {
	f := s.w.Fetch(seq)
	f.UID(uid)
	f.ModSeq(e.GetModseq())
	f.End()
}

// announce lists keywords with FLAGS before a message shows them for the first time.
func (s *session) announce(e *storepb.Entry) {
	if s.sel.learn(e) {
		s.w.FlagsLine(s.sel.flags())
	}
}
