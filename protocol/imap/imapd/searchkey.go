package imapd

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/quorumail/quorumail/protocol/imap"
	"github.com/quorumail/quorumail/protocol/mime"
)

// What a test needs: cheaper ones are made first.
const (
	costEntry   = 0
	costSummary = 1
	costHeader  = 2
	costBody    = 3
)

// test is a search key made ready.
type test struct {
	cost  int
	holds func(context.Context, *message) (bool, error)
}

// onEntry makes a test of a message's entry in the mailbox.
func onEntry(f func(*message) bool) test {
	return test{costEntry, func(_ context.Context, m *message) (bool, error) { return f(m), nil }}
}

func always(yes bool) test { return onEntry(func(*message) bool { return yes }) }

// compile makes a key ready. Sets are resolved once, by what the client knows of the mailbox.
func (s *session) compile(key *imap.SearchKey) test {
	switch key.Op {
	case imap.SearchAnd, imap.SearchOr:
		return s.compileAll(key)
	case imap.SearchNot:
		t := s.compile(&key.Keys[0])
		return test{t.cost, func(ctx context.Context, m *message) (bool, error) {
			ok, err := t.holds(ctx, m)
			return !ok, err
		}}
	case imap.SearchFlag:
		if key.Flag == imap.FlagRecent {
			return onEntry(func(m *message) bool { return s.sel.isRecent(m.uid) })
		}
		return onEntry(func(m *message) bool { return hasFlag(m.entry, key.Flag) })
	case imap.SearchHeader:
		return test{costHeader, func(ctx context.Context, m *message) (bool, error) { return m.searchField(ctx, key.Header, key.Text) }}
	case imap.SearchBody, imap.SearchText:
		return test{costBody, func(ctx context.Context, m *message) (bool, error) {
			return m.searchText(ctx, key.Text, key.Op == imap.SearchText)
		}}
	case imap.SearchSeqSet:
		return inRanges(s.sel.lenient(key.Set))
	case imap.SearchUIDSet:
		ranges, _ := s.sel.resolve(key.Set, true) // of UIDs there are no wrong ones
		return inRanges(ranges)
	}
	return s.compileNumber(key)
}

// compileAll: the cheapest key first, and the others only while they matter.
func (s *session) compileAll(key *imap.SearchKey) test {
	all := make([]test, 0, len(key.Keys))
	cost := costEntry
	for i := range key.Keys {
		t := s.compile(&key.Keys[i])
		cost = max(cost, t.cost)
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b test) int { return a.cost - b.cost })
	ends := key.Op == imap.SearchOr // the answer that decides
	return test{cost, func(ctx context.Context, m *message) (bool, error) {
		for _, t := range all {
			ok, err := t.holds(ctx, m)
			if err != nil || ok == ends {
				return ok, err
			}
		}
		return !ends, nil
	}}
}

func inRanges(ranges []seqRange) test {
	return onEntry(func(m *message) bool {
		_, ok := slices.BinarySearchFunc(ranges, m.seq, func(r seqRange, seq uint32) int {
			switch {
			case r.last < seq:
				return -1
			case r.first > seq:
				return 1
			}
			return 0
		})
		return ok
	})
}

// compileNumber is compile for dates, sizes and ids.
func (s *session) compileNumber(key *imap.SearchKey) test {
	now := s.cfg.Now()
	ago := func(m *message) uint64 { return uint64(max(now.Sub(m.internalDate()), 0) / time.Second) }
	switch key.Op {
	case imap.SearchAll, imap.SearchSaveDateSupported:
		return always(true)
	case imap.SearchBefore, imap.SearchOn, imap.SearchSince:
		return onEntry(func(m *message) bool { return compareDay(key.Op-imap.SearchBefore, m.internalDate(), key.Date) })
	case imap.SearchSaveBefore, imap.SearchSaveOn, imap.SearchSaveSince:
		return onEntry(func(m *message) bool {
			d := m.saveDate()
			return !d.IsZero() && compareDay(key.Op-imap.SearchSaveBefore, d, key.Date)
		})
	case imap.SearchSentBefore, imap.SearchSentOn, imap.SearchSentSince:
		return test{costSummary, func(ctx context.Context, m *message) (bool, error) {
			sum, err := m.stored(ctx)
			if err != nil {
				return false, err
			}
			d, ok := sum.SentDate()
			return ok && compareDay(key.Op-imap.SearchSentBefore, d, key.Date), nil
		}}
	case imap.SearchLarger:
		return onEntry(func(m *message) bool { return uint64(m.entry.GetRawBytes()) > key.Number })
	case imap.SearchSmaller:
		return onEntry(func(m *message) bool { return uint64(m.entry.GetRawBytes()) < key.Number })
	case imap.SearchOlder:
		return onEntry(func(m *message) bool { return ago(m) >= key.Number })
	case imap.SearchYounger:
		return onEntry(func(m *message) bool { return ago(m) <= key.Number })
	case imap.SearchModSeq:
		return onEntry(func(m *message) bool { return m.entry.GetModseq() >= key.Number })
	case imap.SearchEmailID:
		return onEntry(func(m *message) bool { return m.id().String() == key.Text })
	}
	return always(false)
}

// compareDay compares days, each in its own zone (RFC 9051 §6.4.4: "disregarding time and timezone"): 0 before, 1 on, 2 on or after.
func compareDay(how imap.SearchOp, t, day time.Time) bool {
	y, mon, d := t.Date()
	c := time.Date(y, mon, d, 0, 0, 0, 0, time.UTC).Compare(day)
	switch how {
	case 0:
		return c < 0
	case 1:
		return c == 0
	}
	return c >= 0
}

// searchField looks for a text in the decoded values of a header field; an empty text asks whether there is such a field.
func (m *message) searchField(ctx context.Context, name, text string) (bool, error) {
	values, err := m.fieldValues(ctx, name)
	if err != nil || text == "" {
		return len(values) > 0, err
	}
	return slices.ContainsFunc(values, func(v string) bool { return mime.ContainsFolded(mime.DecodeHeader(v), text) }), nil
}

// headerContains looks for a text in a raw header, its encoded words decoded.
func headerContains(raw []byte, text string) bool {
	return slices.ContainsFunc(mime.ParseHeader(raw), func(f mime.Field) bool {
		return mime.ContainsFolded(f.Name+": "+mime.DecodeHeader(strings.TrimSpace(f.Value())), text)
	})
}
